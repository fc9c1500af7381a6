"""Tables by their specs: what a cell holds, why it is empty, and the specs that come with the project."""

import csv
import io
import json
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

import analysis
from analysis.collecting.runs import scan
from analysis.statistics.estimates import accuracy
from analysis.statistics.intervals import wilson
from analysis.tabulation.cells import Cell
from analysis.tabulation.rendering import as_csv
from analysis.tabulation.specs import read_table_spec
from analysis.tabulation.tables import Table, tables
from blurtrain.errors import SettingsError
from blurtrain.run import Run

MakeRun = Callable[..., str]
KEPT = {"file": "w.pt", "sha256": "a" * 64, "head": "kept"}
SPEC = {
    "title": "Top-5",
    "value": "top5",
    "where": {"protocol": "all-256@384"},
    "rows": [
        {"label": "sharp", "match": {"blur": "sharp"}, "published": {"test_blur": "sharp"}},
        {"label": "D8", "match": {"blur": "disk-8@384"}, "published": {"test_blur": "defocus_r8"}},
        {"label": "Gaussian", "match": {"blur": "gaussian-8@384"}},
    ],
    "columns": [
        {"label": "original", "match": {"regime": "original"}, "published": "original"},
        {"label": "mix", "match": {"regime": "sharp-d8"}, "published": "ft_sharp+d8"},
        {"label": "entropy", "match": {"regime": "sharp-d8"}, "value": "entropy"},
    ],
    "published": {"table": "vasiljevic_table3", "network": "VGG-16", "source": "a paper"},
}


