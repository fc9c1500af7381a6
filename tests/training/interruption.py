"""A training that ends in the middle, as by Ctrl-C, so that it can be taken up again."""

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from blurtrain.settings import Settings
from blurtrain.training.learner import Learner
from blurtrain.training.train import train


def train_until(step: int, settings: Settings, runs: Path) -> None:
    """Train until so many steps of the run are done."""
    original = Learner.step

    def stop(learner: Learner, *arguments: Any) -> Tensor:
        if arguments[3] == step:
            raise KeyboardInterrupt
        return original(learner, *arguments)

    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Learner, "step", stop)
        train(settings, runs)
