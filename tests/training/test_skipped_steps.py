"""Steps whose loss or gradients are NaN or inf: skipped without a trace, or the end of the run."""

import math
from typing import Any

import pytest
import torch
from learners import BATCH, RATE, close, data, learner, poisoned, same, state, tensors, train

from blurtrain.training.batch_norm import SharedBatchNorm

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize(
    "parts",
    [
        {"arithmetic": "float32"},
        {"arithmetic": "bfloat16"},
        {"arithmetic": "float64", "accumulate": 2, "batch_norm_images": 4},
    ],
)
def test_a_bad_batch_that_is_skipped_leaves_no_trace_but_its_count(
    deterministic: None, value: float, optimiser: str, parts: dict[str, Any]
) -> None:
    good, bad = data(6), poisoned(data(7)[6], value)
    trained = learner(optimiser=optimiser, non_finite="skip", **parts)
    train(trained, good[:3])
    before = state(trained)
    assert trained.step(*bad, RATE, 3).tolist() == [0, 0, 0, BATCH]
    assert same(trained.state(), before)
    after = train(trained, good[3:], first=4)
    undisturbed = learner(optimiser=optimiser, non_finite="skip", **parts)
    assert same(train(undisturbed, good)[3:], after) and after[:, 3].sum() == 0
    assert same(trained.state(), undisturbed.state())
    assert isinstance(trained.network.norm, SharedBatchNorm), "torch's own would have taken the bad batch in"


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("arithmetic", ["float32", "float16"])
def test_the_very_first_batch_may_be_the_bad_one(deterministic: None, optimiser: str, arithmetic: str) -> None:
    good, bad = data(4), poisoned(data(1)[0], math.inf)
    parts = {"arithmetic": arithmetic, "optimiser": optimiser, "non_finite": "skip"}
    trained, undisturbed = learner(**parts), learner(**parts)
    assert train(trained, [bad]).tolist() == [[0, 0, 0, BATCH]]
    train(trained, good)
    train(undisturbed, good)
    assert all(torch.isfinite(t).all() for t in tensors(trained.state()["model"]))
    # In float16 the scale has fallen, by which the smallest gradients are rounded otherwise.
    assert close(trained.state()["model"], undisturbed.state()["model"], 0 if arithmetic == "float32" else 1e-4)


@pytest.mark.parametrize("k", [0, 3])
def test_a_bad_batch_that_is_skipped_does_not_move_the_average(k: int) -> None:
    good, bad = data(6), poisoned(data(7)[6], math.inf)
    trained, undisturbed = (learner(ema=0.8, non_finite="skip") for _ in range(2))
    train(trained, [*good[:k], bad, *good[k:]])
    train(undisturbed, good)
    assert same(trained.network.state_dict(), undisturbed.network.state_dict())
    assert same(trained.trained().state_dict(), undisturbed.trained().state_dict())


@pytest.mark.parametrize("non_finite", ["stop", "skip"])
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_float16_leaves_out_steps_whose_gradients_overflow_until_the_scale_has_fallen(
    deterministic: None, optimiser: str, non_finite: str
) -> None:
    trained = learner(arithmetic="float16", optimiser=optimiser, non_finite=non_finite)
    train(trained, data(1))
    high = state(trained)
    high["scaler"]["scale"] = 2.0**34
    trained.load(high)
    before = state(trained)
    assert trained.step(*data(1)[0], RATE, 1).tolist() == [0, 0, 0, BATCH]
    after = state(trained)
    assert (after["scaler"].pop("scale"), after["scaler"].pop("_growth_tracker")) == (2.0**33, 0)
    assert all(same(after[part], before[part]) for part in ("model", "optimiser"))
    sums = train(trained, data(4) * 10, first=2)
    left_out = sums[:, 3] > 0
    assert left_out[0] and not left_out[-10:].any() and trained.scaler and trained.scaler.get_scale() < 2.0**32
    assert sums[-4:, 0].mean() < 0.5 * sums[~left_out][:4, 0].mean()
    assert trained.first_bad == -1, "gradients that overflow are no fault of the loss"


@pytest.mark.parametrize("arithmetic", ["float32", "bfloat16", "float16", "float64"])
@pytest.mark.parametrize("passes", [1, 2])
def test_where_a_bad_loss_is_to_end_the_run_the_first_one_is_named(arithmetic: str, passes: int) -> None:
    batches = list(data(6))
    batches[2] = poisoned(batches[2], math.nan)  # in the second of two passes
    batches[4] = poisoned(batches[4], math.inf)
    trained = learner(arithmetic=arithmetic, accumulate=passes, batch_norm_images=BATCH // passes)
    train(trained, batches[:2], first=10)
    assert trained.first_bad == -1
    train(trained, batches[2:], first=12)
    assert trained.first_bad == 12
