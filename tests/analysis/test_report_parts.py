"""What a report is made of: values of figures, details of runs, what is missing, what runs differ in."""

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from markupsafe import Markup

import analysis
from analysis.collecting.collection import collect
from analysis.collecting.runs import scan
from analysis.figures import accuracy as figures
from analysis.figures.settings import settings_figure
from analysis.figures.style import as_files
from analysis.panels import panels
from analysis.reporting import run_details as details
from analysis.reporting.on_page import MOST_POINTS, Budget, Drawn
from analysis.reporting.overview import gathered, overview
from analysis.reporting.standing import standing

MakeRun = Callable[..., str]
RATE = "optimisation.learning_rate"


def rate(value: float, **more: Any) -> dict[str, Any]:
    return {"optimisation": {"learning_rate": value}, **more}


# --- figures --------------------------------------------------------------------------------------------------------


def of(runs: Path) -> Drawn:
    figure = figures.accuracy_figure(gathered(panels(analysis.load(runs))))
    return Budget().drawn(figure, as_files(figure)["svg"])


def test_values_are_those_of_the_runs_with_their_intervals(runs: Path, make_run: MakeRun) -> None:
    for seed in (0, 1):
        make_run(runs, "faces", "clear", seed, {0.0: 40 + seed, 4.0: 20})
    make_run(runs, "pets", "fading", 0, {0.0: 30})
    found = {line.name: line for line in of(runs).lines}
    (panel,) = [panel for panel in panels(analysis.load(runs)) if panel.dataset == "faces"]
    curve = panel.curve("clear")
    assert curve
    expected = [(f"{s:g}", f"{100 * p.value:.4g}", f"{100 * p.low:.4g}–{100 * p.high:.4g}")
                for s, p in curve.points.items()]  # fmt: skip
    assert [(p.x, p.y, p.interval) for p in found["faces: clear"].points] == expected
    published = found["faces: clear, published: Jenkins et al. 2025"]
    theirs = analysis.published("b2c_accuracy_vs_sigma").query("dataset == 'faces' and regime == 'clear'")
    assert [p.y for p in published.points][:2] == [f"{v:.4g}" for v in theirs["top1_percent"]][:2]
    assert {p.interval for p in published.points} == {""}  # none is published
    assert [p.y for p in found["pets: fading"].points] == [f"{100 * 30 / 86:.4g}"]
    assert not [name for name in found if "published" in name and "pets" in name]


