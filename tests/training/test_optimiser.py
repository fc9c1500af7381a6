import itertools
import math

import pytest
import torch

from blurtrain.settings import Optimisation
from blurtrain.training.optimiser import build_optimiser, learning_rate

STUDY = Optimisation(learning_rate=1e-3, epochs=100, warmup_epochs=2, warmup_factor=0.01)


def test_warm_up_is_linear_then_cosine_to_zero() -> None:
    rates = [learning_rate(step, 10, STUDY) for step in range(1000)]
    assert rates[0] == pytest.approx(1e-5)
    assert rates[10] == pytest.approx(1e-3 * (0.01 + 0.99 * 0.5))
    assert rates[20] == pytest.approx(1e-3) == max(rates)
    assert rates[20 + 490] == pytest.approx(0.5e-3)  # half-way through the cosine
    assert 0 < rates[-1] < 1e-8
    assert all(a <= b for a, b in itertools.pairwise(rates[:21]))
    assert all(a >= b for a, b in itertools.pairwise(rates[20:]))


def test_no_warm_up_starts_at_the_peak() -> None:
    assert learning_rate(0, 10, Optimisation(warmup_epochs=0, learning_rate=0.1)) == 0.1


@pytest.mark.parametrize(
    ("epoch", "batch", "rate"),  # 91 batches an epoch, as of 23,488 faces
    [
        (0, 0, 1e-5),  # 0.01 of the peak
        (0, 1, 1.5439560439560441e-5),  # and 0.99 of it in 182 equal steps
        (1, 0, 5.05e-4),
        (1, 90, 9.945604395604396e-4),
        (2, 0, 1e-3),  # then (1 + cos(pi t / 8918)) / 2 of it
        (26, 45, 8.53615659202204e-4),
        (51, 0, 5e-4),
        (99, 90, 3.10245016343913e-11),
    ],
)
def test_rates_of_the_study_at_named_steps(epoch: int, batch: int, rate: float) -> None:
    assert learning_rate(91 * epoch + batch, 91, STUDY) == pytest.approx(rate, rel=1e-6)


def test_rates_are_those_of_torchs_own_schedulers_stepped_per_batch() -> None:
    """As the authors put them together: LinearLR for two epochs, then CosineAnnealingLR to the end of the run."""
    steps, optimiser = 7, torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    warm_up = torch.optim.lr_scheduler.LinearLR(optimiser, start_factor=0.01, total_iters=2 * steps)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=98 * steps)
    both = torch.optim.lr_scheduler.SequentialLR(optimiser, [warm_up, cosine], milestones=[2 * steps])
    for step in range(100 * steps):
        assert learning_rate(step, steps, STUDY) == pytest.approx(both.get_last_lr()[0], rel=1e-6, abs=1e-15)
        optimiser.step()
        both.step()


def test_a_constant_rate_stays_at_the_peak() -> None:
    never = Optimisation(learning_rate=1e-4, learning_rate_schedule="constant", warmup_epochs=0)
    assert {learning_rate(step, 10, never) for step in range(1000)} == {1e-4}
    warmed = STUDY.model_copy(update={"learning_rate_schedule": "constant"})
    rates = [learning_rate(step, 10, warmed) for step in range(1000)]
    assert rates[:20] == [learning_rate(step, 10, STUDY) for step in range(20)]
    assert set(rates[20:]) == {1e-3}


def test_a_cosine_with_a_floor_is_torchs_and_without_one_has_the_same_bits_as_before() -> None:
    floored = STUDY.model_copy(update={"learning_rate_floor": 0.01, "warmup_epochs": 0.0})
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=100 * 7, eta_min=1e-5)
    for step in range(100 * 7):
        assert learning_rate(step, 7, floored) == pytest.approx(cosine.get_last_lr()[0], rel=1e-6)
        optimiser.step()
        cosine.step()
    assert learning_rate(700, 7, floored) == pytest.approx(1e-5)
    for peak, step in itertools.product((1e-3, 0.1, 3e-4), range(14, 700)):
        before = peak * 0.5 * (1 + math.cos(math.pi * ((step - 14) / 686)))
        assert learning_rate(step, 7, STUDY.model_copy(update={"learning_rate": peak})) == before


def test_a_rate_in_steps_is_torchs_stepped_per_epoch_after_the_same_warm_up() -> None:
    stepped = Optimisation(
        learning_rate=0.1, epochs=20, learning_rate_schedule="step", learning_rate_steps=(5, 12), warmup_epochs=2
    )
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    by_epoch = torch.optim.lr_scheduler.MultiStepLR(optimiser, [5, 12], gamma=0.1)
    warmed = STUDY.model_copy(update={"learning_rate": 0.1})
    for epoch in range(20):
        rates = [learning_rate(7 * epoch + batch, 7, stepped) for batch in range(7)]
        if epoch < 2:
            assert rates == [learning_rate(7 * epoch + batch, 7, warmed) for batch in range(7)]
        else:
            assert rates == pytest.approx([by_epoch.get_last_lr()[0]] * 7)
        optimiser.step()
        by_epoch.step()
    halved = stepped.model_copy(update={"learning_rate_steps": (2.5,), "learning_rate_step_factor": 0.5})
    assert [learning_rate(step, 4, halved) for step in (9, 10, 79)] == [0.1, 0.05, 0.05]


@pytest.mark.parametrize("name, kind", [("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)])
def test_optimiser_takes_its_settings(name: str, kind: type) -> None:
    optimiser = build_optimiser(
        torch.nn.Linear(2, 2), Optimisation(optimiser=name, weight_decay=3e-4, learning_rate=0.2, momentum=0.7)
    )
    assert isinstance(optimiser, kind)
    group = optimiser.param_groups[0]
    assert group["weight_decay"] == 3e-4 and group["lr"] == 0.2
    if name == "sgd":
        assert group["momentum"] == 0.7
