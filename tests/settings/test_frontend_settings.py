"""What a front-end can be asked for, and what makes it another one."""

from typing import Any

import pytest
from pydantic import ValidationError

from blurtrain.settings import Settings, run_id

FILE = {"file": "w.safetensors", "sha256": "a" * 64}


def settings(frontend: dict[str, Any], **others: Any) -> Settings:
    network = {"frontend": frontend, **others.pop("network", {})}
    return Settings.model_validate({"dataset": "d", "regime": "r", "network": network, **others})


def test_each_setting_makes_another_run_but_where_the_file_lies() -> None:
    each = ({}, {"width": 8}, {"depth": 2}, {"task": 0.5}, {"image": 1}, FILE, {**FILE, "learnt": False})
    ids = [run_id(Settings(dataset="d", regime="r"), "x"), *(run_id(settings(one), "x") for one in each)]
    assert len(set(ids)) == len(ids)
    assert run_id(settings({**FILE, "file": "/there/v.pt"}), "x") == run_id(settings(FILE), "x")


RESTORATION = {"task": "restoration", "loss": "l1", "data": {"mean": [0, 0, 0], "sd": [1, 1, 1]}}


@pytest.mark.parametrize(
    ("frontend", "others", "said"),
    [
        ({}, {"task": "segmentation"}, "frontend is for task=classification, not for task=segmentation: leave it out"),
        ({}, RESTORATION, "frontend is for task=classification, not for task=restoration: leave it out"),
        (
            {},
            {
                "network": {"architecture": "blur-type"},
                "augmentation": {"crop_scale": [1, 1], "crop_ratio": [1, 1], "rotation": 0},
            },
            "network.frontend takes away what blur-type is to find",
        ),
        ({}, {"curriculum": {"schedule": "feature-smoothing"}}, "feature-smoothing would blur its maps, too"),
        (
            {"depth": 5},
            {"data": {"resolution": 31}},
            "depth=5 needs images of 32 px or more, not of data.resolution=31",
        ),
        ({"image": 1}, {"precision": {"compile": True}}, "leave out precision.compile"),
        ({"task": 0.5}, {"loss": "proposed-blur"}, "leave out network.frontend.task"),
        ({"image": 1}, {"data": {"reduced": {"least_resolution": 32}}}, "does not go with network.frontend.image"),
        ({"file": "w.pt"}, {}, "give file and sha256"),
        ({"learnt": False}, {}, "give the file of its weights"),
        ({**FILE, "learnt": False, "image": 1}, {}, "learns for nothing: leave out task and image"),
        ({"task": 0}, {}, "leave nothing to learn for"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(frontend: dict[str, Any], others: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(frontend, **others)
    (mistake,) = refused.value.errors()
    assert said in mistake["msg"] and "\n" not in mistake["msg"]