def fine_tuned(
    runs: Path,
    make_run: MakeRun,
    regime: str,
    seed: int = 0,
    counts: Mapping[str, int] | None = None,
    protocol: str | None = "all-256@384",
    settings: Mapping[str, Any] | None = None,
    done: bool = True,
    **fields: Any,
) -> str:
    """A run of 100 test images; `counts`: right ones at top-5 by blur."""
    more = dict(settings or {})
    if regime == "original":
        more["network"] = {"pretrained": KEPT}
    epochs = 0 if regime == "original" else 3
    more["optimisation"] = {"epochs": epochs, "warmup_epochs": 0, **more.get("optimisation", {})}
    run_id = make_run(runs, "pets", regime, seed, done=done, settings=more, epoch=epochs, **fields)
    if done:
        rows = []
        for blur, right in (counts or {"sharp": 90, "disk-8@384": 60, "gaussian-8@384": 20}).items():
            sigma = {"sharp": 0.0, "gaussian-8@384": 8 * 224 / 384}.get(blur)
            about = {"blur": blur, "sigma": sigma, "n": 100}
            rows += [{"metric": "top1", "count": right // 2, **about}, {"metric": "top5", "count": right, **about},
                     {"metric": "entropy", "value": 1 + right / 100 + seed / 10, **about},
                     {"metric": "cross_entropy", "value": 2.0, **about}]  # fmt: skip
        document = {
            "measure": "accuracy", "split": "test", "n": 100, "classes": 10, "largest_class": 10, "epoch": epochs,
            "resolution": 384, "reference_resolution": 224, "truncate": 4.0, "pixels": "source", "objects": None,
            "rows": rows, **({"protocol": protocol} if protocol else {}),
        }  # fmt: skip
        (runs / run_id / "evaluations" / "accuracy-0123abcd.json").write_text(json.dumps(document))
    return run_id


def written(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(SPEC | changes))
    return path


def filled(runs: Path, tmp_path: Path, **changes: Any) -> list[Table]:
    return tables([read_table_spec(written(tmp_path, **changes))], scan(runs))


def cell(table: Table, row: str, column: str) -> Cell:
    rows = [head.label for head in table.rows]
    columns = [head.label for head in table.columns]
    return table.cells[rows.index(row)][columns.index(column)]


def test_a_cell_is_the_mean_over_the_seeds_of_one_setting(runs: Path, make_run: MakeRun, tmp_path: Path) -> None:
    original = fine_tuned(runs, make_run, "original")
    mixed = [fine_tuned(runs, make_run, "sharp-d8", seed, {"sharp": 80 + seed, "disk-8@384": 60}) for seed in (2, 0, 1)]
    (table,) = filled(runs, tmp_path)
    assert table.of == (("pets", "alexnet-sup"),) and table.title == "Top-5: alexnet-sup on pets"
    one = cell(table, "sharp", "original")
    assert one.estimate and (one.estimate.value, one.estimate.low, one.estimate.high) == (0.9, *wilson(90, 100))
    assert (one.n, one.seeds, one.runs, one.published) == (100, (0,), (original,), 90.88)
    three = cell(table, "sharp", "mix")
    assert three.estimate == accuracy([80, 81, 82], [100] * 3)
    assert (three.estimate.value, three.estimate.sd) == pytest.approx((0.81, 0.01))
    assert (three.seeds, three.runs, three.published) == ((0, 1, 2), (mixed[1], mixed[2], mixed[0]), 91.03)
    entropy = cell(table, "sharp", "entropy")
    assert entropy.estimate and entropy.estimate.value == pytest.approx((1.80 + 1.91 + 2.02) / 3)
    assert entropy.published is None
    gaussian = cell(table, "Gaussian", "original")  # 8 pixels at 384 are what the frame calls gaussian-4.66667
    assert gaussian.estimate and gaussian.estimate.value == 0.2


def test_an_empty_cell_says_why(runs: Path, make_run: MakeRun, tmp_path: Path) -> None:
    fine_tuned(runs, make_run, "original", counts={"sharp": 90})
    waiting = fine_tuned(runs, make_run, "sharp-d8", done=False)
    (table,) = filled(runs, tmp_path)
    assert cell(table, "D8", "original").missing == "not measured, protocol all-256@384, blur disk-8@384"
    assert cell(table, "D8", "original").published == 60.97
    assert (cell(table, "sharp", "mix").missing, cell(table, "sharp", "mix").runs) == (
        "1 waiting (no process works on it)",
        (waiting,),
    )
    Run(runs / waiting).mark_pruned("a-search", 7, 3, "others promise more")
    (table,) = filled(runs, tmp_path)
    pruned = cell(table, "sharp", "mix")
    assert (pruned.missing, pruned.runs) == ("1 pruned by a search (others promise more)", (waiting,))
    none = [*SPEC["columns"], {"label": "theirs", "none": "an ensemble"}]  # type: ignore[misc]
    (table,) = filled(runs, tmp_path, columns=none)
    assert cell(table, "sharp", "theirs").missing == "an ensemble"
    columns = [*SPEC["columns"], {"label": "d8", "match": {"regime": "d8"}}]  # type: ignore[misc]
    (table,) = filled(runs, tmp_path, columns=columns)
    assert cell(table, "sharp", "d8").missing == "no such run"


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        ({"settings": {"optimisation": {"learning_rate": 0.1}}}, "optimisation.learning_rate"),
        ({"settings": {"augmentation": {"colour": 0.5}}}, "augmentation.colour"),
        ({"seed": 0, "data": "another"}, None),
    ],
)
def test_runs_that_differ_in_more_than_their_seed_are_never_averaged(
    runs: Path, make_run: MakeRun, tmp_path: Path, other: dict[str, Any], differs: str | None
) -> None:
    fine_tuned(runs, make_run, "original")
    fine_tuned(runs, make_run, "sharp-d8", 0)
    fine_tuned(runs, make_run, "sharp-d8", **({"seed": 1} | other))
    found = filled(runs, tmp_path)
    if differs is None:  # other images: rows of their own
        (table,) = found
        mix = [(head.groups, cells[1].seeds) for head, cells in zip(table.rows, table.cells, strict=True)]
        assert mix[0][1] == mix[3][1] == (0,) and mix[0][0] != mix[3][0] == ("data another",)
        return
    missing = cell(found[0], "sharp", "mix").missing
    assert missing == f"several runs match, which differ in {differs}: say which, in `where` or `match`"
    if differs.startswith("optimisation"):
        chosen = {**SPEC["where"], "optimisation.learning_rate": 0.1}  # type: ignore[dict-item]
        (table,) = filled(runs, tmp_path, where=chosen)
        assert cell(table, "sharp", "mix").seeds == (1,) and cell(table, "sharp", "original").missing == "no such run"


