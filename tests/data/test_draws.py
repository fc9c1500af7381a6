"""Counter-based random numbers: a function of (seed, epoch, index, stream) and of nothing else."""

import numpy as np
import pytest

from blurtrain.data.draws import batch_draws, curriculum_draws, shuffled, uniform

INDICES = np.arange(1000)


def test_a_draw_depends_on_its_own_counters_only() -> None:
    whole = uniform(3, 5, INDICES, 4)
    assert whole.shape == (1000, 4)
    chosen = np.random.default_rng(0).permutation(INDICES)[:100]
    assert np.array_equal(uniform(3, 5, chosen, 4), whole[chosen])
    assert np.array_equal(uniform(3, 5, np.array([17, 17]), 4), whole[[17, 17]])
    assert np.array_equal(uniform(3, 5, INDICES, 9)[:, :4], whole)
    assert uniform(3, 5, INDICES[:0], 4).shape == (0, 4)


def test_known_values() -> None:
    """Never to change: the same seed would otherwise train another network."""
    assert uniform(0, 0, np.array([0, 1]), 2).tolist() == [
        [0.1826605802663317, 0.006706152252188069],
        [0.3095154427036765, 0.9778995808907499],
    ]
    assert uniform(2**32 - 1, 99, np.array([1_281_166]), 3).tolist() == [
        [0.86664989179201, 0.27252990427358137, 0.6459989913046275]
    ]
    assert shuffled(0, 0, np.arange(10)).tolist() == [8, 2, 6, 1, 7, 3, 4, 0, 9, 5]
    assert shuffled(1, 7, np.arange(100, 108)).tolist() == [103, 107, 100, 106, 102, 105, 101, 104]
    assert curriculum_draws(1, 7, np.array([5, 900, 31])).tolist() == [
        0.18831392891854382,
        0.7563778580422339,
        0.10608372791715892,
    ]
    assert batch_draws(1, 7, 3).tolist() == [0.1462039468305203, 0.7013531251936395, 0.5986734203390682]


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_draws_are_uniform(seed: int) -> None:
    draws = uniform(seed, 0, np.arange(20_000), 5)
    assert draws.min() >= 0
    assert draws.max() < 1
    # Five standard errors: 0.2887 / sqrt(20000) = 0.002.
    assert np.abs(draws.mean(axis=0) - 0.5).max() < 0.0102
    assert np.abs(draws.var(axis=0) - 1 / 12).max() < 0.003
    counts = np.stack([np.histogram(stream, 20, (0, 1))[0] for stream in draws.T])
    assert (((counts - 1000) ** 2).sum(axis=1) / 1000 < 55).all()  # chi-squared, 19 degrees: p = 2e-5


def test_neighbours_are_independent() -> None:
    def correlation(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])

    indices = np.arange(20_000)
    draws = uniform(1, 1, indices, 4)
    pairs = {
        "indices": (draws[1:], draws[:-1]),
        "streams": (draws[:, 1:], draws[:, :-1]),
        "epochs": (draws, uniform(1, 2, indices, 4)),
        "seeds": (draws, uniform(2, 1, indices, 4)),
        "seed and epoch": (draws, uniform(0, 1, indices, 4)),
        "swapped counters": (uniform(1, 2, indices, 4), uniform(2, 1, indices, 4)),
    }
    for name, (a, b) in pairs.items():
        assert abs(correlation(a, b)) < 5 / np.sqrt(a.size), name


def test_no_two_draws_are_the_same() -> None:
    draws = np.concatenate([uniform(seed, epoch, INDICES, 4).ravel() for seed in (0, 1) for epoch in (0, 1, 2)])
    assert len(np.unique(draws)) == len(draws)


def test_shuffled_is_a_permutation_that_differs_by_seed_and_epoch() -> None:
    orders = [shuffled(seed, epoch, INDICES) for seed in (0, 1) for epoch in (0, 1)]
    assert all(np.array_equal(np.sort(order), INDICES) for order in orders)
    for k, order in enumerate(orders):
        # Two random orders of 1000 agree in one place on average.
        assert all((order == other).sum() < 10 for other in [INDICES, *orders[:k]])


def test_shuffled_does_not_depend_on_the_order_it_is_given() -> None:
    chosen = np.array([5, 900, 31, 7, 12])
    assert np.array_equal(shuffled(2, 3, chosen), shuffled(2, 3, chosen[::-1]))


def test_shuffled_keeps_the_order_of_a_subset() -> None:
    order = shuffled(2, 3, INDICES)
    assert np.array_equal(shuffled(2, 3, INDICES[::7]), order[order % 7 == 0])


def test_the_order_has_nothing_to_do_with_the_draws() -> None:
    rank = np.argsort(shuffled(0, 0, np.arange(20_000)))
    draws = uniform(0, 0, np.arange(20_000), 3)
    assert np.abs(np.corrcoef(rank, draws.T)[0, 1:]).max() < 5 / np.sqrt(20_000)


def test_a_batch_draws_for_itself() -> None:
    """The draw of a step is a function of seed, epoch and step, uniform, and has nothing to do with other draws."""
    draws = batch_draws(3, 5, 20_000)
    assert np.array_equal(batch_draws(3, 5, 100), draws[:100])
    assert draws.min() >= 0 and draws.max() < 1
    assert abs(draws.mean() - 0.5) < 5 * 0.2887 / np.sqrt(20_000)
    counts = np.histogram(draws, 20, (0, 1))[0]
    assert ((counts - 1000) ** 2).sum() / 1000 < 55  # chi-squared, 19 degrees: p = 2e-5
    steps = np.arange(20_000)
    for other in (
        batch_draws(3, 6, 20_000),
        batch_draws(4, 5, 20_000),
        np.roll(draws, 1),
        curriculum_draws(3, 5, steps),
        *uniform(3, 5, steps, 3).T,
    ):
        assert abs(np.corrcoef(draws, other)[0, 1]) < 5 / np.sqrt(20_000)
