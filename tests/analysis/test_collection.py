"""Run directories as collected tables: what they hold, and what is read again."""

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from accuracy_file import evaluation

import analysis
from analysis.collecting.collection import collect
from blurtrain.files import publish
from blurtrain.run import Run
from blurtrain.settings import settings_id
from blurtrain.settings.labels import model_label, regime_label

MakeRun = Callable[..., str]
HERE = Path(__file__).parent
OLD = (HERE / "old_runs", HERE.parent / "fixtures" / "old" / "runs")


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lets stamps be trusted at once; to be called after a change, so that the clock of the file system has moved."""
    monkeypatch.setattr("analysis.collecting.run_folders.TICK_NS", 0)
    return lambda: time.sleep(0.03)


@pytest.fixture(params=range(2))
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Runs of older versions."""
    return Path(shutil.copytree(OLD[request.param], tmp_path / "runs"))


# --- what the tables hold -------------------------------------------------------------------------------------------


def measured(run: Run) -> Iterator[dict[str, Any]]:
    """The accuracies of a run, as its files say without more ado."""
    for path in run.evaluations.glob("accuracy-*.json"):
        document = json.loads(path.read_text())
        rows = document.get("rows") or [
            {"metric": metric, "sigma": level["sigma"], "count": level[metric]}
            for level in document["levels"]
            for metric in ("top1", "top5")
        ]
        for row in rows:
            count = row.get("count")
            value = count / document["n"] if count is not None else row["value"]
            yield {"run_id": run.id, "sigma": row["sigma"], "metric": row["metric"], "value": value, "count": count}


def test_measures_are_what_the_files_of_older_runs_say(old: Path) -> None:
    frame = collect(old).measures(["run_id", "sigma", "metric", "value", "count"])
    oracle = pd.DataFrame([row for path in sorted(old.iterdir()) if path.name[0] != "."
                           for row in measured(Run(path))]).drop_duplicates()  # fmt: skip
    keys = ["run_id", "sigma", "metric"]
    pd.testing.assert_frame_equal(
        frame.sort_values(keys).reset_index(drop=True), oracle.sort_values(keys).reset_index(drop=True)
    )


def test_runs_are_named_and_identified_as_their_settings_say(old: Path) -> None:
    runs = collect(old).runs.set_index("run_id")
    assert list(runs.index) == sorted(path.name for path in old.iterdir() if path.name[0] != ".")
    for run_id, row in runs.iterrows():
        run = Run(old / str(run_id))
        settings = run.settings
        assert row["settings_id"] == settings_id(settings, run.data_id() or "")
        assert (row["regime"], row["model"]) == (regime_label(settings), model_label(settings))
        assert row["optimisation.learning_rate"] == settings.optimisation.learning_rate
        assert row["optimisation.ema"] == 0, "of a setting that older files do not have"
        assert json.loads(row["augmentation.crop_scale"]) == list(settings.augmentation.crop_scale)
        assert (row["state"] == "done") == (run.result() is not None)
        assert row["state"] != "done" or row["epoch"] == row["epochs"] == settings.optimisation.epochs


def test_epochs_are_those_of_the_journal_and_what_was_done_again_counts_once(runs: Path, make_run: MakeRun) -> None:
    run = Run(runs / make_run(runs, done=False))
    histories = [[(0, [1, 2, 3, 4])], [(2, [3, 4, 5])]]
    for number, ((start, epochs),) in enumerate(histories, 1):
        folder = run.path / "attempts" / f"{number:04d}"
        folder.mkdir(exist_ok=True)
        events = [{"event": "start", "at": 10 * start, "epoch": start, "device": "cpu", "torch": "2.11"}]
        for epoch in epochs:
            events += [{"event": "step", "at": 10 * epoch, "loss": 9.0},
                       {"event": "epoch", "at": 10 * epoch, "epoch": epoch, "loss": epoch + number / 10, "n": 7,
                        "blurs": {"sharp": 0.5}},
                       {"event": "validation", "at": 10 * epoch, "epoch": epoch, "n": 5, "top1": float(number),
                        "levels": [{"blur": "sharp", "top1": 1.0}, {"blur": "disk-4", "top1": 2.0}]}]  # fmt: skip
        (folder / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events) + '{"event": "ep')
    collection = collect(runs)
    trained = collection.epochs(["epoch", "loss", "n", "blurs"], split="train")
    own = [e for e in run.journal() if e["event"] == "epoch"]
    assert trained["epoch"].tolist() == [e["epoch"] for e in own] == [1, 2, 3, 4, 5]
    assert trained["loss"].tolist() == [e["loss"] for e in own] == [1.1, 2.1, 3.2, 4.2, 5.2]
    assert (trained["n"] == 7).all() and trained["blurs"].unique().tolist() == ['{"sharp": 0.5}']
    looks = collection.epochs(["epoch", "blur", "top1"], split="val", epoch=[3, 5])
    assert looks.fillna("mean").to_numpy().tolist() == [
        [epoch, blur, top1] for epoch in (3, 5) for blur, top1 in (("mean", 2.0), ("sharp", 1.0), ("disk-4", 2.0))
    ]
    (row,) = collection.runs.to_dict("records")
    assert (row["device"], row["torch"], row["epoch"], row["resumed"]) == ("cpu", "2.11", 5, "")


