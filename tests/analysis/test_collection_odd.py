"""What lies among runs and is none, or is damaged: it is listed, once and with a reason, and stops nothing else."""

import json
import os
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import analysis
from analysis.collecting.collection import collect
from analysis.collecting.runs import scan
from blurtrain.errors import RunError
from blurtrain.run import find

MakeRun = Callable[..., str]
Odd = Callable[[Path], object]


def rewritten(name: str, content: bytes) -> Odd:
    return lambda run: (run / name).write_bytes(content)


ACCURACY = "evaluations/accuracy-0123abcd.json"
NO_RUNS: dict[str, tuple[Odd, str]] = {
    "empty": (lambda run: [shutil.rmtree(run), run.mkdir()], "is empty"),
    "foreign": (lambda run: (run / "settings.yaml").rename(run / "notes.txt"), "holds no settings.yaml"),
    "just begun": (lambda run: [(run / "settings.yaml").unlink(), (run / "result.json").unlink()], "half-written"),
    "dangling link": (lambda run: [shutil.rmtree(run), run.symlink_to("nowhere")], "leads nowhere, or in a circle"),
    "looping link": (lambda run: [shutil.rmtree(run), run.symlink_to(run)], "leads nowhere, or in a circle"),
    "looping settings": (lambda run: [(run / "settings.yaml").unlink(),
                                      (run / "settings.yaml").symlink_to("settings.yaml")], "Too many levels of sym"),
    "link to the folder": (lambda run: [shutil.rmtree(run), run.symlink_to(run.parent)], "holds no settings.yaml"),
}  # fmt: skip
DAMAGED: dict[str, tuple[Odd, str]] = {
    "settings cut": (rewritten("settings.yaml", b"dataset: [faces"), "not valid YAML"),
    "settings empty": (rewritten("settings.yaml", b""), "dataset: missing"),
    "settings of the future": (rewritten("settings.yaml", b"dataset: a\nregime: b\nwarp: 9\n"), "warp: unknown"),
    "settings binary": (rewritten("settings.yaml", b"\xff\xfe\0"), "cannot be read"),
    "settings a folder": (lambda run: [(run / "settings.yaml").unlink(), (run / "settings.yaml").mkdir()],
                          "cannot be read"),
    "result cut": (rewritten("result.json", b'{"run_id": "x'), r"result\.json: cannot be read"),
    "result a list": (rewritten("result.json", b"[]"), r"result\.json"),
    "result leads out": (rewritten("result.json", b'{"run_id": "x", "accuracy": "../../a.json"}'), "accuracy"),
    "result deep": (rewritten("result.json", b"[" * 10**5), "cannot be read|damaged"),
    "of another run": (rewritten("result.json", b'{"run_id": "x", "accuracy": "a"}'), "holds run 'x'"),
    "evaluation gone": (lambda run: (run / ACCURACY).unlink(), "is missing although the run is done"),
    "evaluation cut": (rewritten(ACCURACY, b'{"measure": "acc'), "cannot be read"),
    "evaluation binary": (rewritten(ACCURACY, b"\x80\0\xff"), "cannot be read"),
    "another evaluation": (rewritten("evaluations/accuracy-x.json", b"{}"), r"accuracy-x\.json"),
    "evaluation of other metrics": (rewritten(ACCURACY, json.dumps({
        "measure": "accuracy", "split": "test", "n": 9, "classes": 3, "largest_class": 3, "resolution": 8,
        "reference_resolution": 8, "truncate": 4, "rows": [{"metric": "top1", "blur": "sharp", "n": 9, "count": 3}],
    }).encode()), "no top1 and top5"),
    "too large for a number": (rewritten("attempts/0001/journal.jsonl", b'{"event": "epoch", "epoch": 1%030d}' % 0),
                               "holds what no table can"),
    "text that is none": (rewritten("attempts/0001/origin.json", b'{"data_id": "x", "host": "\\ud800"}'),
                          "holds what no table can"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "reason"), [*NO_RUNS.values(), *DAMAGED.values()], ids=[*NO_RUNS, *DAMAGED])
def test_it_is_listed_with_its_reason_and_the_others_are_read(
    runs: Path, make_run: MakeRun, damage: Odd, reason: str
) -> None:
    ids = [make_run(runs, seed=seed) for seed in range(3)]
    expected = analysis.load(runs).query("run_id != @ids[1]").reset_index(drop=True)
    damage(runs / ids[1])
    for _ in range(2):  # also where the others are known
        collection = collect(runs)
        ((path, why),) = collection.not_read
        assert path == runs / ids[1] and re.search(reason, why) and "\n" not in why
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            pd.testing.assert_frame_equal(analysis.load(runs), expected)
        assert len(collection.measures()) == 2 * 6
    is_run = damage in [odd for odd, _ in DAMAGED.values()]
    assert [reason for w in caught if re.search(reason, str(w.message))] == [reason] * is_run, "of runs it warns"
    (line,) = scan(runs).not_read
    assert line.startswith(str(runs / ids[1])) and re.search(reason, line)


