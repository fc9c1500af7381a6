"""The report and its figures."""

import dataclasses
import math
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

import analysis
from analysis.collecting.runs import Collected, scan
from analysis.figures import accuracy as figures
from analysis.figures.style import as_files, looks
from analysis.panels import panels
from analysis.reporting.page import page, percent, percent_interval, ratio, ratio_interval
from analysis.statistics.estimates import accuracy, accuracy_ratio
from blurtrain.errors import RunError

MakeRun = Callable[..., str]
PETS = r"pets $\no_such_symbol$"  # TeX that matplotlib cannot read
NASTY = "<script>alert(1)"  # no slash, for it is part of a folder name too


class Text(HTMLParser):
    """What a reader sees without scripts, and what the browser is told to fetch or run."""

    def __init__(self, page: str):
        super().__init__()
        self.words: list[str] = []
        self.tags: set[str] = set()
        self.scripts = 0
        self._in_code = False
        self.addresses: list[str] = []
        self.feed(page)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.scripts += tag == "script"
        self._in_code = tag in ("script", "style")
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        self._in_code = False

    def handle_data(self, data: str) -> None:
        if not self._in_code:
            self.words.append(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def run_ids(folder: Path, make_run: MakeRun) -> list[str]:
    runs = folder / "runs"
    runs.mkdir()
    ids = [make_run(runs, "faces", regime, 0, {0.0: a, 4.0: 30, 8.0: b})
           for regime, a, b in (("clear", 70, 10), ("blurry", 9, 60), ("blurry-to-clear", 66, 25))]  # fmt: skip
    ids += [make_run(runs, "pets", regime, seed, {0.0: 40 + seed}) for regime in ("clear", "fading") for seed in (0, 1)]
    ids.append(make_run(runs, "pets", "clear", 5, {0.0: 4}, run_id="<b>bold & bad<", settings={"model": "resnet-18"}))
    ids.append(make_run(runs, "faces", "clear", 1, done=False, run_id="not-done<i>"))
    with (runs / ids[0] / "attempts" / "0001" / "journal.jsonl").open("a") as journal:
        journal.write('{"event": "resumed otherwise", "at": 40, "changed": {"threads": [2, 1]}}\n')
    return ids


@pytest.fixture(scope="module")
def out(folder: Path, run_ids: list[str]) -> Path:
    (folder / "out" / "figures").mkdir(parents=True)
    (folder / "out" / "results.csv").write_text("of an earlier report")

    def nasty(runs: Path) -> Collected:
        """Names that no settings file may have, but nobody knows what the future brings."""
        collected = scan(runs)
        named = collected.frame.replace({"pets": PETS, "fading": NASTY, "resnet-18": NASTY})
        return dataclasses.replace(collected, frame=named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analysis.reporting.page.scan", nasty)
        index = analysis.report(folder / "runs", folder / "out")
    assert index == folder / "out" / "index.html"
    return index.parent


@pytest.fixture(scope="module")
def read(out: Path) -> Text:
    return Text((out / "index.html").read_text())


def test_every_run_is_named_and_every_name_is_escaped(out: Path, read: Text, run_ids: list[str]) -> None:
    for run_id in run_ids:
        assert run_id in read.text
    assert NASTY in read.text
    assert not {"b", "i"} & read.tags
    assert read.scripts == 2  # the page's own: what it knows of the runs, and what it does


def test_a_run_that_went_on_otherwise_says_so_where_it_is_shown(read: Text, run_ids: list[str]) -> None:
    assert f"{run_ids[0]} resumed otherwise: from step 40 on with threads 1, before 2" in read.text
    assert "1 of 9 runs went on with another number of processes or threads" in read.text


def test_headline_counts_the_runs_and_names_the_missing(read: Text) -> None:
    assert re.search(r"8 of 9 runs done ?; missing: not-done<i>", read.text)


def test_the_page_stands_alone(out: Path, read: Text) -> None:
    assert "link" not in read.tags
    outside = [a for a in read.addresses if not a.startswith(("#", "data:image/svg+xml;base64,"))]
    figures = {f"figures/{name}.{kind}" for name in ("accuracy", "ratio", "matrix-faces", "settings-model")
               for kind in ("svg", "png", "pdf")}  # fmt: skip
    tables = {f"tables/{name}.csv" for name in ("study-accuracy", "study-ratio", "verdicts")}
    assert set(outside) == {"results.csv"} | tables | figures
    assert all((out / address).is_file() for address in outside)
    assert not re.search(r"url\(|@import", (out / "index.html").read_text())


def test_values_have_their_interval_and_n(read: Text) -> None:
    # 70 of 86 and Wilson's interval; 25 against 10 of 86 and Katz's, for one seed.
    assert re.search(r"0 86 81\.4 71\.9–88\.2", read.text)
    assert re.search(r"blurry-to-clear / clear 1 86 0\.94 \S+ 1\.00 \S+ 2\.50 1\.28–4\.88", read.text)
    assert "n = 86 images of the test split, 26 classes; chance 3.8 %, largest class 29.1 %" in read.text


def test_several_seeds_are_given_as_mean_and_standard_deviation(read: Text) -> None:
    # 40 and 41 of 86: most of the width is that of 86 images, of which Wilson's interval alone is 36.9-57.5.
    assert re.search(r"interval over seeds and images 2 seeds 86 47\.1 ± 0\.8 36\.1–58\.4", read.text)
    assert re.search(r"<script>alert\(1\) / clear 2 86 1\.00 ×÷ 1\.00 0\.\d\d–1\.\d\d", read.text)


def test_published_values_stand_beside_and_are_told_apart(read: Text) -> None:
    assert "Not the same experiment." in read.text
    section = read.text.split("This grid beside the published values")[-1].split("Method")[0]
    theirs, own = section.split("published, 224 px")[1].split("this grid, 64 px")
    assert theirs.strip() == "2,816 297 88.8 14.7 84.6 57.6 47.9 77.7 7.6 78.0 38.0 5.00"
    assert own.strip().startswith("86 26 81.4 10.5 76.7 34.9 34.9 34.9 11.6 69.8 29.1 2.50 1.28–4.88")
    assert "pets" not in section
    assert "faces: 26 classes (study: 297), 64 px (study: 224), 86 test images (study: 2,936)" in section


def legend_of(figure: Figure) -> list[str]:
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    return [text.get_text() for legend in legends if legend for text in legend.get_texts()]


def test_published_curves_are_drawn_beside_ours_and_nowhere_else(runs: Path, make_run: MakeRun) -> None:
    for dataset in ("faces", "pets"):
        make_run(runs, dataset, counts={0.0: 70, 2.0: 40, 4.0: 10})
        make_run(runs, dataset, "blurry-to-clear", counts={0.0: 60, 4.0: 30})
        make_run(runs, dataset, "fading", counts={0.0: 60, 4.0: 30})
    shown = panels(analysis.load(runs))
    table = analysis.published("b2c_accuracy_vs_sigma").query("dataset == 'faces' and sigma_px_at_224 <= 4")
    theirs = {regime: rows["top1_percent"].tolist() for regime, rows in table.groupby("regime")}
    for figure, expected in (
        (figures.accuracy_figure(shown), [theirs["clear"], theirs["blurry-to-clear"]]),
        (
            figures.ratio_figure(shown),
            [[b / c for b, c in zip(theirs["blurry-to-clear"], theirs["clear"], strict=True)]],
        ),
    ):
        assert figure
        faces, pets = ([list(line.get_ydata()) for line in axes.lines if line.get_linewidth() == 1.0 and
                        len(line.get_xdata()) == 5] for axes in figure.axes[:2])  # fmt: skip
        assert faces == [pytest.approx(curve) for curve in expected] and pets == []
        assert legend_of(figure).count("published: Jenkins et al. 2025, 224 px") == 1


def test_shading_says_what_it_is_over(runs: Path, make_run: MakeRun) -> None:
    make_run(runs, "one", counts={0.0: 70, 8.0: 40})
    make_run(runs, "two", counts={0.0: 20, 8.0: 10}, objects=[[43, 43], [20, 0], [3, 7]])
    for seed in (0, 1):
        make_run(runs, "three", seed=seed, counts={0.0: 70 - seed, 8.0: 40} | ({4.0: 50} if seed else {}))
    figure = figures.accuracy_figure(panels(analysis.load(runs)))
    hatches = {axes.get_title(loc="left"): [band.get_hatch() for band in axes.collections]
               for axes in figure.axes}  # fmt: skip
    assert {name: [h for h in found if h] for name, found in hatches.items()} == {
        "one": [], "two": ["...."], "three": ["////"],
    }  # fmt: skip
    assert set(legend_of(figure)) >= {
        "95 % over images, one seed", "95 % over objects, one seed", "95 % over seeds and images",
        "some of the seeds only",
    }  # fmt: skip
    assert any("of 2 objects" in text.get_text() for axes in figure.axes for text in axes.texts)


@pytest.mark.parametrize(("counts", "top"), [({0.0: 5, 8.0: 1}, 15), ({0.0: 30, 8.0: 20}, 40), ({0.0: 80}, 100)])
def test_the_axis_of_accuracy_fits_the_data(
    runs: Path, make_run: MakeRun, counts: dict[float, int], top: float
) -> None:
    make_run(runs, "pets", counts=counts, n=100, largest_class=5)
    (axes,) = figures.accuracy_figure(panels(analysis.load(runs))).axes
    assert axes.get_ylim() == (0, top)
    assert axes.get_yticks()[-1] == top


def test_the_axis_of_sigma_fits_what_is_drawn(runs: Path, make_run: MakeRun) -> None:
    make_run(runs, "pets", counts={0.0: 50, 8.0: 40, 32.0: 20})
    make_run(runs, "pets", "blurry-to-clear", counts={0.0: 50, 8.0: 40})
    shown = panels(analysis.load(runs))
    for figure, most in ((figures.accuracy_figure(shown), 32), (figures.ratio_figure(shown), 8)):
        assert figure
        assert most < figure.axes[0].get_xlim()[1] < 1.2 * most


def test_every_measured_range_of_sigma_has_ticks(runs: Path, make_run: MakeRun) -> None:
    make_run(runs, counts={k / 4: 50 - k for k in range(17)})  # 0 to 4
    (axes,) = figures.accuracy_figure(panels(analysis.load(runs))).axes[:1]
    ticks = [tick for tick in axes.get_xticks() if 0 <= tick <= 4]
    assert ticks[0] == 0 and ticks[-1] == 4 and 4 < len(ticks) < 12


def test_results_csv_is_replaced(out: Path, run_ids: list[str]) -> None:
    table = pd.read_csv(out / "results.csv")
    assert table["run_id"].tolist() == [*run_ids[:3], run_ids[3], run_ids[4], run_ids[7], run_ids[5], run_ids[6]]
    assert not list(out.rglob(".*"))


def test_figures_are_there_and_show_something(out: Path) -> None:
    for name in ("accuracy", "ratio"):
        pixels = imread(out / "figures" / f"{name}.png")
        assert pixels.shape[1] > 1200
        assert len({tuple(p) for p in (pixels[::3, ::3, :3] * 255).astype(int).reshape(-1, 3)}) > 30
        svg = (out / "figures" / f"{name}.svg").read_text()
        assert svg.startswith("<?xml") and svg.count("<path") > 20 and ">faces</text>" in svg


def test_colours_lines_and_markers_tell_regimes_apart() -> None:
    names = ["clear", "blurry", "blurry-to-clear", *(f"other-{k}" for k in range(9))]
    look = looks(names)
    assert list(look) == names
    assert look["clear"] == looks(["clear", "zzz"])["clear"]
    assert len({(str(v["linestyle"]), v["marker"], v["color"]) for v in look.values()}) == len(names)
    study = [look[name] for name in names[:3]]
    for key in ("color", "linestyle", "marker"):
        assert len({str(v[key]) for v in study}) == 3


def test_every_regime_is_drawn_with_its_values(runs: Path, make_run: MakeRun) -> None:
    for regime, top1 in (("clear", 43), ("blurry", 20), ("blurry-to-clear", 30), ("replay", 10)):
        make_run(runs, "pets", regime=regime, counts={0.0: top1, 8.0: 86})
    shown = panels(analysis.load(runs))
    axes = figures.accuracy_figure(shown).axes[0]
    drawn = [
        list(line.get_ydata()) for line in axes.lines if len(line.get_xdata()) == 2 and line.get_marker() != "None"
    ]
    assert drawn == [[pytest.approx(100 * c / 86), 100] for c in (43, 20, 30, 10)]
    levels = {line.get_linestyle(): line.get_ydata()[0] for line in axes.lines if line.get_marker() == "None"}
    assert levels["--"] == pytest.approx(100 / 26) and levels["-."] == pytest.approx(100 * 25 / 86)
    assert any("n = 86" in text.get_text() for text in axes.texts)
    quotient = figures.ratio_figure(shown)
    assert quotient
    drawn = [list(line.get_ydata()) for line in quotient.axes[0].lines if line.get_marker() != "None"]
    assert drawn == [[pytest.approx(30 / 43), 1], [pytest.approx(10 / 43), 1]]


def test_a_ratio_of_zero_leaves_a_gap(runs: Path, make_run: MakeRun) -> None:
    make_run(runs, regime="clear", counts={0.0: 10, 1.0: 10, 2.0: 0})
    make_run(runs, regime="blurry-to-clear", counts={0.0: 20, 1.0: 0, 2.0: 5})
    figure = figures.ratio_figure(panels(analysis.load(runs)))
    assert figure
    (line,) = [line for line in figure.axes[0].lines if line.get_marker() != "None"]
    assert list(line.get_ydata()) == pytest.approx([2, math.nan, math.nan], nan_ok=True)


def test_without_a_pair_there_is_no_ratio_and_no_old_figure_of_one(
    runs: Path, make_run: MakeRun, tmp_path: Path
) -> None:
    make_run(runs, "pets", counts={8.0: 0})
    old = tmp_path / "out" / "figures" / "ratio.png"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    page = Text(analysis.report(str(runs), str(tmp_path / "out")).read_text())
    assert not old.exists()
    assert "No dataset has both" in page.text
    assert "published values" not in page.text
    assert "all 1 runs in the folder are done" in page.text


def test_the_page_counts_what_a_search_has_stopped_apart(runs: Path, make_run: MakeRun) -> None:
    make_run(runs)
    frame = analysis.load(runs)
    shown = Text(page(panels(frame), Collected(frame, [], [], {}, ["a-pruned-run"]), {})).text
    assert re.search(r"1 of 2 runs done ?, 1 pruned by a search ?\.", shown) and "missing:" not in shown
    assert "all 2 runs in the folder are done or pruned" in shown
    assert "1 of 2 runs were stopped by a search" in shown and shown.count("a-pruned-run") == 1
    both = Text(page(panels(frame), Collected(frame, ["open"], [], {}, ["a-pruned-run"]), {})).text
    assert "1 of 3 runs are not done" in both and re.search(
        r"1 pruned by a search ?; missing: open \(waiting\) \( why \)\.", both
    )


def test_same_runs_give_the_same_figures(runs: Path, make_run: MakeRun) -> None:
    make_run(runs)
    shown = panels(analysis.load(runs))
    first, second = (as_files(figures.accuracy_figure(shown)) for _ in range(2))
    assert first == second


def test_what_cannot_be_written_is_a_clear_error(runs: Path, make_run: MakeRun, tmp_path: Path) -> None:
    make_run(runs)
    (tmp_path / "out").write_text("a file")
    with pytest.raises(RunError, match="out: the report cannot be written"):
        analysis.report(runs, tmp_path / "out")


def test_of_many_levels_the_page_shows_the_usual_ones(runs: Path, make_run: MakeRun) -> None:
    make_run(runs, counts={float(sigma): 33 - sigma for sigma in range(33)})
    frame = analysis.load(runs)
    shown = Text(page(panels(frame), Collected(frame, [], []), {})).text
    assert "7 of the 33 measured levels are shown" in shown
    assert re.findall(r"σ (\d+)", shown.split("Results")[-1].split("Published")[0])[:7] == [
        "0",
        "1",
        "2",
        "4",
        "8",
        "16",
        "32",
    ]


def test_undefined_values_are_dashes() -> None:
    assert (percent(None), percent_interval(None), ratio(None), ratio_interval(None)) == ("–", "", "–", "")
    undefined, zero = accuracy_ratio([0], [86], [0], [86]), accuracy_ratio([0], [86], [5], [86])
    assert (ratio(undefined), ratio_interval(undefined)) == ("–", "")
    assert (ratio(zero), ratio_interval(zero)) == ("0.00", "")
    assert percent(accuracy([0], [86])) == "0.0"


def test_importing_analysis_draws_in_neither_matplotlib_nor_torch() -> None:
    code = "import sys, analysis; print(sorted({'matplotlib', 'torch', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
