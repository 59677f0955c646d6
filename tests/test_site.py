"""The site builds without a warning, and a browser finds nothing broken in it."""

import functools
import http.server
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BROWSER, DRIVER = map(shutil.which, ("chromium", "chromedriver"))
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--window-size=1300,1000"
)
# What looks broken to a reader, as the page itself reports it.
BROKEN = """
const gone = [...document.images].filter(x => x.loading != "lazy" && !x.naturalWidth);
const raw = [...document.querySelectorAll(".math")].filter(
  x => !x.querySelector("mjx-container") || x.querySelector("mjx-merror"));
return {pictures: gone.map(x => x.src), formulas: raw.map(x => x.textContent)};
"""
LINKS = 'return [...document.querySelectorAll("a[href]")].map(x => x.href)'


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The address of the site, built as `make docs` builds it, and its files."""
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
    """Files of a folder, without a word about each."""

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def browser():
    """Chromium, driven by Selenium, with what it logs."""
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
    """A page, once its formulas have been made."""
    browser.get(address)
    browser.set_script_timeout(30)
    browser.execute_async_script(
        "const done = arguments[0];"
        "if (!window.MathJax) done();"
        "else MathJax.startup.promise.then(done);"
    )


@pytest.mark.ci
def test_the_site(site, browser):
    """One test, for one build: two workers would write the same pages."""
    nothing_is_broken(*site, browser)
    a_reader_clicks_through(site[0], browser)
    for width in (420, 1300):
        no_page_is_wider_than_the_window(*site, browser, width)


def nothing_is_broken(start, files, browser):
    """From the first page along every link within the site."""
    waiting, seen, pictures, formulas = [start + "index.html"], set(), 0, 0
    while waiting:
        page = waiting.pop()
        seen.add(page)
        rendered(browser, page)
        broken = browser.execute_script(BROKEN)
        assert broken == {"pictures": [], "formulas": []}, page
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
    """From the start by the navigation to a method, its page, and back."""
    rendered(browser, start)
    for text, heading in (
        ("How to choose", "How to choose"),
        ("The methods", "The methods"),
        ("Reference", "Reference"),
    ):
        browser.find_element("css selector", ".sidebar-tree").find_element(
            "link text", text
        ).click()
        assert browser.find_element("css selector", "h1").text.startswith(heading)
    browser.find_element("link text", "Optimizers").click()
    link = browser.find_element("link text", "oxe.swats")
    browser.execute_script(
        'arguments[0].scrollIntoView({block: "center", behavior: "instant"})', link
    )
    link.click()
    assert browser.find_element("css selector", "h1").text.startswith("oxe.swats")
    browser.back()
    assert browser.find_element("css selector", "h1").text.startswith("Optimizers")


def no_page_is_wider_than_the_window(start, files, browser, width):
    browser.set_window_size(width, 900)
    for file in sorted(files.glob("*.html")):
        rendered(browser, start + file.name)
        over = browser.execute_script(
            "return document.documentElement.scrollWidth - window.innerWidth"
        )
        assert over <= 0, (file.name, over)
