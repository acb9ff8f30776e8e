"""``report.html`` in a real browser, opened from its file."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from report_example import BEST, LEARNED, PATTERN, example_days, full_content
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from agents.evaluation.folder import write_pictures_and_page
from agents.rules import load_rules
from envs.settings import TaskSettings

pytestmark = [pytest.mark.browser, pytest.mark.slow]

END = "end of the log"
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1100,900",
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    return write_pictures_and_page(full_content(), example_days(), load_rules().task(TaskSettings()), out)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no browser: install Debian's packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    service = Service(driver, log_output=os.devnull)
    browser = webdriver.Chrome(options=options, service=service)
    yield browser
    browser.quit()


@pytest.fixture
def page(browser: webdriver.Chrome, report: Path) -> webdriver.Chrome:
    browser.get_log("performance")
    complaints(browser)
    browser.get(report.as_uri())
    return browser


def requested(browser: webdriver.Chrome) -> list[str]:
    messages = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    return [item["params"]["request"]["url"] for item in messages if item["method"] == "Network.requestWillBeSent"]


def complaints(browser: webdriver.Chrome) -> list[str]:
    """What the console was told so far; the log is late, so it is read until a line of our own arrives."""
    browser.execute_script(f"console.error('{END}')")
    found: list[str] = []

    def arrived(_: webdriver.Chrome) -> bool:
        found.extend(entry["message"] for entry in browser.get_log("browser"))
        return any(END in line for line in found)

    WebDriverWait(browser, 20).until(arrived)
    return [line for line in found if END not in line]


def test_the_page_opens_alone_without_a_request_or_an_error(page: webdriver.Chrome, report: Path) -> None:
    addresses = requested(page)
    assert report.as_uri() in addresses
    assert [url for url in addresses if url != report.as_uri() and not url.startswith("data:")] == []
    assert complaints(page) == []
    line = page.find_element(By.ID, "first-line")
    assert line.is_displayed()
    assert line.text == full_content()["first_line"]
    pictures = page.find_elements(By.TAG_NAME, "img")
    assert len(pictures) == 6
    for picture in pictures:
        assert int(picture.get_property("naturalWidth")) >= 800  # type: ignore[arg-type]
        assert picture.get_attribute("alt")


def test_a_request_or_an_error_would_be_seen(browser: webdriver.Chrome, tmp_path: Path) -> None:
    """The plant: a page that loads a script from elsewhere and throws."""
    bad = tmp_path / "bad.html"
    bad.write_text('<script src="https://example.invalid/x.js"></script><script>throw new Error("planted")</script>')
    browser.get_log("performance")
    browser.get(bad.as_uri())
    assert "https://example.invalid/x.js" in requested(browser)
    assert any("planted" in line for line in complaints(browser))


def policies_table(page: webdriver.Chrome) -> WebElement:
    return page.find_element(By.CSS_SELECTOR, "#policies table.sortable")


def column(table: WebElement, number: int) -> list[str]:
    rows = table.find_elements(By.CSS_SELECTOR, "tbody tr")
    return [row.find_elements(By.CSS_SELECTOR, "th, td")[number].text for row in rows]


def test_the_table_of_policies_sorts_both_ways_with_empty_cells_last(page: webdriver.Chrome) -> None:
    table = policies_table(page)
    heads = table.find_elements(By.CSS_SELECTOR, "thead th")
    assert column(table, 0)[:2] == [LEARNED, BEST]
    bad = heads[6]
    bad.find_element(By.TAG_NAME, "button").click()
    assert bad.get_attribute("aria-sort") == "ascending"
    assert column(table, 6) == ["0.12 %", "0.19 %", "0.35 %", "0.42 %", "0.61 %", "0.72 %", "", ""]
    bad.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert bad.get_attribute("aria-sort") == "descending"
    assert column(table, 6) == ["0.72 %", "0.61 %", "0.42 %", "0.35 %", "0.19 %", "0.12 %", "", ""]
    heads[0].find_element(By.TAG_NAME, "button").click()
    assert bad.get_attribute("aria-sort") is None
    names = column(table, 0)
    assert names == sorted(names)
    assert names[0] == "clairvoyant bound"


def shown(page: webdriver.Chrome) -> list[list[str]]:
    rows = page.find_elements(By.CSS_SELECTOR, "#viewer-now tbody tr")
    return [[cell.text for cell in row.find_elements(By.CSS_SELECTOR, "th, td")] for row in rows]


def expected(trace: str, at: int) -> list[list[str]]:
    table = []
    for name, day in example_days()[trace].items():
        stages = [str(int(day[stage][at])) for stage in ("on_demand", "spot", "pending", "draining")]
        bad, cuts = (f"{day[key][: at + 1].sum():.0f}" for key in ("bad_minutes", "interruptions"))
        table.append([name, *stages, bad, cuts])
    return table


def test_the_viewer_steps_through_the_day_of_each_policy(page: webdriver.Chrome) -> None:
    clock, slider = page.find_element(By.ID, "viewer-clock"), page.find_element(By.ID, "viewer-time")
    assert clock.text == "Thu 00:05"
    for press, at in (("viewer-on", 1), ("viewer-on", 2), ("viewer-back", 1)):
        page.find_element(By.ID, press).click()
        rows = shown(page)
        assert [[row[0], *row[3:7], *row[8:10]] for row in rows] == expected("worldcup98_1min", at)
        assert clock.text == f"Thu 00:{5 * at + 5:02d}"
    slider.send_keys(Keys.END)
    assert clock.text == "Fri 00:00"
    assert [[row[0], *row[3:7], *row[8:10]] for row in shown(page)] == expected("worldcup98_1min", 287)
    page.find_element(By.ID, "viewer-on").click()
    assert clock.text == "Fri 00:00"
    page.find_element(By.CSS_SELECTOR, f"#viewer-trace option[value='{PATTERN}']").click()
    assert [[row[0], *row[3:7], *row[8:10]] for row in shown(page)] == expected(PATTERN, 287)
    assert len(page.find_elements(By.CSS_SELECTOR, "#viewer-charts svg polygon")) == 3 * 4
    assert complaints(page) == []


def test_the_viewer_plays_and_stops(page: webdriver.Chrome) -> None:
    button = page.find_element(By.ID, "viewer-play")
    place = "return Number(document.getElementById('viewer-time').value)"
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    advance = "const done = arguments[0]; const start = Number(document.getElementById('viewer-time').value);"
    advance += "const wait = () => Number(document.getElementById('viewer-time').value) > start ? done(true) :"
    advance += "setTimeout(wait, 20); wait();"
    assert page.execute_async_script(advance) is True
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert page.execute_script(place) > 0


def test_the_page_fits_a_narrow_screen_and_follows_a_dark_one(page: webdriver.Chrome) -> None:
    ground = "return getComputedStyle(document.body).backgroundColor"
    overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    metrics = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    assert page.execute_script(overflow) == 0
    colours = {}
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        colours[scheme] = page.execute_script(ground)
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert colours["light"] == "rgb(255, 255, 255)"
    assert colours["dark"] != colours["light"]