def test_where_nothing_can_be_read_the_error_says_why(runs: Path, make_run: MakeRun) -> None:
    for seed in range(3):
        (runs / make_run(runs, seed=seed) / "settings.yaml").write_text("dataset: [")
    with pytest.raises(RunError, match=r"holds no done run that can be read: .*not valid YAML.* \(and 2 more\)"):
        analysis.load(runs)
    assert analysis.load(runs, "runs").empty and analysis.load(runs, "epochs").empty


def test_a_damaged_file_of_another_measure_takes_nothing_else_away(runs: Path, make_run: MakeRun) -> None:
    run_id = make_run(runs)
    (runs / run_id / "evaluations" / "margin-0123.json").write_text('{"rows": ')
    with pytest.warns(UserWarning, match=r"margin-0123\.json: cannot be read"):
        assert len(analysis.load(runs)) == 3
    ((path, why),) = collect(runs).not_read
    assert path == runs / run_id and "margin-0123.json" in why


def test_a_run_that_is_mended_is_read(runs: Path, make_run: MakeRun) -> None:
    make_run(runs)
    run = runs / make_run(runs, seed=1)
    good = (run / "settings.yaml").read_text()
    (run / "settings.yaml").write_text("{")
    assert len(collect(runs).not_read) == 1
    (run / "settings.yaml").write_text(good)
    collection = collect(runs)
    assert not collection.not_read and len(collection.rows) == 2


def test_half_lines_and_foreign_lines_of_a_journal_are_passed_over(runs: Path, make_run: MakeRun) -> None:
    run = runs / make_run(runs, done=False)
    lines = [b'{"event": "epoch", "epoch": 1, "at": 3, "loss": 0.5}', b"\xff\xfe", b"[1, 2]", b"null", b"", b'{"a": 7}',
             b'{"event": 3}', b'{"event": "epoch"}', b'{"event": "epoch", "epoch": "x"}', b'{"event": "start"}',
             b'{"event": "epoch", "epoch": 2, "at": 6, "loss": NaN, "left_out": 1}', b'{"event": "ep']  # fmt: skip
    (run / "attempts" / "0001" / "journal.jsonl").write_bytes(b"\n".join(lines))
    (run / "attempts" / "0002").mkdir()
    (run / "attempts" / "0002" / "journal.jsonl").write_text('{"event": "epoch", "epoch": 3}, {"event": "done"}\n')
    (run / "attempts" / "0003.txt").write_text("a file")
    collection = collect(runs)
    frame = collection.epochs()
    assert not collection.not_read
    assert frame["epoch"].tolist() == [1, 2] and frame["loss"].isna().tolist() == [False, True]
    assert frame["skipped"].tolist()[1] == 1, "which older versions called otherwise"


def test_files_beside_the_runs_and_hidden_folders_are_not_meant(runs: Path, make_run: MakeRun) -> None:
    run_id = make_run(runs)
    (runs / "README.txt").write_text("mine")
    shutil.copytree(runs / run_id, runs / ".trash")
    collection = collect(runs)
    assert [row["run_id"] for row in collection.rows] == [run_id] and not collection.not_read
    assert ".collected" not in [run.id for run in find(runs)], "what is kept is no run"


def test_any_name_may_be_listed_and_shown(runs: Path, make_run: MakeRun, tmp_path: Path) -> None:
    make_run(runs, run_id="<b>\n&'\"run")
    (runs / "two\nlines <script>alert(1)").mkdir()
    Path(os.fsdecode(os.fsencode(runs / make_run(runs, seed=1)) + b"\xff")).symlink_to("nowhere")
    (runs / make_run(runs, seed=2)).rename(os.fsdecode(os.fsencode(runs) + b"/not-utf-8-\xff"))
    collected = scan(runs)
    assert [line.count("\n") for line in collected.not_read] == [0, 0, 0]
    assert any("its name is no valid text" in line for line in collected.not_read)
    assert set(collected.frame["run_id"]) >= {"<b>\n&'\"run"}
    page = analysis.report(runs, tmp_path / "out").read_text()
    assert "Not read" in page and "two\\nlines &lt;script&gt;alert(1): is empty" in page
    assert "<script>alert" not in page


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_listed(runs: Path, make_run: MakeRun) -> None:
    make_run(runs)
    closed = runs / make_run(runs, seed=1)
    closed.chmod(0)
    try:
        ((path, why),) = collect(runs).not_read
    finally:
        closed.chmod(0o755)
    assert path == closed and "Permission denied" in why


def test_a_folder_without_runs_is_left_as_it_is(runs: Path) -> None:
    (runs / "photos").mkdir()
    assert not collect(runs).rows and [path.name for path in runs.iterdir()] == ["photos"]
