"""Runs in W&B's offline folders, read back record by record, and found by `wandb sync`."""

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from journalled_runs import expected, journal, looked, own_measure, start, trained

from analysis.trackers.track import track
from analysis.trackers.tracked_run import TrackedRun
from analysis.trackers.tracker import Written
from blurtrain.cli import main
from blurtrain.errors import BlurtrainError, RunError, SettingsError
from blurtrain.files import held

pytest.importorskip("wandb")
pytestmark = pytest.mark.slow  # W&B writes in a process of its own

MakeRun = Callable[..., str]
BLOCK, HEADER = 32768, 7
"""Bytes, of LevelDB's log format."""


def records(file: Path) -> Iterator[Any]:
    """What W&B's process has written, by its own protocol."""
    from wandb.proto import wandb_internal_pb2

    content, at, parts = file.read_bytes(), HEADER, b""
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
        _, length, kind = struct.unpack("<IHB", content[at : at + HEADER])
        parts += content[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):  # the whole, or its last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


@dataclass
class Folder:
    """One offline run."""

    id: str = ""
    name: str = ""
    project: str = ""
    resumes: bool = False
    config: dict[str, Any] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)
    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None


def _key(item: Any) -> str:
    return "/".join(item.nested_key) or str(item.key)


def folders(out: Path) -> list[Folder]:
    """In the order of their making."""
    found = []
    for file in sorted((out / "wandb").glob("*/*.wandb"), key=lambda path: path.stat().st_mtime_ns):
        one = Folder()
        for record in records(file):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                one.id, one.name, one.project = record.run.run_id, record.run.display_name, record.run.project
                one.tags, one.resumes = {*record.run.tags}, bool(record.run.resume)
                one.config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
            elif kind == "history":
                one.rows.append({_key(item): json.loads(item.value_json) for item in record.history.item})
            elif kind == "summary":
                one.summary |= {_key(item): json.loads(item.value_json) for item in record.summary.update}
            elif kind == "exit":
                one.exit_code = record.exit.exit_code
        found.append(one)
    return found


def points(parts: list[Folder]) -> dict[tuple[str, int], float]:
    """Of all folders together; none may be there twice."""
    found = [
        (name, row["epoch"], value) for part in parts for row in part.rows for name, value in row.items() if "/" in name
    ]
    assert len({(name, epoch) for name, epoch, _ in found}) == len(found)
    return {(name, epoch): value for name, epoch, value in found}


def one(found: tuple[Path, tuple[TrackedRun, Written] | BlurtrainError]) -> Written:
    assert not isinstance(found[1], BlurtrainError), found[1]
    return found[1][1]


def test_every_number_is_there_once_also_when_the_run_has_grown(runs: Path, make_run: MakeRun, tmp_path: Path) -> None:
    name, out = make_run(runs, counts={0.0: 43}, n=86, seed=5), tmp_path / "to send [1]"
    result = runs / name / "result.json"
    document = result.read_text()
    result.unlink()
    journal(runs / name, start(), trained(1), trained(2))
    assert [one(found).epochs for found in track([runs / name], "wandb", out, "blur & more")] == [2]
    (first,) = folders(out)
    assert points([first]) == expected(runs / name)
    assert (first.id, first.name, first.project, first.exit_code) == (name, name, "blur & more", 0)
    assert {"dataset=faces", "regime=clear", "seed=5"} < first.tags
    assert first.config["state"] == "waiting" and first.config["optimisation.batch_size"] > 0
    assert [row["_timestamp"] for row in first.rows] == [
        datetime.fromisoformat(trained(epoch)["time"]).timestamp() for epoch in (1, 2)
    ]

    before = sorted(out.rglob("*"))
    assert [one(found) for found in track([runs / name], "wandb", out, "blur & more")] == [Written(name)]
    assert sorted(out.rglob("*")) == before

    journal(runs / name, looked(2), *map(trained, range(3, 60)), {"event": "done", "time": "2026-11-28T11:00:00Z"})
    result.write_text(document)
    own_measure(runs / name, [{"metric": "gap[of=3]", "value": 0.5, "blur": "disk-4@384", "sigma": None, "n": 80}])
    (written,) = (one(found) for found in track([runs / name], "wandb", out, "blur & more"))
    assert (written.epochs, written.results) == (58, 6)
    parts = folders(out)
    assert len(parts) == 2 and points(parts) == expected(runs / name) and parts[0].rows == first.rows
    assert parts[1].rows[0]["epoch"] == 2 and "train/loss" not in parts[1].rows[0]
    assert parts[1].id == name and parts[1].resumes, "sent, it goes on with the first"
    assert parts[1].summary["test/top1/sharp"] == 50 and parts[1].summary["test/top1/n"] == 86
    assert parts[1].summary["test/gap.gap:5b:of:is:3:5d:/disk-4:at:384"] == 0.5
    assert parts[1].config["state"] == "done"

    assert [one(found).epochs for found in track([runs / name], "wandb", out, "another")] == [59]
    (out / ".writing-killed").mkdir()
    for path in (out / "wandb").iterdir():  # as `wandb clean` does once all was sent
        shutil.rmtree(path)
    assert [one(found) for found in track([runs / name], "wandb", out, "blur & more")] == [Written(name)]
    assert not (out / ".writing-killed").exists()


