"""Checkpoints that are whole or not there, and say so themselves: `epoch-0005-<first 16 hex of their SHA-256>.pt`."""

import contextlib
import hashlib
import io
import logging
from pathlib import Path
from typing import Any

import torch

from blurtrain.run import publish

log = logging.getLogger(__name__)


def save(folder: Path, epoch: int, state: dict[str, Any], keep: int) -> Path:
    """Write the state after `epoch` epochs, then remove all but the newest `keep` checkpoints."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    path = folder / f"epoch-{epoch:04d}-{hashlib.sha256(content).hexdigest()[:16]}.pt"
    publish(path, content)
    for old in _newest_first(folder)[keep:]:
        old.unlink()
    return path


def newest(folder: Path) -> Path | None:
    """The newest intact checkpoint, None if there is none; damaged ones are named in the log and passed over."""
    for path in _newest_first(folder):
        try:
            whole = hashlib.sha256(path.read_bytes()).hexdigest()[:16] == path.stem.rsplit("-", 1)[-1]
        except OSError as error:
            log.warning("checkpoint %s cannot be read (%s): trying an older one", path, error.strerror)
            continue
        if whole:
            return path
        log.warning("checkpoint %s is damaged (its checksum does not fit): trying an older one", path)
        with contextlib.suppress(OSError):
            path.rename(path.with_suffix(".damaged"))  # no longer counted among those that are kept
    return None


def load(path: Path) -> dict[str, Any]:
    """The state that `save` wrote."""
    return torch.load(path, map_location="cpu", weights_only=True)


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*-*.pt"), key=lambda p: int(p.name.split("-")[1]), reverse=True)
