import numpy as np
import pytest
import torch

from blurtrain.data.catalog import Dataset
from blurtrain.data.loader import FFCVLoader, Loader, ResidentLoader, share_of_rank, training_order
from blurtrain.errors import DataError

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["ffcv", "resident"])
def loader(request: pytest.FixtureRequest, prepared: Dataset) -> Loader:
    return FFCVLoader(prepared, CPU, workers=1) if request.param == "ffcv" else ResidentLoader(prepared, CPU)


def test_every_loader_brings_the_stored_pixels_in_the_order_asked_for(loader: Loader, prepared: Dataset) -> None:
    order = np.random.default_rng(0).permutation(len(prepared.store))[:-1]
    batches = list(loader.epoch(order, 8))
    assert [len(b.indices) for b in batches] == [8] * (len(order) // 8) + [len(order) % 8] * bool(len(order) % 8)
    assert np.array_equal(np.concatenate([b.indices for b in batches]), order)
    pixels = torch.cat([b.images for b in batches]).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(pixels, prepared.store.read(order))
    labels = torch.cat([b.labels for b in batches]).numpy()
    assert np.array_equal(labels, prepared.labels_by_index()[order])


def test_kept_batches_are_not_overwritten_by_later_ones(loader: Loader, prepared: Dataset) -> None:
    """FFCV fills a ring of buffers; a batch that is kept must not change under its owner."""
    order = np.arange(len(prepared.store))
    kept = list(loader.epoch(order, 4))
    for batch in kept:
        stored = torch.from_numpy(prepared.store.read(batch.indices)).permute(0, 3, 1, 2)
        assert torch.equal(batch.images, stored)


def test_an_epoch_may_be_left_early_and_others_follow(loader: Loader) -> None:
    order = np.arange(20)
    for _ in range(3):
        batches = loader.epoch(order, 4)
        assert np.array_equal(next(batches).indices, order[:4])
        batches.close()  # type: ignore[attr-defined]
    assert sum(len(b.indices) for b in loader.epoch(order, 7)) == 20


def test_ffcv_leaves_torchs_threads_alone(prepared: Dataset) -> None:
    before = torch.get_num_threads()
    loader = FFCVLoader(prepared, CPU, workers=2 if before == 1 else 1)
    list(loader.epoch(np.arange(8), 4))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_together_see_the_global_batches_of_a_single_process(world: int) -> None:
    indices = np.arange(1000, 1103)
    everyone = training_order(indices, seed=3, epoch=7, batch_size=20)
    alone = everyone.reshape(5, 20)
    ranks = [share_of_rank(everyone, 20, rank, world).reshape(5, 20 // world) for rank in range(world)]
    assert np.array_equal(np.concatenate(ranks, axis=1), alone)
    assert len(np.unique(alone)) == 100 and set(alone.flat) <= set(indices)
    assert not np.array_equal(alone.ravel(), training_order(indices, 3, 8, 20))


def test_batches_that_cannot_be_shared_or_filled_are_refused() -> None:
    with pytest.raises(DataError, match=r"batch_size=10 .* 3 processes"):
        share_of_rank(np.arange(100), 10, 0, 3)
    with pytest.raises(DataError, match="batch_size=200 is more than the 100"):
        training_order(np.arange(100), 0, 0, 200)
