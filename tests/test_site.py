"""The site builds without a warning, and a browser finds nothing broken in it."""

import functools
import http.server
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHOOSE = "Choosing a learning rate, schedule and optimizer"
BROWSER, DRIVER = map(shutil.which, ("chromium", "chromedriver"))
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--window-size=1300,1000"
)
# Pictures that did not load and formulas that were not set.
BROKEN = """
const gone = [...document.images].filter(x => x.loading != "lazy" && !x.naturalWidth);
const raw = [...document.querySelectorAll(".math")].filter(
  x => !x.querySelector("mjx-container") || x.querySelector("mjx-merror"));
return {pictures: gone.map(x => x.src), formulas: raw.map(x => x.textContent)};
"""
LINKS = 'return [...document.querySelectorAll("a[href]")].map(x => x.href)'
# Where a page does not fit the window: its width; names in tables or titles on two
# lines; formulas that scroll or are set in less than 0.55 of their size.
MISFITS = r"""
const broken = [], scrolling = [], tiny = [], range = document.createRange();
for (const code of document.querySelectorAll("td code, h1")) {
  const walker = document.createTreeWalker(code, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    for (const name of walker.currentNode.data.matchAll(/\w+/g)) {
      range.setStart(walker.currentNode, name.index);
      range.setEnd(walker.currentNode, name.index + name[0].length);
      const lines = [...range.getClientRects()].map(x => Math.round(x.top));
      if (new Set(lines).size > 1) broken.push(name[0]);
    }
  }
}
for (const formula of document.querySelectorAll("article mjx-container")) {
  const text = formula.parentElement.textContent.replace(/[^ -~]/g, "");
  for (const x of [formula, formula.closest("div.math") || formula])
    if (x.clientWidth && x.scrollWidth > x.clientWidth + 1) scrolling.push(text);
  const full = 1.21 * parseFloat(getComputedStyle(formula.parentElement).fontSize);
  if (parseFloat(getComputedStyle(formula).fontSize) < 0.55 * full) tiny.push(text);
}
const over = document.documentElement.scrollWidth - innerWidth;
return {over: Math.max(over, 0), broken, scrolling, tiny};
"""
FITS = {"over": 0, "broken": [], "scrolling": [], "tiny": []}
# What would show that a signature is printed by Python and not in words.
MACHINERY = ("&lt;function", "&lt;object", " object at 0x", "_src", "jaxlib", "~Phase")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The address and the files of the site, built as by `make docs`."""
    pytest.importorskip("sphinx")
    out = tmp_path_factory.mktemp("site")
    sphinx = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run(
        [*sphinx, "-d", str(out / "trees"), "docs", str(out / "html")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    handler = functools.partial(Quiet, directory=out / "html")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", out / "html"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves the files of a folder without logging requests."""

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def browser():
    """Chromium, driven by Selenium; it collects what the pages log."""
    selenium = pytest.importorskip("selenium.webdriver")
    if not (BROWSER and DRIVER):
        pytest.skip("chromium and chromedriver are not installed")
    options = selenium.ChromeOptions()
    options.binary_location = BROWSER
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = selenium.ChromeService(DRIVER)
    with selenium.Chrome(options=options, service=service) as driver:
        yield driver


def rendered(browser, address):
    """Opens a page and waits until `site.js` has fitted its formulas."""
    browser.get(address)
    browser.set_script_timeout(30)
    browser.execute_async_script(
        "const done = arguments[0];"
        "function wait() {"
        "  if (document.documentElement.dataset.fitted) done();"
        "  else setTimeout(wait, 20);"
        "}"
        "wait();"
    )


@pytest.mark.ci
def test_the_site(site, browser):
    """One test, because two workers would build the same pages."""
    start, files = site
    signatures_are_in_words(files)
    nothing_is_broken(start, files, browser)
    a_reader_clicks_through(start, browser)
    every_page_fits_a_phone(start, files, browser)


def signatures_are_in_words(files):
    found = list((files / "reference").glob("*.html"))
    assert len(found) > 150
    for file in found:
        text = file.read_text()
        for start in ('<dt class="sig', '<span class="sig-paren'):
            for part in text.split(start)[1:]:
                signature = part.partition("</dt>")[0]
                assert not [x for x in MACHINERY if x in signature], (file.name, part)
    text = text_of(files / "reference" / "nadam.html")
    assert "b1: number in [0, 1) = 0.9," in text
    assert "weight_decay: number in [0, inf) or schedule = 0.0," in text
    # The description of a field is shown as it is written.
    assert "Shape (), int32: updates made" in text_of(
        files / "reference" / "states.ScheduledState.html"
    )


def text_of(file):
    return re.sub("<[^>]*>", "", file.read_text())


def nothing_is_broken(start, files, browser):
    """Follows every link within the site from the first page."""
    waiting, seen, pictures, formulas = [start + "index.html"], set(), 0, 0
    while waiting:
        page = waiting.pop()
        seen.add(page)
        rendered(browser, page)
        broken = browser.execute_script(BROKEN)
        assert broken == {"pictures": [], "formulas": []}, page
        assert browser.execute_script(MISFITS) == FITS, page
        assert not [x for x in browser.get_log("browser") if x["level"] == "SEVERE"]
        pictures += browser.execute_script("return document.images.length")
        formulas += browser.execute_script(
            'return document.querySelectorAll("mjx-container").length'
        )
        for link in browser.execute_script(LINKS):
            address, _, anchor = link.partition("#")
            if not address.startswith(start):
                assert address.startswith("https://"), link
                continue
            file = files / (address.removeprefix(start) or "index.html")
            assert file.exists(), (page, link)
            if anchor:
                assert f'id="{anchor}"' in file.read_text(), (page, link)
            is_page = address.endswith(".html")
            if is_page and address not in seen and address not in waiting:
                waiting.append(address)
    made = {f"{start}{file.relative_to(files)}" for file in files.rglob("*.html")}
    not_linked = {
        f"{start}{name}.html" for name in ("search", "genindex", "py-modindex")
    }
    assert made - not_linked <= seen
    assert pictures > 90
    assert formulas > 300


def a_reader_clicks_through(start, browser):
    """Goes by the sidebar to an optimizer, its page, and back."""
    rendered(browser, start)
    for text, heading in (
        (CHOOSE, CHOOSE),
        ("The methods", "The methods"),
        ("API reference", "API reference"),
    ):
        browser.find_element("css selector", ".sidebar-tree").find_element(
            "link text", text
        ).click()
        assert browser.find_element("css selector", "h1").text.startswith(heading)
    for text in ("Optimizers", "oxe.swats"):
        article = browser.find_element("css selector", "article")
        link = article.find_element("link text", text)
        browser.execute_script(
            'arguments[0].scrollIntoView({block: "center", behavior: "instant"})', link
        )
        link.click()
    assert browser.find_element("css selector", "h1").text.startswith("oxe.swats")
    browser.back()
    assert browser.find_element("css selector", "h1").text.startswith("Optimizers")


def every_page_fits_a_phone(start, files, browser):
    # A window cannot be this narrow, but its contents can.
    size = {"width": 420, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    for file in sorted(files.rglob("*.html")):
        rendered(browser, f"{start}{file.relative_to(files)}")
        assert browser.execute_script("return innerWidth") == 420
        assert browser.execute_script(MISFITS) == FITS, file.name
