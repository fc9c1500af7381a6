"""A long training needs no more memory than a short one."""

from collections.abc import Callable
from pathlib import Path

import pytest
from processes import Training, run
from test_unkillable import only_run

from blurtrain.settings import Settings

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("loader", ["ffcv", "pytorch"])
def test_epochs_leave_nothing_in_memory(tiny: Callable[..., Settings], tmp_path: Path, loader: str) -> None:
    settings = tiny(
        model="small",
        network={"architecture": "timm/mobilenetv2_035"},
        regime="blurry-to-clear",
        curriculum={"schedule": "stepwise", "sigmas": [8, 4, 2, 0]},
        augmentation={"colour": 0.5},
        optimisation={"epochs": 20, "batch_size": 6, "ema": 0.9, "non_finite": "skip"},
        checkpoints={"every_minutes": 0.005},
        loader={"kind": loader, "workers": 1, "threads": 1},
        logging={"every_steps": 5, "tensorboard": True},
    )
    ((code, words),) = run(Training(settings, tmp_path / "runs"))
    assert code == 0, words
    told = [event for event in only_run(tmp_path / "runs").journal() if event["event"] == "epoch"]
    mebibytes = [1024 * epoch["memory_gib"] for epoch in told]
    assert len(mebibytes) == 20
    assert mebibytes[19] - mebibytes[5] < 5, mebibytes