def test_what_was_measured_otherwise_is_another_number(runs: Path, make_run: MakeRun, tmp_path: Path) -> None:
    fine_tuned(runs, make_run, "original", protocol=None)
    fine_tuned(runs, make_run, "sharp-d8", 0)
    (table,) = filled(runs, tmp_path)
    assert cell(table, "sharp", "original").missing.startswith("not measured, protocol all-256@384")
    (table,) = filled(runs, tmp_path, where={"protocol": ["whole", "all-256@384"]})
    assert cell(table, "sharp", "original").estimate and cell(table, "sharp", "mix").estimate
    fine_tuned(runs, make_run, "sharp-d8", 1, protocol="five-256@384")
    (table,) = filled(runs, tmp_path, where={})
    assert "differ in protocol" in cell(table, "sharp", "mix").missing


def test_as_csv_every_cell_is_a_line(runs: Path, make_run: MakeRun, tmp_path: Path) -> None:
    for seed in (0, 1):
        fine_tuned(runs, make_run, "sharp-d8", seed)
    made = filled(runs, tmp_path)
    lines = list(csv.DictReader(io.StringIO(as_csv(made))))
    assert len(lines) == 9 and as_csv(made) == as_csv(filled(runs, tmp_path))
    mix = next(line for line in lines if (line["row"], line["column"]) == ("D8", "mix"))
    assert (mix["estimate"], mix["seeds"], mix["n"], mix["over"]) == ("60.0000", "0 1", "100", "seeds and images")
    assert (mix["published"], mix["published_network"], mix["missing"]) == ("87.88", "VGG-16", "")
    assert len(mix["runs"].split()) == 2
    assert next(line for line in lines if line["column"] == "original")["missing"] == "no such run"


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def handle_data(self, data: str) -> None:
        self.words += data.split()


def test_the_report_has_the_tables_of_which_there_is_a_run(runs: Path, make_run: MakeRun, tmp_path: Path) -> None:
    out = tmp_path / "report"
    for seed in (0, 1, 2):
        counts = {"sharp": 80 + seed, "disk-8@384": 60}
        fine_tuned(runs, make_run, "sharp-d8", seed, counts, protocol="all-146@384")
    analysis.report(runs, out)
    assert sorted(path.name for path in (out / "tables").iterdir()) == [
        "baselines-small-top5.csv",
        "baselines-small.csv",
    ]
    page = _Text()
    page.feed((out / "index.html").read_text())
    text = " ".join(page.words)
    found = accuracy([80, 81, 82], [100] * 3)
    assert f"81.0 ± 1.0 {100 * found.low:.1f}–{100 * found.high:.1f} n 100, 3 seeds 91.03" in text
    assert "VGG-16 on ImageNet at scale 256" in text and "no such run" in text
    for run in runs.glob("[!.]*"):  # as another protocol, none of the tables is of these runs
        file = run / "evaluations" / "accuracy-0123abcd.json"
        file.write_text(file.read_text().replace("all-146@384", "all-100@384"))
    analysis.report(runs, out)
    assert not list((out / "tables").iterdir()) and 'id="tables"' not in (out / "index.html").read_text()


# --- ensembles ------------------------------------------------------------------------------------------------------

OF_SCALES = {
    "label": "a network a scale",
    "ensemble": [
        {"protocol": "all-256@384", "regime": "sharp-d8", "augmentation.colour": 0.2},
        {"protocol": "all-512@384", "regime": "sharp-d8", "augmentation.colour": 0.5},
    ],
    "published": "ft_sharp+d8",
}
COLUMNS = [{"label": "original", "match": {"regime": "original"}}, OF_SCALES]


def of_scale(runs: Path, make_run: MakeRun, colour: float, seed: int, **more: Any) -> str:
    """A run on sharp-d8; `colour` stands for what networks of two scales would differ in."""
    return fine_tuned(runs, make_run, "sharp-d8", seed, settings={"augmentation": {"colour": colour}}, **more)


