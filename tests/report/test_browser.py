"""The report page in Chromium: it draws, it obeys its controls, it fits the window, it loads nothing.

These run with `make test-browser`, and need Debian's packages chromium and chromium-driver.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bayestds.report.html import report_page
from tests.pages import full_posterior, joint_result, with_volume
from tests.report.test_html import hostile
from tests.results import point_fit_result

pytestmark = pytest.mark.browser

N_DRAWS = 20
WIDTHS = (390, 1440)
SMALLEST_LETTERS = 11.0
"""Height of letters in CSS pixels that can still be read."""

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

OVERFLOWING = """
    const wide = document.documentElement.clientWidth;
    return [...document.querySelectorAll("body *")]
        .filter((e) => e.getBoundingClientRect().right > wide + 1)
        .filter((e) => !e.closest(".scroll, pre, .dispersion, svg"))
        .map((e) => e.tagName + "." + e.className);
"""

SMALL_LETTERS = """
    const found = [];
    for (const e of document.querySelectorAll("body *")) {
        const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
        if (!own || e.closest("script, style, noscript, title")) continue;
        const svg = e.closest("svg");
        const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
        const size = parseFloat(getComputedStyle(e).fontSize) * scale;
        if (size < arguments[0]) found.push(e.textContent.trim().slice(0, 30) + ": " + size);
    }
    return found;
"""

COLOURS = """
    const canvas = document.querySelectorAll("canvas")[arguments[0]];
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    const seen = new Set();
    for (let i = 0; i < pixels.length; i += 4) seen.add(pixels[i] << 16 | pixels[i + 1] << 8 | pixels[i + 2]);
    return seen.size;
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Any]:
    from selenium import webdriver  # of the extra `browser`, which only these tests need

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # With the path of the driver given, selenium does not look for one on the network.
    service = webdriver.ChromeService(shutil.which("chromedriver") or "chromedriver")
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """Files with a page of each kind of result."""
    results = {
        "point fit": with_volume(point_fit_result("fcc", n_shells=2), (9, 7, 5)),
        "posterior": with_volume(full_posterior(), (9, 7, 5)),
        "joint": joint_result(),
        "hostile": hostile(joint_result()),
        "plane": with_volume(point_fit_result("fcc", n_shells=2), (9, 7, 1)),
    }
    folder, found = tmp_path_factory.mktemp("pages"), {}
    for name, tree in results.items():
        found[name] = folder / f"{name}.html"
        found[name].write_text(report_page(tree, n_draws=N_DRAWS), "utf-8")
    return found


def visit(browser: Any, page: Path, width: int = 1440, dark: bool = False) -> None:
    """Open a page in a window of this width; forgets what was logged before."""
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(page.as_uri())


KINDS = ("point fit", "posterior", "joint", "hostile", "plane")


