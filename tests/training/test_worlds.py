"""One run on one, two and four processes: the same images, order, losses and counts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import Training, codes, run
from test_unkillable import history, only_run

from blurtrain.settings import Settings

Tiny = Callable[..., Settings]
pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("network", "resolution", "epochs", "extra"),
    [
        ("alexnet-sup", 64, 17, {}),
        # Adam's first steps are all but the signs of the gradients; under batch norm some of those are rounding.
        pytest.param("resnet-18", 32, 5, {"optimiser": "sgd", "learning_rate": 1e-4}, marks=pytest.mark.long),
        (
            "resnet-18",
            32,
            3,
            {
                "optimiser": "sgd",
                "learning_rate": 1e-4,
                "batch_norm_images": 4,
                "accumulate": 2,
                "label_smoothing": 0.1,
                "ema": 0.9,
            },
        ),
    ],
)
def test_losses_and_counts_do_not_depend_on_the_number_of_processes(
    tiny: Tiny, tmp_path: Path, network: str, resolution: int, epochs: int, extra: dict[str, Any]
) -> None:
    for arithmetic, steps, tolerance in (("float64", 50, 1e-10), ("float32", 5, 1e-5)):
        if arithmetic == "float32" and "batch_norm_images" in extra:
            continue  # variances of four values: rounding is amplified without end
        # Under batch norm also an image that is half of one colour amplifies rounding.
        erasing = 0.0 if arithmetic == "float32" and network == "resnet-18" else 0.5
        settings = tiny(
            model=network,
            network={"architecture": network},
            data={"resolution": resolution},
            regime="blurry-to-clear",
            curriculum={"schedule": "stepwise", "sigmas": [8, 0]},
            augmentation={"colour": 0.5, "erasing": erasing},
            precision={"arithmetic": arithmetic},
            optimisation={"epochs": epochs if arithmetic == "float64" else 2, "batch_size": 8, **extra},
            loader={"threads": 1},
            logging={"every_steps": 1},
        )
        losses, counts = {}, {}
        for world in (1, 2, 4):
            folder = tmp_path / f"{arithmetic}-{world}"
            ended = run(*[Training(settings, folder)] * world, seconds=240)
            assert codes(ended) == [0] * world, ended
            finished = only_run(folder)
            losses[world] = [loss for _, loss in history(finished)][:steps]
            result = finished.result()
            assert result
            measured = json.loads((finished.evaluations / result["accuracy"]).read_text())
            counts[world] = (measured["n"], [row.get("count") for row in measured["rows"]])
        assert len(losses[1]) == min(steps, 3 * epochs)
        for world in (2, 4):
            assert losses[world] == pytest.approx(losses[1], rel=tolerance)
            assert counts[world] == counts[1]


@pytest.mark.parametrize(
    "parts",
    [
        {"loss": {"type": "proposed-blur", "size": 5, "width": 4, "rate": 10}},
        {"network": {"frontend": {"width": 4, "depth": 1, "image": 2, "task": 0.5}}},
    ],
    ids=["opponent", "front-end"],
)
def test_a_second_network_learns_the_same_on_any_number_of_processes(
    tiny: Tiny, tmp_path: Path, parts: dict[str, Any]
) -> None:
    settings = tiny(
        data={"resolution": 32},
        network={"architecture": "timm/test_vit", "arguments": {"img_size": 32}, **parts.get("network", {})},
        model="small",
        curriculum={"schedule": "constant", "sigma": 8},
        precision={"arithmetic": "float64"},
        optimisation={"epochs": 3, "batch_size": 8, "optimiser": "sgd", "learning_rate": 0.01},
        loader={"threads": 1},
        logging={"every_steps": 1},
        **{name: part for name, part in parts.items() if name != "network"},
    )
    losses = {}
    for world in (1, 2):
        ended = run(*[Training(settings, tmp_path / str(world))] * world, seconds=240)
        assert codes(ended) == [0] * world, ended
        losses[world] = [loss for _, loss in history(only_run(tmp_path / str(world)))]
    assert len(losses[1]) == 9 and losses[2] == pytest.approx(losses[1], rel=1e-10)