def measured_as_one(folder: Path, runs: Mapping[str, str], right: int, epoch: int = 3, **fields: Any) -> Path:
    """What `blurtrain evaluate --ensemble` leaves of `runs`, each with its protocol: right ones of sharp images."""
    folder.mkdir(exist_ok=True)
    members = [{"run": run, "epoch": epoch, "protocol": protocol} for run, protocol in runs.items()]
    about = {"blur": "sharp", "sigma": 0.0, "n": 100}
    document = {
        "measure": "accuracy", "split": "test", "n": 100, "classes": 10, "largest_class": 10, "epoch": None,
        "resolution": 384, "reference_resolution": 224, "truncate": 4.0, "pixels": "source", "objects": None,
        "protocol": " & ".join(sorted(set(runs.values()))), "members": members,
        "rows": [{"metric": "top1", "count": right // 2, **about}, {"metric": "top5", "count": right, **about}],
        **fields,
    }  # fmt: skip
    path = folder / f"accuracy-{len(list(folder.iterdir())):012x}.json"
    path.write_text(json.dumps(document))
    return path


def test_runs_that_were_measured_as_one_fill_a_cell(runs: Path, make_run: MakeRun, tmp_path: Path) -> None:
    def filled_now() -> Cell:
        (table,) = filled(runs, tmp_path, where={}, columns=COLUMNS)
        return cell(table, "sharp", "a network a scale")

    fine_tuned(runs, make_run, "original")
    assert (filled_now().missing, filled_now().published) == ("no such run", 91.03)
    low = [of_scale(runs, make_run, 0.2, seed) for seed in (0, 1)]
    waiting = of_scale(runs, make_run, 0.5, 7, done=False)
    assert (filled_now().missing, filled_now().runs) == ("1 waiting (no process works on it)", (waiting,))
    high = [of_scale(runs, make_run, 0.5, seed) for seed in (0, 1)]
    assert filled_now().missing.startswith("not measured as one, by `blurtrain evaluate --ensemble")
    for path in (
        measured_as_one(runs / "ensembles", {low[0]: "all-256@384", high[1]: "all-512@384"}, 10),  # of two seeds
        measured_as_one(runs / "ensembles", {low[0]: "all-256@384", high[0]: "all-256@384"}, 10),  # of one scale
        measured_as_one(runs / "ensembles", {low[0]: "all-256@384", low[1]: "all-512@384"}, 10),  # another run
        measured_as_one(runs / "ensembles", {low[0]: "all-256@384", high[0]: "all-512@384"}, 10, epoch=2),
    ):
        assert filled_now().missing.startswith("not measured as one"), path
    for seed, right in ((1, 52), (0, 50)):
        # Written in any order, and directly among the runs or in a folder there.
        folder = runs / "ensembles" if seed else runs
        measured_as_one(folder, {high[seed]: "all-512@384", low[seed]: "all-256@384"}, right)
    found = filled_now()
    assert found.estimate == accuracy([50, 52], [100, 100]) and found.published == 91.03
    assert (found.n, found.seeds, found.runs) == (100, (0, 1), (f"{low[0]}+{high[0]}", f"{low[1]}+{high[1]}"))
    (table,) = filled(runs, tmp_path, where={}, columns=COLUMNS)
    assert cell(table, "D8", "a network a scale").missing == "not measured, blur disk-8@384"
    lines = csv.DictReader(io.StringIO(as_csv([table])))
    line = next(line for line in lines if (line["row"], line["column"]) == ("sharp", "a network a scale"))
    assert (line["estimate"], line["runs"].split()) == ("51.0000", list(found.runs))
    assert not any("+" in run_id for run_id in analysis.load(runs)["run_id"]), "runs alone"


def test_the_report_shows_the_last_row_of_table_4(runs: Path, make_run: MakeRun, tmp_path: Path) -> None:
    pair = {}
    for scale in (256, 512):
        settings = {"model": "vgg-16", "augmentation": {"colour": 0, "scaled": {"network_scales": [scale]}}}
        protocol = f"all-{scale}@384"
        pair[fine_tuned(runs, make_run, "sharp-d2-d8", protocol=protocol, settings=settings, resolution=224)] = protocol

    def last_row() -> dict[str, str]:
        analysis.report(runs, tmp_path / "report")
        lines = csv.DictReader((tmp_path / "report" / "tables" / "vasiljevic-4.csv").open())
        return [line for line in lines if line["column"] == "sharp"][-1]

    assert last_row()["missing"].startswith("not measured as one") and last_row()["published"] == "91.1"
    measured_as_one(runs / "ensembles", pair, 77)
    last = last_row()
    assert last["row"] == "256 + 512, fine-tuned, a network a scale" and last["model"] == "vgg-16"
    assert (last["estimate"], last["published"], last["runs"]) == ("77.0000", "91.1", "+".join(pair))


def test_ensembles_measured_otherwise_are_not_averaged(runs: Path, make_run: MakeRun, tmp_path: Path) -> None:
    fine_tuned(runs, make_run, "original")
    for seed in (0, 1):
        two = [of_scale(runs, make_run, colour, seed) for colour in (0.2, 0.5)]
        protocols = dict(zip(two, ("all-256@384", "all-512@384"), strict=True))
        measured_as_one(runs / "ensembles", protocols, 80, split=("test", "val")[seed])
    (table,) = filled(runs, tmp_path, where={}, columns=COLUMNS)
    assert "which differ in split" in cell(table, "sharp", "a network a scale").missing
    (table,) = filled(runs, tmp_path, where={"split": "test"}, columns=COLUMNS)
    assert cell(table, "sharp", "a network a scale").seeds == (0,)


def test_an_ensemble_is_compared_and_marked_as_runs_are(runs: Path, make_run: MakeRun, tmp_path: Path) -> None:
    fine_tuned(runs, make_run, "original")
    two = [of_scale(runs, make_run, colour, 0) for colour in (0.2, 0.5)]
    rows = [{"metric": metric, "count": count, "blur": blur, "sigma": sigma, "n": 100}
            for blur, sigma, right in (("sharp", 0.0, 80), ("disk-8@384", None, 50))
            for metric, count in (("top5", right), ("top1", right // 2))]  # fmt: skip
    measured_as_one(runs / "ensembles", {two[0]: "all-256@384", two[1]: "all-512@384"}, 80, rows=rows)
    (table,) = filled(runs, tmp_path, where={}, columns=COLUMNS, mark="best in column")
    assert [cell(table, row, "a network a scale").mark for row in ("sharp", "D8")] == ["best", ""]
    (table,) = filled(runs, tmp_path, where={}, columns=COLUMNS, baseline={"blur": "sharp"}, mark="best in column")
    blurred = cell(table, "D8", "a network a scale")
    assert blurred.comparison and blurred.comparison.difference, blurred.not_compared
    assert blurred.comparison.difference.value == pytest.approx(-0.3)
    assert {name: blurred.about[name] for name in ("dataset", "regime", "model")} == {
        "dataset": "pets", "regime": "sharp-d8", "model": "alexnet-sup",
    }  # fmt: skip
    (table,) = filled(runs, tmp_path, where={}, columns=COLUMNS, baseline={"regime": "original"}, mark="best in row")
    one = cell(table, "sharp", "a network a scale")
    assert "differs from the baseline in protocol, how many runs were measured as one" in one.not_compared


def test_a_damaged_ensemble_is_named(runs: Path, make_run: MakeRun, tmp_path: Path) -> None:
    fine_tuned(runs, make_run, "original")
    path = measured_as_one(runs / "ensembles", {"a": "x", "b": "y"}, 120)
    collected = scan(runs)
    (line,) = collected.not_read
    assert line.startswith(f"{path}: ") and "top1 <= top5 <= n" in line
    assert not collected.ensembles and len(collected.frame)


def test_a_setting_that_there_is_none_of_is_reported(runs: Path, make_run: MakeRun, tmp_path: Path) -> None:
    fine_tuned(runs, make_run, "original")
    with pytest.raises(SettingsError, match=r"table mine: no setting 'optimisation.learning_rat'; did you mean"):
        filled(runs, tmp_path, where={"optimisation.learning_rat": 1})


def test_a_metric_that_no_run_has_is_reported(runs: Path, make_run: MakeRun, tmp_path: Path) -> None:
    fine_tuned(runs, make_run, "original")
    with pytest.raises(SettingsError, match=r"table mine: no run has a metric 'top3'; did you mean 'top[15]'"):
        filled(runs, tmp_path, value="top3")