def test_a_run_that_went_on_otherwise_says_so(runs: Path, make_run: MakeRun) -> None:
    run_id = make_run(runs)
    with (runs / run_id / "attempts" / "0001" / "journal.jsonl").open("a") as journal:
        changed = {"threads": [2, 1], "device": ["cpu", "cuda:0"]}
        journal.write(json.dumps({"event": "resumed otherwise", "at": 40, "changed": changed}) + "\n")
        journal.write('{"event": "resumed otherwise", "changed": 7}\n')
    (row,) = collect(runs).runs.to_dict("records")
    assert row["resumed"] == "from step 40 on with threads 1, before 2, device cuda:0, before cpu"


def test_states_say_how_runs_stand(runs: Path, make_run: MakeRun) -> None:
    names = ("done", "new", "failed", "pruned", "running", "gone", "again")
    ids = {name: make_run(runs, done=name == "done") for name in names}
    shutil.rmtree(runs / ids["new"] / "attempts")

    def attempt(name: str) -> Path:
        return runs / ids[name] / "attempts" / "0001"

    for name in ("failed", "again"):
        (attempt(name) / "journal.jsonl").write_text('{"event": "failed", "error": "ValueError", "message": "nan"}\n')
    Run(runs / ids["pruned"]).mark_pruned("a-search", 7, 3, "others promise more")
    for name, pid in (("running", os.getpid()), ("gone", 2**22 + 1), ("again", os.getpid())):
        (attempt(name) / "origin.json").write_text(json.dumps({"host": os.uname().nodename, "pid": pid}))
        (attempt(name) / "heartbeat.json").write_text(json.dumps({"sequence": 1, "epoch": 2.5}))
    table = collect(runs).runs.set_index("run_id")
    shown = {name: (table.loc[run_id, "state"], table.loc[run_id, "message"]) for name, run_id in ids.items()}
    assert shown == {
        "done": ("done", ""), "new": ("waiting", "not begun"), "failed": ("failed", "ValueError: nan"),
        "pruned": ("pruned", "others promise more"), "running": ("running", ""),
        "gone": ("waiting", "no process works on it"), "again": ("running", ""),
    }  # fmt: skip
    assert table.loc[ids["running"], "epoch"] == 2.5
    os.utime(attempt("running") / "heartbeat.json", (1, 1))
    assert collect(runs).runs.set_index("run_id").loc[ids["running"], "state"] == "waiting", "a stale heartbeat"


# --- what is read again ---------------------------------------------------------------------------------------------


def evaluate(run: Path, counts: dict[float, int], name: str = "accuracy-0123abcd.json", **fields: Any) -> None:
    publish(run / "evaluations" / name, evaluation(counts, **fields))


def top1(runs: Path) -> dict[str, list[int]]:
    frame = analysis.load(runs)
    return {str(run_id): rows["top1_count"].tolist() for run_id, rows in frame.groupby("run_id")}


