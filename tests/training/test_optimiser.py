import itertools

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
