"""A learner's state: taken, stored, and gone on from by another learner; also of compiled networks."""

import io
import shutil
from typing import Any

import pytest
import torch
from learners import close, data, learner, same, train

from blurtrain.training.learner import Learner

pytestmark = pytest.mark.usefixtures("one_thread")


def stored(begun: Learner) -> dict[str, Any]:
    """Its state as it comes out of a checkpoint."""
    file = io.BytesIO()
    torch.save(begun.state(), file)
    file.seek(0)
    return torch.load(file, map_location="cpu", weights_only=True)


@pytest.mark.parametrize(
    "parts",
    [
        {"arithmetic": "float32", "optimiser": "adam"},
        {"arithmetic": "float32", "optimiser": "sgd", "batch_norm_images": 4},
        {"arithmetic": "bfloat16", "optimiser": "adam", "accumulate": 2, "batch_norm_images": 2, "ema": 0.9},
        {"arithmetic": "bfloat16", "optimiser": "sgd", "non_finite": "skip"},
        {"arithmetic": "float16", "optimiser": "adam", "ema": 0.5, "label_smoothing": 0.1},
        {"arithmetic": "float16", "optimiser": "sgd", "momentum": 0.0, "accumulate": 4, "batch_norm_images": 1},
        {"arithmetic": "float64", "optimiser": "adam", "ema": 0.99},
        {"arithmetic": "bfloat16", "optimiser": "sgd", "frozen": True, "accumulate": 2, "ema": 0.9},
    ],
    ids=lambda parts: "-".join(str(part) for part in parts.values()),
)
@pytest.mark.parametrize("k", [1, 5])
def test_another_learner_goes_on_from_a_checkpoint_to_the_same_bits(
    deterministic: None, k: int, parts: dict[str, Any]
) -> None:
    batches = data(10)
    whole, begun, resumed = (learner(**parts) for _ in range(3))
    sums = train(whole, batches)
    train(begun, batches[:k])
    train(resumed, data(3)[2:])  # whatever it has learnt before is gone
    resumed.load(stored(begun))
    assert same(resumed.state(), begun.state())
    assert same(train(resumed, batches[k:], first=k), sums[k:])
    assert same(resumed.state(), whole.state())
    assert same(resumed.trained().state_dict(), whole.trained().state_dict())


def test_a_state_is_taken_before_the_first_step_too() -> None:
    for parts in ({"arithmetic": "float16"}, {"optimiser": "sgd", "ema": 0.9}):
        whole, resumed = learner(**parts), learner(**parts)
        resumed.load(stored(whole))
        assert same(train(resumed, data(3)), train(whole, data(3))) and same(resumed.state(), whole.state())


# --- compiled -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("norm", [{"batch_norm_images": 2}, {"frozen": True}], ids=["shared", "frozen"])
def test_a_compiled_network_learns_as_the_plain_one(norm: dict[str, Any]) -> None:
    plain, compiled = (learner(arithmetic="float64", accumulate=2, ema=0.9, compiled=c, **norm) for c in (False, True))
    sums = [train(trained, data(5)) for trained in (plain, compiled)]
    assert close(sums[0], sums[1], 1e-9)
    assert close(plain.state(), compiled.state(), 1e-9)
    assert list(plain.state()["model"]) == list(compiled.state()["model"]), "names without the compiler's prefix"
    assert list(plain.trained().state_dict()) == list(compiled.trained().state_dict())
