"""Checkpoints that are whole or not there, and say so themselves: `step-00001200-<16 hex of their SHA-256>.pt`."""

import contextlib
import hashlib
import io
import logging
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import torch

from blurtrain.files import publish
from blurtrain.run import saved_checkpoints

log = logging.getLogger(__name__)
_KEPT = re.compile(r"epoch-\d{4,}\.pt")


def save(folder: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Write the state after `step` steps, then remove another one of this step (of before the look at the val split
    that follows an epoch's last step), and all but the newest `keep` checkpoints.

    Raises RunError where it cannot be written; those that were there before stay.
    """
    buffer = io.BytesIO()
    torch.save(_interned(state), buffer)
    content = buffer.getbuffer()
    path = folder / f"step-{step:08d}-{hashlib.sha256(content).hexdigest()[:16]}.pt"
    publish(path, content)
    for former in folder.glob(f"step-{step:08d}-*.pt"):
        if former != path:
            former.unlink(missing_ok=True)
    for old in saved_checkpoints(folder)[keep:]:
        old.unlink(missing_ok=True)
    return path


def _interned(part: Any) -> Any:
    """Equal words as one object, as pickle writes such a word once: the same state is the same file (and the same hash)
    whether its optimiser was loaded from a file or has always been there."""
    if type(part) is dict:  # a network's are made anew each time, by a class of their own
        return {_interned(name): _interned(value) for name, value in part.items()}
    if type(part) is list:
        return [_interned(value) for value in part]
    return sys.intern(part) if isinstance(part, str) else part


def newest(folder: Path, run_id: str) -> Path | None:
    """The newest intact checkpoint of this run, None if there is none.

    Others (damaged, or of another run) are named in the log, set aside as `.damaged`, and passed over.
    """
    known = saved_checkpoints(folder)
    if strays := sorted(
        path.name for path in folder.glob("*.pt") if path not in known and not _KEPT.fullmatch(path.name)
    ):
        log.warning("%s: left alone, as checkpoints are not called so: %s", folder, ", ".join(strays))
    for path in known:
        try:
            content = path.read_bytes()
        except OSError as error:
            log.warning("checkpoint %s cannot be read (%s): trying an older one", path, error.strerror)
            continue
        if (fault := _fault(path, content, run_id)) is None:
            return path
        log.warning("checkpoint %s %s: trying an older one", path, fault)
        with contextlib.suppress(OSError):
            path.rename(path.with_suffix(".damaged"))  # no longer counted among those that are kept
    return None


def _fault(path: Path, content: bytes, run_id: str) -> str | None:
    if hashlib.sha256(content).hexdigest()[:16] != path.stem.rsplit("-", 1)[-1]:
        return "is damaged (its checksum does not fit)"
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True, mmap=False)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        return f"is no checkpoint ({str(error).splitlines()[0]})"
    if not isinstance(state, dict) or state.get("run") != run_id:
        return "is not of this run"
    return None


def load(path: Path) -> dict[str, Any]:
    """The state that `save` wrote; nothing but tensors and plain values is unpickled."""
    return torch.load(path, map_location="cpu", weights_only=True)


def clean(folder: Path) -> None:
    """Remove what saves that were killed half way have left."""
    for leftover in folder.glob(".step-*"):
        leftover.unlink(missing_ok=True)
