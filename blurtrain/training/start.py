"""Where a run begins that goes on from another run's checkpoint (settings `start`): with the other one's weights and
averages, under its own settings."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from blurtrain.data.dataset import Dataset
from blurtrain.errors import RunError, SettingsError
from blurtrain.run import Run
from blurtrain.settings import Settings, Start
from blurtrain.settings.start import unlike
from blurtrain.training.learner import Learner
from blurtrain.training.validation import Best, Validator


def check_start(settings: Settings, start: Start, dataset: Dataset, runs: Path) -> None:
    """Raise RunError where the checkpoint to start from is not there or is another one, SettingsError where its run and
    this one do not fit together."""
    other = Run(runs / start.run)
    _content(start, runs)
    theirs = other.settings
    for name, (before, now) in unlike(theirs, settings).items():
        raise SettingsError(
            f"{name}={now}: start.run={start.run} has {before}, which a run that starts from its checkpoint has to keep"
        )
    if other.data_id() != dataset.data_id:
        raise SettingsError(
            f"start.run={start.run}: was trained on other data than dataset {dataset.name!r} is now; start from a run "
            "on this data"
        )


def _content(start: Start, runs: Path) -> bytes:
    path = Run(runs / start.run).epoch_checkpoint(start.epoch)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(
            f"{path}: cannot be read: {error.strerror}; `start` names a run in this folder, and an epoch that it has "
            "kept"
        ) from None
    if (found := hashlib.sha256(content).hexdigest()) != start.sha256:
        raise RunError(f"{path}: is not the checkpoint that start.sha256={start.sha256} names: its own is {found}")
    return content


def start_state(start: Start, runs: Path) -> dict[str, Any]:
    """The state to start from; raises RunError where it is not as `start` says."""
    content = _content(start, runs)
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    found = state["run"], state["epoch"], state["step"]
    if found != (start.run, start.epoch, 0):
        path = Run(runs / start.run).epoch_checkpoint(start.epoch)
        raise RunError(f"{path}: is of {found[0]}, epoch {found[1]}, step {found[2]}, not as `start` says")
    return state


def take_over(
    state: Mapping[str, Any], theirs: Settings, own: Settings, learner: Learner, validator: Validator
) -> None:
    """Give `learner` the state of a run with settings `theirs`, its hyperparameters stay those of its `own`.

    `validator` goes on to count looks without a better one where both judge them alike. The best epoch to be kept is
    the best of this run: weights of the other's lie with the other.
    """
    learner.start_from(state, theirs.optimisation.groups)
    before, now = theirs.early_stopping, own.early_stopping
    if before and now and (before.metric, before.blurs) == (now.metric, now.blurs):
        validator.stop = Best(**state["validation"]["stop"])