@pytest.mark.parametrize("kind", KINDS)
def test_no_error_and_no_request(browser, pages, kind):
    visit(browser, pages[kind])
    assert browser.get_log("browser") == []
    sent = [entry["message"] for entry in browser.get_log("performance")]
    asked = [re.search(r'"url":"([^"]*)"', m)[1] for m in sent if 'Network.requestWillBeSent"' in m]
    assert asked == [pages[kind].as_uri()] or set(asked) <= {pages[kind].as_uri(), "data:,"}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_page_fits_the_window(browser, pages, kind, width):
    visit(browser, pages[kind], width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(OVERFLOWING) == []
    assert browser.execute_script(SMALL_LETTERS, SMALLEST_LETTERS) == []


@pytest.mark.parametrize("kind", KINDS)
def test_planes_are_drawn(browser, pages, kind):
    """A map has many colours; frame, letters and grey alone have few."""
    visit(browser, pages[kind])
    n_canvases = browser.execute_script('return document.querySelectorAll("canvas").length')
    assert n_canvases == (6 if kind in ("joint", "hostile") else 3)
    for i in range(n_canvases):
        assert browser.execute_script(COLOURS, i) > 100


def picture(browser: Any, number: int = 0) -> str:
    return browser.execute_script(f'return document.querySelectorAll("canvas")[{number}].toDataURL()')


def label(browser: Any) -> str:
    return browser.find_element("css selector", "output.plane").text


def slide(browser: Any, key: str) -> None:
    browser.find_element("css selector", "input[type=range]").send_keys(key)


def test_slider_changes_the_plane(browser, pages):
    from selenium.webdriver.common.keys import Keys

    visit(browser, pages["point fit"])
    assert label(browser) == "l = 0.00 r.l.u."
    before = picture(browser)
    slide(browser, Keys.ARROW_RIGHT)
    assert label(browser) == "l = 0.50 r.l.u."
    assert picture(browser) != before
    slide(browser, Keys.ARROW_LEFT)
    assert picture(browser) == before
    slide(browser, Keys.HOME)
    assert label(browser) == "l = −1.00 r.l.u."
    name = browser.find_element("css selector", "canvas").get_attribute("aria-label")
    assert "plane l = −1.00" in name


def test_other_axis(browser, pages):
    from selenium.webdriver.common.keys import Keys

    visit(browser, pages["point fit"])
    before = picture(browser)
    browser.find_element("css selector", "input[type=radio][value='0']").click()
    assert label(browser) == "h = 0.00 r.l.u."
    assert picture(browser) != before
    slide(browser, Keys.END)
    assert label(browser) == "h = 1.00 r.l.u."


def test_one_plane_alone_has_no_slider(browser, pages):
    visit(browser, pages["plane"])
    assert label(browser) == "l = 0.00 r.l.u."
    assert not browser.find_element("css selector", "input[type=range]").is_enabled()


def test_sliders_of_volumes_are_independent(browser, pages):
    from selenium.webdriver.common.keys import Keys

    visit(browser, pages["joint"])
    first, fourth = picture(browser, 0), picture(browser, 3)
    slide(browser, Keys.END)
    assert picture(browser, 0) != first
    assert picture(browser, 3) == fourth


def test_pointing_shows_the_values(browser, pages):
    """The middle of the canvas of a volume whose values are known."""
    tree = with_volume(point_fit_result("fcc", n_shells=2), (9, 7, 5))
    observed = tree["observed_data"].dataset
    point = int(observed["point_of_voxel"].sel(h=0, k=0, l=0, method="nearest"))
    visit(browser, pages["point fit"])
    canvas = browser.find_element("css selector", "canvas")
    where = """
        const box = arguments[0].getBoundingClientRect();
        const width = arguments[0].parentElement.clientWidth - 60;
        const x = box.left + 48 + width / 2, y = box.top + 8 + width * (7 / 3) / (9 / 4) / 2;
        arguments[0].dispatchEvent(new PointerEvent("pointermove", { clientX: x, clientY: y }));
    """
    browser.execute_script(where, canvas)
    text = browser.find_element("css selector", "output.readout").text.replace("−", "-")
    assert text.startswith("h = 0.00, k = 0.00, l = 0.00: ")
    for name, key in (("observed", "log_intensity"), ("fitted", "fitted"), ("residual", "residual")):
        shown = float(re.search(rf"{name} (-?[\d.]+(e-?\d+)?)", text)[1])
        # Written with four places after the point.
        assert shown == pytest.approx(float(observed[key][point]), abs=6e-5 + 1e-4)


def test_hostile_names_do_nothing(browser, pages):
    from selenium.common.exceptions import NoAlertPresentException

    visit(browser, pages["hostile"])
    with pytest.raises(NoAlertPresentException):
        browser.switch_to.alert  # noqa: B018  (asking is what raises)
    assert "<script>alert(1)</script>" in browser.find_element("css selector", "h1").text
    assert browser.find_elements("css selector", "img") == []


def test_dark_and_light(browser, pages):
    shade = """
        const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number);
        return (r + g + b) / 3;
    """
    letters = "return getComputedStyle(document.querySelector('.chart text')).fill"
    visit(browser, pages["point fit"])
    light = browser.execute_script(shade), browser.execute_script(letters), picture(browser)
    visit(browser, pages["point fit"], dark=True)
    dark = browser.execute_script(shade), browser.execute_script(letters), picture(browser)
    assert light[0] > 230
    assert dark[0] < 40
    assert light[1] != dark[1]
    assert light[2] != dark[2]


def test_paper_is_white(browser, pages):
    visit(browser, pages["point fit"], dark=True)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert (
        browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        == "rgb(255, 255, 255)"
    )