def test_values_lie_where_they_are_drawn(runs: Path, make_run: MakeRun) -> None:
    make_run(runs, "pets", "clear", 0, {0.0: 40, 1.0: 30, 4.0: 20})
    figure = figures.accuracy_figure(panels(analysis.load(runs)))
    svg = as_files(figure)["svg"]
    (line,) = Budget().drawn(figure, svg).lines
    text = svg.decode()
    width, height = map(float, re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text).groups())  # type: ignore[union-attr]
    marks = [(float(x) / width, float(y) / height) for x, y in re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"', text)]
    for point in line.points:
        assert any(point.at == pytest.approx(mark, abs=0.003) for mark in marks)


def test_too_many_values_are_counted(runs: Path, make_run: MakeRun) -> None:
    levels = {k / 8: 40 for k in range(300)}
    for k in range(7):
        make_run(runs, "pets", "clear", 0, levels, settings=rate((k + 1) / 1000))
    found = of(runs)
    kept = sum(len(line.points) for line in found.lines)
    assert 0 < kept <= MOST_POINTS and kept + found.omitted == 7 * 300


def test_a_page_without_room_has_no_image_and_no_values(runs: Path, make_run: MakeRun) -> None:
    make_run(runs, "pets", "clear", 0, {0.0: 40, 1.0: 30})
    figure = figures.accuracy_figure(panels(analysis.load(runs)))
    svg = as_files(figure)["svg"]
    budget = Budget(letters=100_000, points=3)
    first, second = budget.drawn(figure, svg), budget.drawn(figure, svg)
    assert first.url and len(first.lines) == 1 and not first.omitted
    assert not second.lines and second.omitted == 2
    assert not Budget(letters=100).drawn(figure, svg).url
    assert base64.b64decode(first.url.partition("base64,")[2]).count(b"<path") == svg.count(b"<path")


# --- any axis -------------------------------------------------------------------------------------------------------


@pytest.fixture
def rates_and_models(runs: Path, make_run: MakeRun) -> Path:
    for k, value in enumerate((1e-4, 1e-3, 1e-2)):
        for m, model in enumerate(("alexnet-sup", "resnet-18", "mobilenet-v2", "resnet-50")):
            counts = {0.0: 20 + 10 * k + m, 8.0: 10 + k}
            make_run(runs, "pets", "clear", 0, counts, settings=rate(value, model=model))
    return runs


def test_what_differs_is_named_whatever_it_is(rates_and_models: Path) -> None:
    found = overview(panels(analysis.load(rates_and_models)))
    assert [(axis.name, axis.title, len(axis.values)) for axis in found.varying] == [
        ("model", "model", 4), (RATE, "learning_rate", 3)
    ]  # fmt: skip
    assert len(found.rows) == 12 and len({row.values for row in found.rows}) == 12


def test_a_dataset_alone_says_what_its_data_are(runs: Path, make_run: MakeRun) -> None:
    make_run(runs, "pets", n=86)
    make_run(runs, "faces", n=90, data="another")
    assert [axis.name for axis in overview(panels(analysis.load(runs))).varying] == ["dataset"]


def test_charts_of_one_regime_have_the_settings_as_lines(rates_and_models: Path) -> None:
    charts = gathered(panels(analysis.load(rates_and_models)))
    assert [(panel.detail, [curve.regime for curve in panel.curves]) for panel in charts] == [
        (f"learning_rate {value}", ["alexnet-sup", "mobilenet-v2", "resnet-18", "resnet-50"])
        for value in ("0.0001", "0.001", "0.01")
    ]


def test_charts_of_several_regimes_stay_as_they_are(runs: Path, make_run: MakeRun) -> None:
    for value in (1e-3, 1e-2):
        for regime in ("clear", "blurry"):
            make_run(runs, "pets", regime, settings=rate(value))
    shown = panels(analysis.load(runs))
    assert gathered(shown) == shown and len(shown) == 2


def test_accuracy_is_drawn_against_a_setting(rates_and_models: Path) -> None:
    figure = settings_figure(panels(analysis.load(rates_and_models)), RATE, ["model"])
    assert figure
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "log"]
    found = Budget().drawn(figure, as_files(figure)["svg"])
    assert [line.name for line in found.lines[:4]] == [
        f"pets: {model}" for model in ("alexnet-sup", "mobilenet-v2", "resnet-18", "resnet-50")
    ]
    first = found.lines[0]
    assert [(p.x, float(p.y)) for p in first.points] == [
        (x, pytest.approx(100 * count / 86, abs=0.01)) for x, count in (("0.0001", 20), ("0.001", 30), ("0.01", 40))
    ]
    assert first.x == RATE and first.y == "top-1 accuracy (%)"
    by_model = settings_figure(panels(analysis.load(rates_and_models)), "model", [RATE])
    assert by_model
    words = {p.x for line in Budget().drawn(by_model, as_files(by_model)["svg"]).lines for p in line.points}
    assert words == {"alexnet-sup", "resnet-18", "mobilenet-v2", "resnet-50"}


def test_the_page_of_any_grid_has_its_settings(rates_and_models: Path, tmp_path: Path) -> None:
    page = analysis.report(rates_and_models, tmp_path / "out").read_text()
    assert "<strong>model</strong> (4: " in page and "<strong>learning_rate</strong> (3: " in page
    assert f"Accuracy against {RATE}" in page and "Accuracy against model" in page
    assert (tmp_path / "out" / "figures" / "settings-optimisation.learning-rate.svg").is_file()


# --- details of runs ------------------------------------------------------------------------------------------------


