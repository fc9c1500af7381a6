"""The pages as a site: built without a warning, in a browser without an error, and no wider than a phone."""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from browser import HOW, Browser, chromium

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not importlib.util.find_spec("material"):
        pytest.skip("needs MkDocs: pip install -c constraints.txt '.[docs]', or make docs")
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(place)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    return place


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = chromium()
    if path is None:
        pytest.skip(HOW)
    with Browser(path) as browser:
        yield browser


def test_every_page_is_built(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")}
    named = {page.with_name("index") if page.name == "README" else page for page in pages}
    assert named <= {path.relative_to(site).with_suffix("") for path in site.rglob("*.html")}


def test_pages_fit_a_phone_and_load_nothing_from_elsewhere(site: Path, browser: Browser) -> None:
    wide, loud, pictures = [], [], 0
    for page in sorted(site.rglob("*.html")):
        if page.name == "404.html":  # whose links are those of a site at the top of its host
            continue
        browser.open(page, 360, 800)
        if browser.value("document.documentElement.scrollWidth") > 360:
            wide.append(str(page.relative_to(site)))
        broken = "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
        loud += [*browser.value(broken), *(url for url in browser.requests if not url.startswith(("file:", "data:")))]
        pictures += browser.value("document.images.length")
    assert (wide, loud) == ([], [])
    assert pictures


def test_links_lead_to_pages_and_places_that_are_there(site: Path, browser: Browser) -> None:
    places: dict[Path, set[str]] = {}

    def is_there(link: str) -> bool:
        target, _, place = link.partition("#")
        path = Path(unquote(target.removeprefix("file://")))
        if path.is_file() and path not in places:
            places[path] = set(re.findall(r'\bid="([^"]+)"', path.read_text(errors="replace")))
        return path.is_file() and (not place or unquote(place) in places[path])

    dead, followed = [], 0
    for page in sorted(site.rglob("*.html")):
        if page.name == "404.html":
            continue
        browser.open(page, 1200, 800)
        links = [link for link in browser.value("[...document.links].map(a => a.href)") if link.startswith("file:")]
        dead += [(str(page.relative_to(site)), link) for link in links if not is_there(link)]
        followed += len(links)
    assert dead == []
    assert followed > 100
