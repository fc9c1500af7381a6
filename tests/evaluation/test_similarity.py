"""Hamming distance, cosine and linear CKA of activations that come in batches, against NumPy on the whole."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from blurtrain.evaluation.similarity import Centred, Comoment, cosine, differing, linear_cka, products

CPU = torch.device("cpu")
Array = NDArray[np.float64]


def whole(a: Array, b: Array) -> float:
    """Kornblith et al. (2019), features x features."""
    a, b = a - a.mean(0), b - b.mean(0)
    return float(np.sum((b.T @ a) ** 2) / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)))


def comoments(a: Array, b: Array, *ends: int) -> list[Comoment]:
    """a with b, a with itself, b with itself; in batches that end at these rows."""
    found = [Comoment(a.shape[1], CPU) for _ in range(3)]
    for start, end in zip((0, *ends), (*ends, len(a)), strict=True):
        x, y = (Centred.of(torch.from_numpy(own[start:end]).float()[None, None]) for own in (a, b))
        for part, pair in zip(found, ((x, y), (x, x), (y, y)), strict=True):
            part.add(*pair)
    return found


@pytest.fixture
def pair() -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(600, 6)) @ rng.normal(size=(6, 6))
    return a, np.maximum(a @ rng.normal(size=(6, 6)) + 0.5 * rng.normal(size=(600, 6)), 0)


@pytest.mark.parametrize("ends", [(), (1, 2, 300), (599,)])
def test_cka_is_that_of_the_whole_whatever_the_batches(pair: tuple[Array, Array], ends: tuple[int, ...]) -> None:
    assert linear_cka(*comoments(*pair, *ends)) == pytest.approx(whole(*pair), abs=1e-5)
    assert 0.05 < whole(*pair) < 0.95


@pytest.mark.parametrize("offset", [0, 100, -3000])
def test_cka_does_not_change_with_offset_scale_or_rotation(pair: tuple[Array, Array], offset: float) -> None:
    a, b = pair
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    assert linear_cka(*comoments(a + offset, 1e-3 * b @ rotation, 200)) == pytest.approx(whole(a, b), abs=2e-3)
    assert linear_cka(*comoments(a, a @ rotation * 7 + offset, 200)) == pytest.approx(1, abs=1e-5)


def test_cka_where_nothing_varies(pair: tuple[Array, Array]) -> None:
    a, _ = pair
    constant, zero = np.full_like(a, 0.1), np.zeros_like(a)
    assert linear_cka(*comoments(constant, zero, 200)) == linear_cka(*comoments(zero, zero)) == 1
    assert linear_cka(*comoments(a, constant, 200)) == linear_cka(*comoments(zero, a, 200)) == 0
    one = np.where(np.arange(600)[:, None] == 7, 1e-3, 0) * np.ones(6)
    assert linear_cka(*comoments(one, 5 * one, 200)) == pytest.approx(1, abs=1e-5)


def test_cka_of_many_examples_and_few_channels() -> None:
    """Where sums of float32 would be off by 1e-4."""
    a = np.maximum(np.random.default_rng(0).normal(size=(200_000, 4)), 0)
    b = np.maximum(a + 0.1 * np.random.default_rng(1).normal(size=a.shape), 0) + 3
    assert linear_cka(*comoments(a, b, 100_001)) == pytest.approx(whole(a, b), abs=3e-6)


def test_processes_add_up_to_the_whole(pair: tuple[Array, Array]) -> None:
    """Three, one of which has no example."""
    a, b = pair
    processes = [comoments(a[:200] + 5, b[:200], 50), [Comoment(6, CPU) for _ in range(3)], comoments(a[200:], b[200:])]
    whole_a = np.concatenate([a[:200] + 5, a[200:]])
    found = []
    for parts in zip(*processes, strict=True):
        tensors: list[list[torch.Tensor]] = [[], [], []]
        # What each process would sum depends on sums before: once to record, then with the sums known.
        sums: list[torch.Tensor] = []
        while len(sums) < 4:
            for own, part in zip(tensors, parts, strict=True):
                own.clear()
                copy = Comoment(6, CPU)
                copy.n, copy.mean_a, copy.mean_b, copy.sum = part.n, part.mean_a, part.mean_b, part.sum.clone()
                known = iter(sums)
                copy.add_up(lambda tensor, own=own, known=known: (own.append(tensor), next(known, tensor))[1])  # type: ignore[misc]
            sums.append(torch.stack([own[len(sums)] for own in tensors]).sum(0))
        known = iter(sums)
        parts[1].add_up(lambda _, known=known: next(known))  # type: ignore[misc]
        assert parts[1].n == 600
        found.append(parts[1])
    assert linear_cka(*found) == pytest.approx(whole(whole_a, b), abs=1e-5)


@pytest.mark.parametrize("channels", [1, 7, 8, 96, 2040, 2048])
def test_differing_channels_are_counted(channels: int) -> None:
    rng = np.random.default_rng(channels)
    a, b = rng.random((2, 2, 3, 4, channels)) > 0.5
    a[0, 0, 0], b[0, 0, 0] = True, False  # all of them
    count = differing(torch.from_numpy(a), torch.from_numpy(b))
    assert (count.numpy() == (a != b).sum(-1)).all() and count[0, 0, 0] == channels


def test_cosine_of_each_image() -> None:
    a = torch.zeros(4, 2, 2, 3)
    b = torch.zeros(4, 2, 2, 3)
    a[0, 0, 0, 0], b[0, 0, 0, 0], b[0, 0, 0, 1] = 2, 3, 3
    a[1, 1, 1, 2], b[1, 1, 1, 2] = 1e-3, 1e3
    a[2, 0, 0, 0] = 1
    found = cosine(products(a, b), products(a, a), products(b, b))
    assert found.tolist() == pytest.approx([0.5**0.5, 1, 0, 1])