def journal(run: Path, epochs: int) -> None:
    lines = [
        {"event": "epoch", "at": k, "epoch": k, "loss": 1 / k, "top1": float(k), "n": 9} for k in range(1, epochs + 1)
    ]
    (run / "attempts" / "0001" / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_details_hold_every_setting_once(runs: Path, make_run: MakeRun) -> None:
    ids = [make_run(runs, "pets", seed=seed, settings=rate(value)) for seed, value in ((0, 1e-3), (1, 1e-2))]
    found = details.run_details(collect(runs))
    frame = analysis.load(runs, table="runs").set_index("run_id")
    assert found["differing"] == [RATE] and [found["values"][0][run["settings"][0]] for run in found["runs"]] == [
        "0.001", "0.01"
    ]  # fmt: skip
    assert [run["about"]["run"] for run in found["runs"]] == sorted(ids)
    assert found["common"]["optimisation.epochs"] == "60"
    assert {*found["common"], RATE} == {name for name in frame if "." in name and frame[name].notna().any()}


def test_details_hold_the_journal_and_the_end_of_the_log(
    runs: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs / make_run(runs)
    journal(run, 300)
    (run / "attempts" / "0001" / "log.txt").write_text("".join(f"line {k} {'x' * 999}\n" for k in range(40)))
    (one,) = details.run_details(collect(runs))["runs"]
    epochs = [row[0] for row in one["journal"]["rows"]]
    assert one["journal"]["columns"] == ["epoch", "loss", "top1"] and one["journal"]["epochs"] == 300
    assert len(epochs) == details.MOST_EPOCHS and epochs[0] == 1 and epochs[-1] == 300
    assert one["journal"]["rows"][-1] == [300, 0.003333, 300.0]
    assert len(one["log"]["lines"]) == details.LOG_LINES and one["log"]["lines"][-1].startswith("line 39 xx")
    assert max(map(len, one["log"]["lines"])) == details.LOG_LETTERS and one["log"]["omitted"] == "Earlier lines"
    monkeypatch.setattr(details, "JOURNAL_ROWS", 5)
    found = details.run_details(collect(runs))
    assert "journal" not in found["runs"][0] and "journals" in found["omitted"]


def test_of_many_runs_the_logs_of_those_that_are_not_done_come_first(
    runs: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(4):
        run = runs / make_run(runs, seed=seed, done=seed < 3)
        (run / "attempts" / "0001" / "log.txt").write_text(f"log of {seed}")
    monkeypatch.setattr(details, "LOGS", 2)
    found = details.run_details(collect(runs))
    assert [run["about"]["seed"] for run in found["runs"] if "log" in run] == ["0", "3"]
    assert "logs of all but 2 runs" in found["omitted"]


def test_json_ends_no_script() -> None:
    document = {"a": "</script><!--<script>", "b": "&\u2028\n"}
    text = details.as_json(document)
    assert isinstance(text, Markup) and not set("<>&\u2028") & set(text) and json.loads(text) == document


# --- what is missing ------------------------------------------------------------------------------------------------


def test_what_is_not_done_is_counted_by_experiment(runs: Path, make_run: MakeRun) -> None:
    for seed in range(3):
        make_run(runs, "pets", "clear", seed, settings=rate(1e-3))
        make_run(runs, "pets", "clear", seed, settings=rate(1e-2), done=seed == 0, data=None)
    found = standing(scan(runs))
    assert found.counts == {"done": 4, "waiting": 2} and (found.done, found.total) == (4, 6)
    (one,) = found.incomplete
    assert (one.regime, one.detail, one.counts) == ("clear", "learning_rate 0.01", {"done": 1, "waiting": 2})
    assert [run.message for run in found.missing] == ["not begun"] * 2


def test_runs_that_were_submitted_and_have_no_folder_are_missed(runs: Path, make_run: MakeRun, tmp_path: Path) -> None:
    here = make_run(runs, "pets", "clear", 0, run_id="pets-clear-alexnet-sup-s0-0123456789ab")
    queue = runs / ".local" / "queues" / "1"
    queue.mkdir(parents=True)
    absent = "pets-clear-alexnet-sup-s1-0123456789ac"
    (queue / "queue.json").write_text(json.dumps([here, absent, "evaluate-0123456789ab"]))
    found = standing(scan(runs))
    assert [(run.run_id, run.state) for run in found.unfinished] == [(absent, "submitted")]
    page = analysis.report(runs, tmp_path / "out").read_text()
    assert "1 of 2 runs done" in page and absent in page and "there is no folder of it yet" in page
