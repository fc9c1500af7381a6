"""The page of the service in a real browser: photos are chosen or dropped, and their answers read."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from browser import HOW, Browser, chromium
from serving_process import Serving

from blurtrain.serving import Detector
from blurtrain.serving.detector import Detected, Probabilities

HTML = "<img src=x onerror=broken=1>.jpg"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(chromium() is None, reason=HOW)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = chromium()
    assert path
    with Browser(path) as one:
        yield one


def choose(browser: Browser, files: Sequence[Path]) -> None:
    root = browser.call("DOM.getDocument", depth=1)["root"]["nodeId"]
    node = browser.call("DOM.querySelector", nodeId=root, selector="#files")["nodeId"]
    browser.call("DOM.setFileInputFiles", files=[str(file) for file in files], nodeId=node)


def rows(browser: Browser, count: int) -> list[list[str]]:
    """Name and answer of so many photos, once all have one."""
    cells = "[...document.querySelectorAll('tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
    browser.until(
        lambda: len(found := browser.value(cells)) == count and all(answer != "…" for _, answer in found), "answers"
    )
    found: list[list[str]] = browser.value(cells)
    return found


def ready(browser: Browser) -> None:
    browser.until(lambda: browser.value("document.getElementById('state').textContent") != "…", "the service's state")


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (360, True)])
def test_photos_that_are_chosen_are_answered(
    serving: Serving, browser: Browser, detector: Detector, photos: list[bytes], tmp_path: Path, width: int, dark: bool
) -> None:
    files = [tmp_path / "a.jpg", tmp_path / HTML, tmp_path / "none.jpg"]
    for file, content in zip(files, [photos[0], photos[1], b"hello"], strict=True):
        file.write_bytes(content)
    browser.open(serving.url, width, 800, dark)
    ready(browser)
    types = browser.value("[...document.getElementById('type').options].map(o => o.value)")
    assert types == ["", *detector.selectable]
    choose(browser, files)
    found = rows(browser, 3)
    assert [name for name, _ in found] == ["a.jpg", HTML, "none.jpg"]
    for (_, text), content in zip(found, photos[:2], strict=False):
        answer = detector.classify(content)
        assert isinstance(answer, Probabilities)
        best = max(answer.probabilities, key=lambda name: answer.probabilities[name])
        assert text.startswith(f"{best} {100 * answer.probabilities[best]:.1f} %")
    assert "no photo, by its content" in found[2][1]
    assert browser.value("window.broken") is None
    assert all(url.startswith((serving.url, "data:")) for url in browser.requests)
    assert [line for line in browser.messages if "415" not in line] == []
    assert browser.value("document.documentElement.scrollWidth") <= width


def test_a_photo_that_is_dropped_is_answered_for_the_type_asked_for(
    serving: Serving, browser: Browser, detector: Detector, photos: list[bytes]
) -> None:
    browser.open(serving.url)
    ready(browser)
    bits = list(photos[2])
    browser.value(
        "(() => { document.getElementById('type').value = 'motion_blurred'; const data = new DataTransfer();"
        f" data.items.add(new File([new Uint8Array({bits})], 'dropped.jpg'));"
        " document.getElementById('drop').dispatchEvent(new DragEvent('drop', "
        "{dataTransfer: data, bubbles: true, cancelable: true})); })()"
    )
    answer = detector.classify(photos[2], "motion_blurred")
    assert isinstance(answer, Detected)
    [[name, text]] = rows(browser, 1)
    said = "motion_blurred detected" if answer.detected else "motion_blurred not detected"
    assert name == "dropped.jpg" and text.startswith(said)
    assert f"{100 * answer.blur_type_probability:.1f} %" in text and browser.messages == []


def test_a_token_is_asked_for_where_one_is_needed(
    model: Path, browser: Browser, photos: list[bytes], tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").write_bytes(photos[0])
    with Serving(model, tmp_path / "jobs", token="a-token-of-a-test") as one:
        browser.open(one.url)
        ready(browser)
        assert not browser.value("document.getElementById('secret').hidden")
        choose(browser, [tmp_path / "a.jpg"])
        assert "send the token" in rows(browser, 1)[0][1]
        browser.value("document.getElementById('token').value = 'a-token-of-a-test'")
        choose(browser, [tmp_path / "a.jpg"])
        assert " %" in rows(browser, 2)[1][1]


def test_without_a_model_the_page_says_so(browser: Browser, tmp_path: Path) -> None:
    with Serving(None, tmp_path / "jobs") as one:
        browser.open(one.url)
        ready(browser)
        assert "no model" in browser.value("document.getElementById('state').textContent")


def test_the_documentation_can_be_read(serving: Serving, browser: Browser) -> None:
    browser.open(f"{serving.url}/docs", script=False)
    assert browser.messages == [] and all(url.startswith(serving.url) for url in browser.requests)
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
