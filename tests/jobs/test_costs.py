"""What a grid will cost."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from blurtrain.errors import SettingsError
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


def test_a_card_says_how_fast_it_is(member: Callable[..., Member], tmp_path: Path) -> None:
    one = member()
    row = {"what": "whole pipeline, sigma 8", "architecture": one.settings.network.architecture,
           "resolution": one.settings.data.resolution, "images_per_second": 120.0}  # fmt: skip
    parts = [{"name": "blur", "rows": None}, {"name": "train-resident", "rows": [
        {**row, "what": "one fixed batch in memory", "images_per_second": 9e9}, row,
        {**row, "resolution": 999, "images_per_second": 1.0}]}]  # fmt: skip
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps({"date": "2026-11-27", "machine": {"card": "NVIDIA H200"}, "parts": parts}))
    estimate = cost([one], tmp_path, measured=path)
    assert estimate.gpu_hours == pytest.approx(60 / 120 / 3600)
    assert str(estimate).endswith(f"(estimate from {path}, NVIDIA H200, 2026-11-27)")
    path.write_text('{"parts": 3}')
    with pytest.raises(SettingsError, match=r"is no gpu\.json"):
        cost([one], tmp_path, measured=path)