def test_only_what_has_changed_is_read_again(runs: Path, make_run: MakeRun, known: Callable[[], None]) -> None:
    ids = [make_run(runs, seed=seed) for seed in range(6)]
    open_run = runs / make_run(runs, seed=7, done=False)
    known()
    assert [collect(runs).read for _ in range(3)] == [7, 0, 0]
    evaluate(runs / ids[2], {0.0: 70})
    known()
    assert [collect(runs).read for _ in range(2)] == [1, 0] and top1(runs)[ids[2]] == [70]
    path = runs / ids[3] / "evaluations" / "accuracy-0123abcd.json"
    path.write_text(path.read_text().replace("40", "41"))  # as long as before, and not by one of our programs
    known()
    assert collect(runs).read == 1 and top1(runs)[ids[3]] == [41] * 3
    (open_run / "attempts" / "0001" / "journal.jsonl").write_text('{"event": "epoch", "epoch": 1, "at": 3}\n')
    known()
    collection = collect(runs)
    assert collection.read == 1 and len(collection.epochs()) == 1
    shutil.rmtree(runs / ids[0])
    (runs / ids[1]).rename(runs / "renamed")
    make_run(runs, seed=9, run_id="new")
    known()
    collection = collect(runs)
    assert collection.read == 2 and set(top1(runs)) == {*ids[2:], "new"}
    assert [path.name for path, _ in collection.not_read] == ["renamed"], "a folder that holds another run"


def test_what_has_just_been_written_is_not_trusted(runs: Path, make_run: MakeRun) -> None:
    make_run(runs)
    assert [collect(runs).read for _ in range(2)] == [1, 1], "it may change again within a tick of the clock"


def test_a_result_is_read_as_soon_as_it_is_there(runs: Path, make_run: MakeRun, known: Callable[[], None]) -> None:
    make_run(runs, seed=1)
    run = runs / make_run(runs, done=False)
    evaluate(run, {0.0: 33})
    known()
    assert analysis.unfinished(runs) == [run.name] and run.name not in top1(runs)
    Run(run).finish({"run_id": run.name, "epochs": 60, "accuracy": "accuracy-0123abcd.json"})
    known()
    assert not analysis.unfinished(runs) and top1(runs)[run.name] == [33]


