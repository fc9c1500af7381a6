"""Run directories with a journal, as training leaves them, made without training."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from blurtrain.run import Run

MakeRun = Callable[..., str]


def trained(epoch: int, **more: Any) -> dict[str, Any]:
    """An epoch, as the journal has it."""
    return {"event": "epoch", "at": 3 * epoch, "epoch": epoch, "learning_rate": 0.1 / epoch, "loss": 1 / epoch,
            "top1": 10.0 * epoch, "blurs": {"sharp": 0.25, "disk-4@384": 0.75}, "n": 24, "skipped": 0,
            "images_per_second": 7.5, "time": f"2026-11-28T10:00:{epoch:02}.250+00:00"} | more  # fmt: skip


def looked(epoch: int) -> dict[str, Any]:
    """A look at the val split."""
    levels = [
        {"blur": blur, "loss": 2 / epoch + k, "top1": 5.0 * epoch} for k, blur in enumerate(("sharp", "shake@384"))
    ]
    return {"event": "validation", "at": 3 * epoch, "epoch": epoch, "split": "val", "n": 9, "pixels": "source",
            "loss": 2 / epoch + 0.5, "top1": 5.0 * epoch, "levels": levels,
            "time": f"2026-11-28T10:00:{epoch:02}.750+00:00"}  # fmt: skip


def journal(run: Path, *events: Mapping[str, Any], attempt: int = 1) -> Path:
    """Add events to the journal of an attempt."""
    file = run / "attempts" / f"{attempt:04d}" / "journal.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lines:
        lines.writelines(json.dumps(event) + "\n" for event in events)
    return file


def start(at: int = 0) -> dict[str, Any]:
    """The begin of an attempt after so many epochs."""
    return {"event": "start", "at": 3 * at, "epoch": at, "device": "cpu", "torch": "2.11",
            "time": f"2026-11-28T10:00:{at:02}.900+00:00"}  # fmt: skip


def expected(run: Path) -> dict[tuple[str, int], float]:
    """What a tracker should have of the journal of a run, straight from its lines."""
    found: dict[tuple[str, int], float] = {}
    for event in Run(run).journal(steps=False):
        if event["event"] not in ("epoch", "validation"):
            continue
        split = event.get("split", "train")
        for name, value in event.items():
            if name in ("loss", "top1", "n", "learning_rate", "skipped", "images_per_second"):
                found[f"{split}/{name}", event["epoch"]] = value
        for blur, share in event.get("blurs", {}).items():
            found[f"{split}/blurs/{blur.replace('@', ':at:')}", event["epoch"]] = share
        for level in event.get("levels", ()):
            for name in ("loss", "top1"):
                found[f"{split}/{name}/{level['blur'].replace('@', ':at:')}", event["epoch"]] = level[name]
    return found


def own_measure(run: Path, rows: Iterable[Mapping[str, Any]], **more: Any) -> None:
    """What a measure called `gap` found."""
    document = json.loads((run / "evaluations" / "accuracy-0123abcd.json").read_text()) | {"measure": "gap"} | more
    del document["levels"]
    (run / "evaluations" / "gap-0123abcd.json").write_text(json.dumps(document | {"rows": list(rows)}))
