import logging
from pathlib import Path

import pytest
import torch

from blurtrain.training import checkpoint


class Trap:
    sprung = Path("/tmp/blurtrain-trap-was-sprung")

    def __reduce__(self) -> tuple:
        return Path.touch, (self.sprung,)


def state(epoch: int) -> dict:
    return {"run": "mine", "epoch": epoch, "model": {"w": torch.full((4,), float(epoch))}, "optimiser": {}}


def test_newest_is_kept_and_read_back(tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        checkpoint.save(tmp_path, epoch, state(epoch), keep=2)
    assert [p.name[:13] for p in sorted(tmp_path.iterdir())] == ["step-00000002", "step-00000003"]
    newest = checkpoint.newest(tmp_path, "mine")
    assert newest and torch.equal(checkpoint.load(newest)["model"]["w"], torch.full((4,), 3.0))


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path, "mine") is None


@pytest.mark.parametrize("damage", ["truncated", "flipped", "foreign", "another run's"])
def test_a_damaged_checkpoint_is_named_and_passed_over(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    good = checkpoint.save(tmp_path, 1, state(1), keep=2)
    bad = checkpoint.save(tmp_path, 2, state(2), keep=2)
    if damage == "another run's":
        bad.unlink()
        bad = checkpoint.save(tmp_path, 2, {**state(2), "run": "another"}, keep=2)
    content = bytearray(bad.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
    elif damage == "foreign":
        content = bytearray(b"not a checkpoint")
    bad.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert checkpoint.newest(tmp_path, "mine") == good
    assert bad.name in caplog.text and not bad.exists()
    assert ("not of this run" if damage == "another run's" else "damaged") in caplog.text


def test_nothing_but_weights_is_unpickled(tmp_path: Path) -> None:
    """A file with a fitting checksum whose pickle would run something is passed over, and runs nothing."""
    path = checkpoint.save(tmp_path, 1, {"run": "mine", "epoch": 1, "model": Trap()}, keep=2)
    assert checkpoint.newest(tmp_path, "mine") is None
    assert not path.exists() and not (Trap.sprung).exists()


def test_a_damaged_checkpoint_does_not_count_among_those_that_are_kept(tmp_path: Path) -> None:
    for epoch in (9_998, 9_999):
        checkpoint.save(tmp_path, epoch, state(epoch), keep=2)
    damaged = checkpoint.save(tmp_path, 10_000, state(10_000), keep=2)  # a digit more: order is by number
    damaged.write_bytes(b"")
    assert checkpoint.newest(tmp_path, "mine") is not None
    last = checkpoint.save(tmp_path, 10_001, state(10_001), keep=2)
    kept = sorted(p.name.split("-")[1] for p in tmp_path.glob("*.pt"))
    assert kept == ["00009999", "00010001"] and checkpoint.newest(tmp_path, "mine") == last


def test_other_files_beside_checkpoints_are_named_in_one_line_and_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint.save(tmp_path, 1, state(1), keep=2)
    good = checkpoint.save(tmp_path, 2, state(2), keep=2)
    strays = [f"{good.stem} (1).pt", "step-00000009-copy.pt", "step-backup-1.pt"]
    for name in strays:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / f"step-00000099-{'0' * 16}.pt").mkdir()
    (tmp_path / "epoch-0001.pt").write_bytes(b"kept for others to start from")
    with caplog.at_level(logging.WARNING):
        assert checkpoint.newest(tmp_path, "mine") == good
    (line,) = caplog.messages
    assert line.endswith(", ".join([*strays[:2], f"step-00000099-{'0' * 16}.pt", strays[2]]))
    checkpoint.save(tmp_path, 3, state(3), keep=1)
    assert len(list(tmp_path.glob("step-*"))) == 1 + 4
