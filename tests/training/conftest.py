"""What torch computes with, as long as a test wants it so; and an attempt at a run that is not trained."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from attempts import SETTINGS

from blurtrain.run import Attempt, Run


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # so little work is slower with more, most of all beside other programs
    yield
    torch.set_num_threads(before)


@pytest.fixture
def deterministic() -> Iterator[None]:
    """As in every training (`claim_device`); torch then also fills memory that nobody has written with NaN."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])


@pytest.fixture
def attempt(tmp_path: Path) -> Iterator[Attempt]:
    attempt = Run.begin(tmp_path, "a-run", SETTINGS).new_attempt(SETTINGS, "data")
    yield attempt
    attempt.close()