def test_runs_of_one_second_do_not_meet_and_wandb_sync_finds_them(
    runs: Path, make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [make_run(runs, done=False, run_id=name) for name in ("one", "more-one", "it's 1%3")]
    for name in names:
        journal(runs / name, start(), trained(1))
    for k in range(3):
        with pytest.raises(SystemExit) as caught:
            main(["track", str(runs), "--to", "wandb", "--out", str(tmp_path)])
        out, err = capsys.readouterr()
        assert caught.value.code in (0, None) and err == f"next: wandb sync {tmp_path}/wandb\n"
        assert out.count(": new epochs: 1, new results: 0") == (3 if k == 0 else 1 if k == 2 else 0)
        if k:
            journal(runs / "one", trained(k + 1))
    found = folders(tmp_path)
    assert len(found) == 4 and {part.name for part in found} == {*names}
    assert points([part for part in found if part.name == "one"]) == {
        key: value for key, value in expected(runs / "one").items() if key[1] < 3
    }
    command = [sys.executable, "-m", "wandb", "sync", "--dry-run", str(tmp_path / "wandb")]
    assert "Would sync 4 run(s)" in subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stderr


def test_a_failed_run_is_a_failed_one(runs: Path, make_run: MakeRun, tmp_path: Path) -> None:
    name = make_run(runs, done=False)
    journal(runs / name, start(), {"event": "failed", "error": "DataError", "message": "gone"})
    assert one(*track([runs / name], "wandb", tmp_path)) == Written(name)
    (found,) = folders(tmp_path)
    assert (found.exit_code, found.rows, found.config["state"]) == (1, [], "failed")


@pytest.mark.parametrize(("out", "project", "error", "words"), [
    ("file", "p", RunError, "cannot be written: File exists; choose another --out"),
    ("http://127.0.0.1", "p", SettingsError, "W&B is written to a folder, which `wandb sync` sends to its server"),
    ("out", "a/b", SettingsError, "--project a/b: W&B takes 1 to 128 letters"),
    ("out", "..", SettingsError, "--project ..: W&B takes 1 to 128 letters"),
    ("out", "", SettingsError, "W&B takes 1 to 128 letters"),
])  # fmt: skip
def test_what_cannot_be_written_to_is_one_line(
    tmp_path: Path, out: str, project: str, error: type[Exception], words: str
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(error) as caught:
        list(track([], "wandb", out if "://" in out else tmp_path / out, project))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_two_processes_do_not_write_to_one_folder(tmp_path: Path) -> None:
    with held(tmp_path / ".lock"), pytest.raises(RunError, match="another process writes to it"):
        list(track([], "wandb", tmp_path))
