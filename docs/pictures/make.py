"""Make the README's two pictures from the demo's report: the gallery and one slide.

`make pictures` runs the demo, then this script with Chromium. Both pictures together are below
300 kB.
"""

import sys
import time
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

import browser

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
LARGEST = 150_000  # bytes per picture
# name, part of the address, height of the window in pixels
VIEWS = [("gallery", "", 800), ("slide", "#view=slide&slide=Demo_Brain_Visium", 1120)]
WIDTH = 1280


def main() -> None:
    """Take the pictures."""
    report = REPOSITORY / "demo/results/report/index.html"
    if not report.exists():
        raise SystemExit("there is no report of the demo: make demo")
    for name, view, height in VIEWS:
        with browser.opened((WIDTH, height)) as driver:
            driver.get(report.as_uri() + view)
            time.sleep(2)  # until its pictures are painted
            shot = np.frombuffer(driver.get_screenshot_as_png(), np.uint8)
            write(HERE / f"{name}.jpg", cv2.imdecode(shot, cv2.IMREAD_COLOR))


def write(path: Path, picture: np.ndarray) -> None:
    """Write a picture, (h, w, 3) uint8 BGR, with the best quality that keeps it small enough."""
    for quality in range(92, 30, -4):
        _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if data.size <= LARGEST:
            path.write_bytes(data.tobytes())
            return
    raise SystemExit(f"{path.name} is larger than {LARGEST:,} bytes at any reasonable quality")


if __name__ == "__main__":
    main()