def test_what_is_kept_stays_small_however_often_runs_change(
    runs: Path, make_run: MakeRun, known: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analysis.collecting.store.GRACE", -1.0)
    monkeypatch.setattr("analysis.collecting.store.MOST_SMALL", 3)
    ids = [make_run(runs, seed=seed) for seed in range(6)]
    for turn in range(24):
        evaluate(runs / ids[turn % 6], {0.0: turn})
        known()
        assert collect(runs).read == (1 if turn else 6)
        assert len(list((runs / ".collected").glob("measures-*"))) <= 4
    assert top1(runs) == {ids[k]: [18 + k] for k in range(6)}
    frame = collect(runs).measures(["run_id", "value"], metric="top1")
    assert frame["run_id"].tolist() == sorted(ids), "each run once, though older segments hold it too"


def test_many_are_read_by_several_processes(
    runs: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ids = [make_run(runs, seed=seed, counts={0.0: seed}) for seed in range(9)]
    (runs / ids[4] / "settings.yaml").write_text("{")
    alone = tmp_path / "alone"
    shutil.copytree(runs, alone)
    with pytest.warns(UserWarning, match="not valid YAML"):
        expected = analysis.load(alone)
    monkeypatch.setattr("analysis.collecting.reading.WORTH_A_PROCESS", 2)
    monkeypatch.setattr("analysis.collecting.reading.IN_A_SEGMENT", 2)
    monkeypatch.setattr("analysis.collecting.reading._cores", lambda: 3)
    begun = []
    popen = subprocess.Popen
    monkeypatch.setattr("subprocess.Popen", lambda *args, **kw: begun.append(args) or popen(*args, **kw))
    with pytest.warns(UserWarning, match="not valid YAML"):
        pd.testing.assert_frame_equal(analysis.load(runs), expected)
    assert len(begun) == 2 and len(expected) == 8
    shutil.rmtree(runs / ".collected")
    monkeypatch.setattr("analysis.collecting.reading._SERVE", "raise SystemExit(1)")
    with pytest.warns(UserWarning, match="not valid YAML"):
        pd.testing.assert_frame_equal(analysis.load(runs), expected)  # what a process leaves undone, another does


# --- what is kept ---------------------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "runs cut": lambda folder: cut(folder / "runs.parquet"),
    "runs of another kind": lambda folder: (folder / "runs.parquet").write_text("a,b\n1,2\n"),
    "a table without what was noted": lambda folder: pd.DataFrame({"a": [1]}).to_parquet(folder / "runs.parquet"),
    "measures cut": lambda folder: [cut(path) for path in folder.glob("measures-*")],
    "measures gone": lambda folder: [path.unlink() for path in folder.glob("measures-*")],
    "epochs empty": lambda folder: [path.write_bytes(b"") for path in folder.glob("epochs-*")],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_is_kept_is_made_anew_where_it_is_damaged(
    runs: Path, make_run: MakeRun, known: Callable[[], None], damage: Callable[[Path], object]
) -> None:
    for seed in range(3):
        make_run(runs, seed=seed)
    known()
    expected, metrics, epochs = analysis.load(runs), analysis.metrics(runs), collect(runs).epochs()
    assert collect(runs).read == 0
    damage(runs / ".collected")
    pd.testing.assert_frame_equal(analysis.load(runs), expected)
    pd.testing.assert_frame_equal(analysis.metrics(runs), metrics)
    pd.testing.assert_frame_equal(collect(runs).epochs(), epochs)
    assert collect(runs).read == 0


def test_what_other_code_has_kept_is_read_again(
    runs: Path, make_run: MakeRun, known: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(runs)
    known()
    collect(runs)
    monkeypatch.setattr("analysis.collecting.store.made_by", lambda: "another version")
    assert [collect(runs).read for _ in range(2)] == [1, 0]


def test_nothing_is_kept_where_nothing_can_be_written(runs: Path, make_run: MakeRun, known: Callable[[], None]) -> None:
    make_run(runs)
    (runs / ".collected").write_text("a file, so that no folder can be made here")
    known()
    collections = [collect(runs) for _ in range(2)]
    assert [one.read for one in collections] == [1, 1] and len(collections[1].measures()) == 6
    assert sorted(path.name for path in runs.iterdir())[0] == ".collected" and not (runs / ".collected").is_dir()


def test_a_look_stays_what_it_was_while_others_go_on(
    runs: Path, make_run: MakeRun, known: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = make_run(runs, counts={0.0: 1})
    known()
    before = collect(runs)
    for turn in range(2, 6):
        evaluate(runs / run_id, {0.0: turn})
        known()
        collect(runs)
    assert before.measures(["count"], metric="top1")["count"].tolist() == [1]
    monkeypatch.setattr("analysis.collecting.store.GRACE", -1.0)
    for turn in (6, 7):
        evaluate(runs / run_id, {0.0: turn})
        known()
        collect(runs)
    assert before.measures(["count"], metric="top1")["count"].tolist() == [7], "it is gone: a new look is taken"


_READER = """
import sys, analysis
from analysis.collecting.collection import collect
for _ in range(12):
    collection = collect(sys.argv[1])
    table = collection.measures(["run_id", "sigma", "count"], metric="top1")
    for run_id, rows in table.groupby("run_id"):
        assert rows["sigma"].tolist() == [0.0, 1.0, 8.0] and rows["count"].nunique() == 1, rows
    assert table["run_id"].nunique() == int(sys.argv[2])
"""


def test_processes_may_collect_while_runs_are_written(runs: Path, make_run: MakeRun) -> None:
    """Each reader sees, of every run, one of the evaluations that were published, whole."""
    ids = [make_run(runs, seed=seed, counts=dict.fromkeys((0.0, 1.0, 8.0), 0)) for seed in range(12)]
    code = [sys.executable, "-c", _READER, str(runs), str(len(ids))]
    readers = [subprocess.Popen(code, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    turn = 0
    while any(reader.poll() is None for reader in readers):
        turn += 1
        evaluate(runs / ids[turn % len(ids)], dict.fromkeys((0.0, 1.0, 8.0), turn % 80))
        time.sleep(0.002)
    errors = [reader.communicate()[1] for reader in readers]
    assert [reader.returncode for reader in readers] == [0, 0, 0], errors
    assert all(not math.isnan(counts[0]) for counts in top1(runs).values()) and turn > 20
