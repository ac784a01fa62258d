"""The report in a real browser, opened from disk."""

import json
import os
import subprocess
import sys

import browser
import pytest
import report_data

pytestmark = pytest.mark.skipif(
    not all(browser.find()), reason="chromium and chromedriver are not installed"
)

HOSTILE = "<img src=x onerror=\"document.title='broken in'\"><script>alert(1)</script>"
NAMED = "Slide_v1.2+crop"
OPENED = "view=slide&slide=Slide_v1.2%2Bcrop"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder of a run over eight slides: six done, one failed, one excluded."""
    folder = tmp_path_factory.mktemp("report")
    rows = []
    slides = [("Slide_ST", "ST"), (NAMED, "Visium"), ("Slide_HD", "VisiumHD")]
    slides += [(f"Slide_{number}", "Visium") for number in (1, 2, 3, 4, 5)]
    for seed, (slide, tech) in enumerate(slides):
        rows.append({"slide": slide, "tech": tech, "species": "human", "spots": 80})
        rows[-1] |= {"tissue": HOSTILE if slide == "Slide_1" else "brain", "title": HOSTILE}
        if slide not in ("Slide_4", "Slide_5"):
            report_data.make_products(
                folder,
                slide,
                tech=tech,
                spots=60 + 10 * seed,
                um_per_px=0.5 if tech == "VisiumHD" else 8.0,
                annotated=slide == "Slide_ST",
                flags=["radius_inconsistent"] if slide == "Slide_2" else [],
                warnings=[HOSTILE],
                title=HOSTILE,
                seed=seed,
            )
            report_data.draw(folder, slide)
    failure = {"slide": "Slide_4", "stage": "cut_tiles", "reason": HOSTILE, "hint": "fix it"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        report_data.finish(rows, failed=[failure], excluded=["Slide_5"])
    return folder


@pytest.fixture(scope="module")
def chromium():
    with browser.opened() as driver:
        yield driver


class Page:
    """A page of the report and the actions of a user; `close` checks that the console is empty."""

    def __init__(self, driver, folder, state=""):
        self.driver = driver
        self.address = f"{(folder / 'results/report/index.html').as_uri()}"
        driver.get("about:blank")
        driver.get_log("browser")
        driver.get_log("performance")
        driver.get(f"{self.address}#{state}")

    def all(self, css):
        return self.driver.find_elements("css selector", css)

    def one(self, css):
        self.until(lambda: self.all(css), css)
        return self.all(css)[0]

    def until(self, condition, what="condition"):
        from selenium.common.exceptions import StaleElementReferenceException as Replaced
        from selenium.webdriver.support.ui import WebDriverWait

        wait = WebDriverWait(self.driver, 20, ignored_exceptions=[Replaced])
        return wait.until(lambda _: condition(), what)

    def press(self, key):
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(key).perform()

    def choose(self, css, value):
        from selenium.webdriver.support.ui import Select

        Select(self.one(css)).select_by_value(value)

    def names(self):
        return [element.text for element in self.all(".card .name")]

    def painted(self):
        return self.driver.execute_script("return document.querySelector('canvas').toDataURL()")

    def open_slide(self, name):
        card = next(link for link in self.all(".card a") if name in link.text)
        card.click()
        self.one("canvas")

    def requests(self):
        log = self.driver.get_log("performance")
        events = [json.loads(entry["message"])["message"] for entry in log]
        sent = [event for event in events if event["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]


@pytest.fixture
def open_report(chromium, folder):
    pages = []

    def start(state=""):
        pages.append(Page(chromium, folder, state))
        return pages[-1]

    yield start
    assert [entry["message"] for entry in chromium.get_log("browser")] == []
    asked = [url for page in pages for url in page.requests()]
    assert [url for url in asked if not url.startswith(("file:", "data:", "about:"))] == []


def test_gallery_shows_what_needs_a_look_first(open_report):
    page = open_report()
    page.one(".card")
    assert page.names()[:2] == ["Slide_4", "Slide_2"]
    assert len(page.names()) == 7
    assert page.one("#count").text == "7 of 8 slides"
    loaded = "return [...document.images].every((one) => one.complete && one.naturalWidth > 0)"
    page.until(lambda: page.driver.execute_script(loaded))


def test_filter_search_and_sort_stay_in_the_address(open_report):
    page = open_report()
    page.choose("#filter-tech", "Visium")
    page.choose("#filter-sort", "spots")
    page.choose("#filter-order", "down")
    page.one("#search").send_keys("slide_")
    page.until(lambda: len(page.names()) == 5)
    assert page.names()[:4] == ["Slide_3", "Slide_2", "Slide_1", NAMED]
    page.driver.refresh()
    page.until(lambda: len(page.names()) == 5)
    assert page.names()[:2] == ["Slide_3", "Slide_2"]
    assert page.one("#search").get_attribute("value") == "slide_"
    page.one("#clear").click()
    page.until(lambda: len(page.names()) == 7)


@pytest.mark.parametrize(
    ("select", "value", "found"),
    [
        ("flag", "radius_inconsistent", ["Slide_2"]),
        ("status", "excluded", ["Slide_5"]),
        ("tier", "low", ["Slide_1", "Slide_2", "Slide_3", "Slide_HD", "Slide_ST", NAMED]),
    ],
)
def test_every_filter_leaves_its_slides(open_report, select, value, found):
    page = open_report()
    page.choose(f"#filter-{select}", value)
    assert sorted(page.names()) == found


def test_open_a_slide_paint_a_gene_toggle_the_spots_and_go_back(open_report):
    page = open_report("q=crop")
    page.until(lambda: page.names() == [NAMED])
    page.open_slide(NAMED)
    outlines = page.until(lambda: len(page.painted()) > 5000 and page.painted())
    page.choose("#colour", "GENE3")
    gene = page.painted()
    assert gene != outlines
    page.choose("#colour", "GENE4")
    assert page.painted() != gene
    page.one("#spots").click()
    bare = page.painted()
    page.driver.refresh()
    page.one("canvas")
    assert page.one("#colour").get_attribute("value") == "GENE4"
    assert not page.one("#spots").is_selected()
    page.until(lambda: page.painted() == bare)
    page.driver.back()
    page.until(lambda: page.names() == [NAMED])
    assert page.one("#search").get_attribute("value") == "crop"


def test_spots_tell_their_values_by_keyboard_and_pointer(open_report):
    page = open_report(f"{OPENED}&colour=GENE3")
    canvas = page.one("canvas")
    canvas.send_keys("\ue014")  # arrow right
    first = page.until(lambda: "GENE3: " in page.one(".told").text and page.one(".told").text)
    canvas.send_keys("\ue015")  # arrow down
    page.until(lambda: page.one(".told").text != first)
    assert "Counts per spot: " in first


def test_labels_can_be_seen_one_by_one(open_report):
    page = open_report("view=slide&slide=Slide_ST&colour=annotation")
    page.one("canvas")
    buttons = page.until(lambda: page.all(".legend button"))
    assert {button.text for button in buttons} == {"tumour", "<b>stroma</b>"}
    before = page.painted()
    buttons[0].click()
    page.until(lambda: page.painted() != before)


def test_keys_lead_from_slide_to_slide(open_report):
    page = open_report("view=slide&slide=Slide_1&sort=slide")
    page.one("canvas")
    page.press("n")
    page.until(lambda: page.one("h1").text == "Slide_2")
    page.one("canvas")
    page.press("p")
    page.until(lambda: page.one("h1").text == "Slide_1")


def test_failed_slide_says_where_why_and_what_to_do(open_report):
    page = open_report("view=slide&slide=Slide_4")
    text = page.one(".failure").text
    assert "cut_tiles" in text
    assert HOSTILE in text
    assert "fix it" in text


def test_dataset_page_has_totals_failures_and_charts(open_report):
    page = open_report("view=dataset")
    assert "6 done, 1 failed, 1 excluded" in page.one("#states").text
    tables = {caption.text for caption in page.all("caption")}
    assert {"Totals", "Slides that are not built"} <= tables
    assert len(page.all(".histogram")) == 4
    assert len(page.all(".bars")) == 3
    page.one('.bars a[href*="tech=ST"]').click()
    page.until(lambda: page.names() == ["Slide_ST"])


@pytest.mark.parametrize("state", ["", "view=slide&slide=Slide_1", "view=dataset"])
def test_text_of_the_dataset_changes_nothing_but_text(open_report, state):
    page = open_report(state)
    page.until(
        lambda: (
            HOSTILE in page.driver.find_element("tag name", "main").text
            or "Slide_4" in page.driver.find_element("tag name", "main").text
        )
    )
    assert page.all('img[src="x"]') == []
    assert page.all("main script") == []
    assert page.driver.title != "broken in"


def test_code_on_the_page_works_when_pasted(open_report):
    page = open_report(OPENED)
    page.one("canvas")
    spatial, tiles = page.one("#code").text, page.one("#code-tiles").text
    assert len(spatial.splitlines()) == len(tiles.splitlines()) == 2
    done = subprocess.run(
        [sys.executable, "-c", f"{spatial}\n{tiles}\nprint(len(tiles))"],
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "70"


@pytest.mark.parametrize("state", ["", OPENED, "view=dataset"])
def test_nothing_is_wider_than_a_phone(folder, state):
    with browser.opened(browser.PHONE) as driver:
        page = Page(driver, folder, state)
        page.until(lambda: page.all(".card, canvas, .histogram"))
        wide = driver.execute_script(
            "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
    assert wide[0] <= wide[1]
