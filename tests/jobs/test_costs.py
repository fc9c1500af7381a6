"""What a grid will cost."""

from collections.abc import Callable
from pathlib import Path

import pytest

from blurtrain.run import Run
from jobs.costs import cost
from jobs.grid import Member


def test_costs(member: Callable[..., Member], tmp_path: Path) -> None:
    one = member()
    assert str(cost([one], tmp_path)).startswith("GPU hours unknown")
    # 30 training images, 2 epochs
    assert cost([one], tmp_path, 1.0).gpu_hours == pytest.approx(60 / 3600)
    run = Run.begin(tmp_path, one.run_id, one.settings)
    attempt = run.new_attempt(one.settings, "d")
    attempt.record("start", at=0, epoch=0, world=2)
    attempt.record("epoch", at=3, epoch=1, images_per_second=20.0)
    run.finish({"dataset": one.settings.dataset, "model": one.settings.model})
    estimate = cost([member(1)], tmp_path)
    assert estimate.gpu_hours == pytest.approx(60 / 10 / 3600)
    assert "estimate from past runs" in str(estimate)
