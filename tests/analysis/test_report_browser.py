"""The report in a real browser: what a reader does with mouse and keyboard, on a desktop, on a phone, in the dark."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import HOW, Browser, chromium
from search_folder import SearchFolder

import analysis

MakeRun = Callable[..., str]
HTML = '<b>bold</b> & "more" </script><script>window.broken = 1</script>'
MESSAGE = f"RunError: {HTML}\nsecond line"
CONTRAST = (Path(__file__).parent / "contrast.js").read_text()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(chromium() is None, reason=HOW)]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, make_run: MakeRun) -> Path:
    """Of a grid in progress: two regimes, two rates, two seeds, and one run each that failed, runs, and waits."""
    folder = tmp_path_factory.mktemp("browser")
    runs = folder / "runs"
    runs.mkdir()
    for regime, top1 in (("clear", 40), ("blurry-to-clear", 60)):
        for rate in (1e-5, 1e-2):
            for seed in (0, 1):
                settings = {"optimisation": {"learning_rate": rate}}
                counts = {0.0: 80 - seed, 4.0: top1, 8.0: top1 - 20 - int(1000 * rate)}
                with_epochs(runs / make_run(runs, "pets", regime, seed, counts, settings=settings, n=100))
    make_run(runs, "pets", "clear", 2, {0.0: 9}, run_id="<i>odd", settings={
        "network": {"pretrained": {"file": f"{HTML}.pt", "sha256": "a" * 64}}}, n=100)  # fmt: skip
    make_run(runs, "pets", "blurry-to-clear", 7, done=False, run_id="not-begun", data=None)
    failed = runs / make_run(runs, "pets", "clear", 8, done=False, run_id="has-failed")
    with_epochs(failed, {"event": "failed", "error": "RunError", "message": MESSAGE})
    running = runs / make_run(runs, "pets", "clear", 9, done=False, run_id="is-running")
    with_epochs(running, origin={"host": os.uname().nodename, "pid": os.getpid()})
    (running / "attempts/0001/heartbeat.json").write_text(json.dumps({"epoch": 3, "epochs": 60}))
    return analysis.report(runs, folder / "out")


def with_epochs(run: Path, *last: dict[str, Any], origin: dict[str, Any] | None = None) -> None:
    """With a journal of three epochs, and a log."""
    attempt = run / "attempts" / "0001"
    epochs = [
        {"event": "epoch", "at": 10 * k, "epoch": k, "loss": 2 / k, "top1": 20.0 * k, "n": 500} for k in (1, 2, 3)
    ]
    looks = [{"event": "validation", "at": 10 * k, "epoch": k, "split": "val", "loss": 3 / k, "top1": 15.0 * k, "n": 50}
             for k in (1, 2, 3)]  # fmt: skip
    events = [{"event": "start", "at": 0, "epoch": 0}, *epochs, *looks, *last]
    (attempt / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    (attempt / "log.txt").write_text("".join(f"line {k} {HTML}\n" for k in range(30)))
    if origin:
        (attempt / "origin.json").write_text(json.dumps(origin | {"data_id": "1de4f0c1db203d86"}))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = chromium()
    assert path
    with Browser(path) as one:
        yield one


def focus(browser: Browser, selector: str) -> None:
    browser.value(f"document.querySelector({json.dumps(selector)}).focus()")


def column(browser: Browser, number: int) -> list[str]:
    """What stands in a column of the first table of results, in its order, of rows that are shown."""
    found: list[str] = browser.value(
        f"[...document.querySelectorAll('#results table')[0].tBodies[0].rows].filter(r => !r.hidden)"
        f".map(r => r.cells[{number}].querySelector('button') ? r.cells[{number}].querySelector('button').firstChild"
        f".textContent : r.cells[{number}].textContent)"
    )
    return [text.strip() for text in found]


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (360, False), (1200, True), (360, True)])
def test_it_says_nothing_on_its_console_and_fetches_nothing(
    page: Path, browser: Browser, width: int, dark: bool
) -> None:
    browser.open(page, width, 800, dark)
    assert browser.messages == []
    assert [url for url in browser.requests if not url.startswith("data:image/svg+xml;base64,")] == [page.as_uri()]
    assert browser.value("[...document.images].every(i => i.complete && i.naturalWidth > 100)")
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value("window.broken") is None and browser.value("document.scripts.length") == 2


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_stands_out(page: Path, browser: Browser, dark: bool) -> None:
    browser.open(page, dark=dark)
    browser.value("document.querySelectorAll('details').forEach(d => d.open = true)")
    found = browser.value(CONTRAST)
    assert found["seen"] > 500 and found["faint"] == []
    focus(browser, "#results tbody tr:nth-child(2) button.cell")
    browser.press("Enter")
    browser.value("document.querySelectorAll('dialog details').forEach(d => d.open = true)")
    browser.until(lambda: browser.value("!!document.querySelector('dialog pre')"), "the details of the runs")
    found = browser.value(CONTRAST)
    assert found["seen"] > 500 and found["faint"] == []


def test_every_link_leads_somewhere(page: Path, browser: Browser) -> None:
    browser.open(page)
    assert_links_lead_somewhere(page, browser)


def assert_links_lead_somewhere(page: Path, browser: Browser) -> None:
    links = browser.value("[...document.querySelectorAll('a[href]')].map(a => a.getAttribute('href'))")
    assert len(links) > 20
    for link in links:
        if link.startswith("#"):
            assert browser.value(f"!!document.getElementById({json.dumps(link[1:])})"), link
        else:
            assert (page.parent / link).is_file(), link
    ids = browser.value("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_tables_sort_by_value_with_the_keyboard(page: Path, browser: Browser) -> None:
    browser.open(page)
    heads = browser.value(
        "[...document.querySelectorAll('#results table')[0].tHead.rows[0].cells].map(c => c.textContent.trim())"
    )
    at = heads.index("σ 8")
    before = column(browser, at)
    head = f"#results thead th:nth-child({at + 1})"
    focus(browser, f"{head} button")
    for order, reverse in (("ascending", False), ("descending", True)):
        browser.press("Enter")
        assert browser.value(f"document.querySelector('{head}').ariaSort") == order
        values = [float(text.split(" ")[0]) for text in column(browser, at) if text != "–"]
        assert values == sorted(values, reverse=reverse) and len(set(values)) == 4
        assert column(browser, at)[-1] == "–"  # what is missing stays at the end
    browser.press("Enter")
    assert browser.value(f"document.querySelector('{head}').ariaSort") is None
    assert column(browser, at) == before
    rate = heads.index("learning_rate")
    focus(browser, f"#results thead th:nth-child({rate + 1}) button")
    browser.press("Enter")
    assert column(browser, rate) == ["1e-05", "1e-05", "0.001", "0.01", "0.01"]


def test_tables_filter_with_a_live_count(page: Path, browser: Browser) -> None:
    browser.open(page)
    focus(browser, "#results input")
    total = len(column(browser, 0))
    browser.write("blurry 0.01")
    count = browser.value("document.querySelector('#results output').textContent")
    assert count == f"1 of {total} rows" and column(browser, 1) == ["blurry-to-clear"]
    assert browser.value("document.querySelector('#results input').labels[0].textContent").strip() == "Filter"
    browser.value(
        "(i => { i.value = ''; i.dispatchEvent(new Event('input')) })(document.querySelector('#results input'))"
    )
    assert len(column(browser, 0)) == total


def test_a_cell_opens_its_runs_and_escape_closes_them(page: Path, browser: Browser) -> None:
    browser.open(page)
    focus(browser, "#results tbody tr:nth-child(2) button.cell")
    browser.press("Enter")
    dialog = "document.querySelector('dialog[open]')"
    assert browser.value(f"{dialog}.contains(document.activeElement)")
    runs = browser.value(f"[...{dialog}.querySelectorAll('summary code')].map(c => c.textContent)")
    assert len(runs) == 2 and all((page.parents[1] / "runs" / run).is_dir() for run in runs)
    browser.value(f"{dialog}.querySelectorAll('details').forEach(d => d.open = true)")
    browser.until(lambda: browser.value(f"!!{dialog}.querySelector('pre')"), "the details")
    text = browser.value(f"{dialog}.innerText")
    for said in (
        "optimisation.learning_rate",
        "1e-05",
        "val loss",
        "0.6667",
        "line 29",
        "15 lines before them",
        "done",
    ):
        assert said in text
    assert HTML in text and browser.value("window.broken") is None
    assert "line 14 " not in text
    browser.press("Escape")
    browser.until(lambda: browser.value("!document.querySelector('dialog')"), "the dialog to close")
    assert browser.value("document.activeElement.matches('#results tbody tr:nth-child(2) button.cell')")
    assert browser.messages == []


def test_what_is_missing_says_why(page: Path, browser: Browser) -> None:
    browser.open(page)
    text = " ".join(browser.value("document.getElementById('missing').innerText").split())
    assert "3 of 12 runs are not done" in text and "9 done, 1 running, 1 failed, 1 waiting" in text
    assert "is-running running 3 60" in text.replace(" ↕", "") and "not-begun waiting 0 60 not begun" in text
    assert HTML in text and "second line" in text
    focus(browser, "#missing th[data-runs] button")
    browser.press("Enter")
    assert "is-running" in browser.value("document.querySelector('dialog[open]').innerText")


def test_figures_show_their_values(page: Path, browser: Browser) -> None:
    browser.open(page)
    figure = "document.querySelector('#accuracy figure')"
    focus(browser, "#accuracy .plot")
    browser.press("ArrowRight")
    first = browser.value(f"{figure}.querySelector('.tip').innerText")
    browser.press("ArrowRight")
    second = browser.value(f"{figure}.querySelector('.tip').innerText")
    assert first != second and "top-1 accuracy (%)" in first and "95 % interval" in first
    # By the pointer: the value whose point is drawn there.
    browser.value(f"{figure}.scrollIntoView()")
    row, x, y = browser.value(
        f"(() => {{ const row = {figure}.querySelectorAll('tr[data-at]')[1]; const b = {figure}.querySelector('.plot')"
        ".getBoundingClientRect(); const [x, y] = row.dataset.at.split(' ').map(Number);"
        " return [row.cells[1].textContent, b.left + x * b.width, b.top + y * b.height]; })()"
    )
    browser.mouse("mouseMoved", x + 2, y + 2)
    assert f"top-1 accuracy (%): {row}" in browser.value(f"{figure}.querySelector('.tip').innerText")
    browser.mouse("mouseMoved", 1, 1)
    assert browser.value(f"{figure}.querySelector('.tip').hidden")


def test_figures_are_enlarged_moved_and_closed(page: Path, browser: Browser) -> None:
    browser.open(page)
    focus(browser, "#accuracy .figure-tools button")
    browser.press("Enter")
    box = "(b => [b.left, b.top, b.width])(document.querySelector('dialog[open] .stage .plot').getBoundingClientRect())"
    fitted = browser.value(box)
    focus(browser, "dialog[open] .stage")
    browser.press("+")
    larger = browser.value(box)
    assert larger[2] == pytest.approx(1.4 * fitted[2], rel=0.01)
    browser.press("ArrowRight")
    assert browser.value(box)[0] == pytest.approx(larger[0] - 60, abs=1)
    browser.press("0")
    assert browser.value(box) == pytest.approx(fitted, abs=1)
    x, y = fitted[0] + fitted[2] / 4, fitted[1] + 50
    browser.mouse("mouseWheel", x, y, deltaX=0, deltaY=-400)
    browser.until(lambda: browser.value(box)[2] > 2 * fitted[2], "the wheel to zoom")
    zoomed = browser.value(box)
    assert (x - zoomed[0]) / zoomed[2] == pytest.approx(0.25, abs=0.01)  # what was under the pointer still is
    browser.press("Escape")
    browser.until(lambda: browser.value("!document.querySelector('dialog')"), "the dialog to close")
    assert browser.value("document.activeElement.textContent") == "Enlarge" and browser.messages == []


def test_two_fingers_zoom(page: Path, browser: Browser) -> None:
    browser.open(page, 360, 740)
    browser.value("document.querySelector('#accuracy .figure-tools button').click()")
    width = "document.querySelector('dialog[open] .stage .plot').getBoundingClientRect().width"
    before = browser.value(width)
    for kind, apart in (("touchStart", 20), ("touchMove", 40), ("touchMove", 60)):
        points = [{"x": 180 - apart, "y": 300, "id": 1}, {"x": 180 + apart, "y": 300, "id": 2}]
        browser.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)
        time.sleep(0.05)
    browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    browser.until(lambda: browser.value(width) > 2 * before, "the fingers to zoom")


def test_without_scripts_all_can_be_read(page: Path, browser: Browser) -> None:
    browser.open(page, script=False)
    found = browser.call("DOM.getDocument", depth=1)["root"]["nodeId"]
    buttons = browser.call("DOM.querySelectorAll", nodeId=found, selector="button, dialog, input")
    assert buttons["nodeIds"] == [] and browser.messages == []
    shown = browser.call("DOM.getOuterHTML", nodeId=found)["outerHTML"]
    assert "has-failed" in shown and "Its values as a table" in shown
    browser.call("Emulation.setScriptExecutionDisabled", value=False)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["search", "any axis", "stages"])
def test_pages_of_other_folders(kind: str, tmp_path: Path, make_run: MakeRun, browser: Browser) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    make_run(runs, "faces", "clear", 0, {0.0: 50, 8.0: 20})
    if kind == "search":
        made = SearchFolder(runs, make_run, trials=3)
        made.trial([[10] * 9], counts=[{0.0: 40, 8.0: 30}])
        made.trial([[30] * 9], {"optimisation.learning_rate": 5e-3}, counts=[{0.0: 52, 8.0: 31}])
        made.trial([[9]], {"optimisation.learning_rate": 9e-3}, ended="failed", message=MESSAGE)
    elif kind == "any axis":
        for model in ("alexnet-sup", "resnet-18"):
            for name in ("adam", "sgd"):
                settings = {"model": model, "optimisation": {"optimiser": name}}
                make_run(runs, "faces", "clear", 1, {0.0: 30, 8.0: 9}, settings=settings)
    else:
        for regime, top1 in (("clear", 40), ("blurry-to-clear", 50)):
            for epoch in (20, 60):
                make_run(runs, "faces", regime, 2, {0.0: top1 + epoch // 10, 8.0: top1 // 2}, epoch=epoch)
    page = analysis.report(runs, tmp_path / "out")
    for width, dark in ((1200, False), (360, False), (1200, True)):
        browser.open(page, width, 800, dark)
        assert browser.messages == [] and browser.value("window.broken") is None
        assert [url for url in browser.requests if not url.startswith("data:image/svg+xml;base64,")] == [page.as_uri()]
        assert browser.value("document.documentElement.scrollWidth") <= width
        browser.value("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert browser.value(CONTRAST)["faint"] == []
    assert_links_lead_somewhere(page, browser)
