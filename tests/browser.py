"""A headless Chromium that opens local files and has no network."""

import contextlib
import shutil
import tempfile

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
)
LAPTOP, PHONE = (1366, 768), (390, 844)


def find():
    """Return the paths of Chromium and its driver; None if it is not installed."""
    return shutil.which("chromium"), shutil.which("chromedriver")


@contextlib.contextmanager
def opened(size=LAPTOP):
    """Start the browser with a new profile and a window size; return its driver."""
    from selenium import webdriver

    binary, driver = find()
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with tempfile.TemporaryDirectory(prefix="chromium-") as profile:
        width, height = size
        for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        if size == PHONE:
            metrics = {"width": width, "height": height, "pixelRatio": 2}
            options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
        browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
        try:
            yield browser
        finally:
            browser.quit()
