"""Stages, journals and weights as training leaves them, added to a run directory."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accuracy_file import evaluation
from numpy.typing import NDArray
from safetensors.numpy import save_file


def add_stage(run: Path, epoch: int, counts: Mapping[float, int], **fields: Any) -> None:
    """What `blurtrain evaluate --epoch` leaves."""
    (run / "evaluations" / f"accuracy-{epoch:08x}.json").write_text(evaluation(counts, epoch=epoch, **fields))


def add_journal(run: Path, events: Sequence[Mapping[str, Any]]) -> None:
    attempt = run / "attempts" / "0001"
    attempt.mkdir(parents=True, exist_ok=True)
    (attempt / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))


def trained(epoch: int, loss: float, top1: float, **more: Any) -> dict[str, Any]:
    """The event of an epoch."""
    return {"event": "epoch", "at": 10 * epoch, "epoch": epoch, "loss": loss, "top1": top1, "n": 300, **more}


def looked(epoch: int, loss: float, top1: float, blurs: Sequence[str] = ("sharp",)) -> dict[str, Any]:
    """The event of a look at the val split."""
    levels = [{"blur": blur, "loss": loss, "top1": top1} for blur in blurs]
    return {"event": "validation", "at": 10 * epoch, "epoch": epoch, "split": "val", "n": 45, "loss": loss,
            "top1": top1, "levels": levels}  # fmt: skip


def add_weights(run: Path, weights: Mapping[str, NDArray[np.float32]], epoch: int | None = None) -> Path:
    path = run / "weights.safetensors" if epoch is None else run / "checkpoints" / f"epoch-{epoch:04d}.safetensors"
    path.parent.mkdir(exist_ok=True)
    save_file(dict(weights), path)
    return path
