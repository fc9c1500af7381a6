"""Figures as files, and whatever names may hold."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import matplotlib
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from stage_files import add_journal, add_stage, add_weights, looked, trained
from test_filters_figure import layer

import analysis
from analysis.collecting.collection import collect
from analysis.figures.accuracy import accuracy_figure, ratio_figure
from analysis.figures.style import PAGE, STYLE, as_files, legend, one_line, wrapped
from analysis.panels import panels
from analysis.reporting.pictures import pictures

MakeRun = Callable[..., str]
NAMES = [r"$\no_such_symbol$", "<b>&amp;", "50 % \\textbf{#}", "two\nlines", "bell\a", "日本"]


def all_figures(runs: Path) -> dict[str, Figure]:
    collection, shown = collect(runs), panels(analysis.load(runs))
    final = [panel for panel in shown if panel.conditions["epoch"] == panel.epochs]
    found = {picture.name: picture.figure for picture in pictures(collection, collection.runs["run_id"], shown, final)}
    ratio = ratio_figure(final)
    assert ratio
    return {"accuracy": accuracy_figure(final), "ratio": ratio, **found}


def test_a_long_entry_takes_lines_and_leaves_no_place_beside_it() -> None:
    long = ", ".join(["setting=value"] * 12)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(PAGE, 2), layout="constrained")
        for labels in (["short", "also short"], [long, long]):
            legend(figure, [Line2D([], [], label=label) for label in labels], 2)
        figure.draw_without_rendering()
    renderer = FigureCanvasAgg(figure).get_renderer()
    assert "\n" in figure.legends[1].get_texts()[1].get_text()
    for one, columns in zip(figure.legends, (2, 1), strict=True):
        assert one.get_window_extent(renderer).width <= figure.bbox.width
        assert len({round(text.get_window_extent(renderer).x0) for text in one.get_texts()}) == columns


def all_kinds(runs: Path, make_run: MakeRun, *datasets: str) -> Path:
    for dataset in datasets:
        for regime in ("clear", "blurry-to-clear"):
            run = make_run(runs, dataset, regime, counts={0.0: 50, 8.0: 20})
            add_stage(runs / run, 20, {0.0: 30, 8.0: 10})
            add_journal(runs / run, [trained(1, 1, 50, sigma=0.0), looked(1, 1, 50), trained(2, 1, 50, sigma=0.0)])
            add_weights(runs / run, {"conv.weight": layer(1)}, 20)
            add_weights(runs / run, {"conv.weight": layer(2)})
    return runs


@pytest.fixture
def everything(runs: Path, make_run: MakeRun) -> Path:
    return all_kinds(runs, make_run, "faces", "pets")


def test_every_kind_of_figure_is_there_at_print_width(everything: Path) -> None:
    found = all_figures(everything)
    assert list(found) == [
        "accuracy", "ratio", "datasets", "stage-ratio", "stages-faces", "stages-pets", "matrix-faces", "matrix-pets",
        "learning-faces", "learning-pets", "filters-faces", "filters-pets",
    ]  # fmt: skip
    assert all(figure.get_figwidth() <= PAGE for figure in found.values())


def test_no_words_stand_on_one_another_or_outside(everything: Path) -> None:
    for name, figure in all_figures(everything).items():
        with matplotlib.rc_context(STYLE):
            figure.draw_without_rendering()
        renderer, (right, top) = FigureCanvasAgg(figure).get_renderer(), figure.bbox.max
        boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in words_of(figure)]
        assert len(boxes) > 3
        for k, (text, box) in enumerate(boxes):
            assert box.x0 > -1 and box.x1 < right + 1 and box.y0 > -1 and box.y1 < top + 1, (name, text)
            for other, beside in boxes[k + 1 :]:
                aside = box.x1 <= beside.x0 + 1 or beside.x1 <= box.x0 + 1
                above = box.y1 <= beside.y0 + 1 or beside.y1 <= box.y0 + 1
                assert aside or above, (name, text, other)


def words_of(figure: Figure) -> list[Text]:
    """All that is drawn; labels of ticks beyond an axis are there, and are not."""
    texts = [text for legend in figure.legends for text in (*legend.get_texts(), legend.get_title())]
    texts += figure.texts
    for axes in figure.axes:
        if not axes.axison:
            continue
        texts += [part for part in axes.get_children() if isinstance(part, Text)]  # and its titles
        texts += [axes.xaxis.label, axes.yaxis.label]
        if legend := axes.get_legend():
            texts += legend.get_texts()
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            texts += [label for tick in ticks for label in (tick.label1, tick.label2)]
    return [text for text in texts if text.get_text().strip() and text.get_visible()]


@pytest.mark.long
def test_the_same_runs_give_the_same_bytes(runs: Path, make_run: MakeRun) -> None:
    all_kinds(runs, make_run, "faces")
    first, second = ({name: as_files(figure) for name, figure in all_figures(runs).items()} for _ in range(2))
    assert first == second


def test_hatches_are_seen_in_svg_too(runs: Path, make_run: MakeRun) -> None:
    for seed in (0, 1):
        make_run(runs, "pets", seed=seed, counts={0.0: 50 + seed, 8.0: 20})
    root = ElementTree.fromstring(as_files(accuracy_figure(panels(analysis.load(runs))))["svg"])
    svg = "{http://www.w3.org/2000/svg}"
    patterns = [(next(p.iter(f"{svg}rect")).get("fill"), next(p.iter(f"{svg}path")).get("style", ""))
                for p in root.iter(f"{svg}pattern")]  # fmt: skip
    assert len(patterns) == 2  # of the band, and of the legend
    assert all(f"stroke: {fill}" not in style for fill, style in patterns)


def test_fonts_are_embedded_as_truetype_and_svg_text_is_text(everything: Path) -> None:
    files = as_files(all_figures(everything)["accuracy"])
    assert files["pdf"].startswith(b"%PDF") and b"/FontFile2" in files["pdf"] and b"/Type3" not in files["pdf"]
    assert b"CreationDate" not in files["pdf"]
    root = ElementTree.fromstring(files["svg"])
    texts = ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "faces" in texts and "clear" in texts
    assert b"<dc:date" not in files["svg"]


@pytest.mark.filterwarnings("ignore:Glyph")  # the font has no Japanese; in SVG, the browser's has
@pytest.mark.parametrize("name", NAMES)
def test_names_of_any_kind_are_drawn_as_they_are(runs: Path, make_run: MakeRun, name: str) -> None:
    make_run(runs, "pets", "clear", counts={0.0: 50, 8.0: 20})
    make_run(runs, "pets", "fading", counts={0.0: 50, 8.0: 20})
    named = analysis.load(runs).replace({"pets": name, "fading": f"{name}!"})
    for figure in (accuracy_figure(panels(named)), ratio_figure(panels(named))):
        assert figure
        files = as_files(figure)
        texts = ["".join(node.itertext()) for node in ElementTree.fromstring(files["svg"]).iter()
                 if node.tag.endswith("}text")]  # fmt: skip
        assert one_line(name) in texts
        assert files["pdf"].startswith(b"%PDF")


def test_lines_end_between_settings() -> None:
    assert wrapped("a.b=a value with blanks, c=2, d\n=3", 26) == ["a.b=a value with blanks,", r"c=2, d\n=3"]
    assert all(not re.search(r"[\x00-\x1f]", one_line(name)) for name in NAMES)
