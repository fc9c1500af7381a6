"""Loaders: the same order and pixels from each, raw or JPEG; what hangs or dies becomes an error that names it."""

import gc
import io
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from blurtrain.data import jpeg
from blurtrain.data.dataset import Dataset, open_dataset
from blurtrain.data.loader import Loader, ResidentLoader, open_loader, part_of_rank, training_order
from blurtrain.errors import DataError
from blurtrain.settings import Loader as Settings

reader_ffcv = pytest.importorskip("blurtrain.data.reader_ffcv", reason="needs FFCV")

CPU = torch.device("cpu")
KINDS = ("ffcv", "resident", "pytorch")


def opened(dataset: Dataset, kind: str, **options: Any) -> Any:
    return open_loader(Settings(kind=kind, **{"workers": 2, **options}), dataset, CPU)


@pytest.fixture(scope="module", params=["raw", "jpg"])
def dataset(request: pytest.FixtureRequest) -> Dataset:
    return request.getfixturevalue({"raw": "prepared", "jpg": "jpg"}[request.param])


@pytest.fixture(scope="module", params=KINDS)
def loader(request: pytest.FixtureRequest, dataset: Dataset) -> Loader:
    return opened(dataset, request.param)


@pytest.fixture
def copy(prepared: Dataset, tmp_path: Path) -> Dataset:
    """A copy of `prepared` that may be damaged."""
    shutil.copytree(prepared.folder.parent, tmp_path / "copy")
    return open_dataset(tmp_path / "copy", prepared.name)


# --- what is brought ------------------------------------------------------------------------------------------------


def test_every_loader_brings_the_stored_pixels_in_the_order_asked_for(loader: Loader, dataset: Dataset) -> None:
    order = np.random.default_rng(0).permutation(len(dataset.store))[:-1]
    batches = list(loader.epoch(order, 8))
    assert [len(b.indices) for b in batches] == [8] * (len(order) // 8) + [len(order) % 8] * bool(len(order) % 8)
    assert np.array_equal(np.concatenate([b.indices for b in batches]), order)
    pixels = torch.cat([b.images for b in batches])
    assert (pixels.dtype, pixels.shape) == (torch.uint8, (len(order), 3, 73, 73))
    assert all(b.images.is_contiguous(memory_format=torch.channels_last) for b in batches)
    assert np.array_equal(pixels.permute(0, 2, 3, 1).numpy(), dataset.store.read(order))
    labels = torch.cat([b.labels for b in batches]).numpy()
    assert np.array_equal(labels, dataset.labels_by_index()[order])


def test_kept_batches_are_not_overwritten_by_later_ones(loader: Loader, dataset: Dataset) -> None:
    """Readers fill the same memory again; a batch that is kept must not change under its owner."""
    kept = list(loader.epoch(np.arange(len(dataset.store)), 4))
    for batch in kept:
        assert torch.equal(batch.images, torch.from_numpy(dataset.store.read(batch.indices)).permute(0, 3, 1, 2))


def test_images_may_come_twice_and_an_order_may_be_empty(loader: Loader, dataset: Dataset) -> None:
    order = np.array([7, 3, 7, 7, 41, 0])
    images = torch.cat([b.images for b in loader.epoch(order, 4)])
    assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), dataset.store.read(order))
    assert list(loader.epoch(order[:0], 4)) == []


@pytest.mark.parametrize("batches", [4, 5, 12])
def test_an_epoch_may_be_left_early_and_leaves_nothing_behind(loader: Loader, batches: int) -> None:
    threads = set(threading.enumerate())
    order = np.arange(3 * batches)
    for _ in range(3):
        epoch = loader.epoch(order, 3)
        assert np.array_equal(next(epoch).indices, order[:3])
        epoch.close()
        assert not multiprocessing.active_children()
    assert sum(len(b.indices) for b in loader.epoch(order, 7)) == len(order)
    deadline = time.monotonic() + 5
    while left := [t for t in threading.enumerate() if t not in threads and t.name != "QueueFeederThread"]:
        assert time.monotonic() < deadline, left
    assert not multiprocessing.active_children()


def test_random_states_threads_and_signals_are_left_alone(loader: Loader) -> None:
    def state() -> tuple[Any, ...]:
        random = torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()
        return *random, torch.get_num_threads(), signal.getsignal(signal.SIGCHLD)

    before = state()
    list(loader.epoch(np.arange(12), 4))
    assert state() == before


def test_memory_does_not_grow_with_epochs(loader: Loader, dataset: Dataset) -> None:
    order = np.tile(np.arange(len(dataset.store)), 4)

    def resident_bytes_after(epochs: int) -> int:
        for _ in range(epochs):
            for _ in loader.epoch(order, 32):
                pass
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before, after = resident_bytes_after(5), resident_bytes_after(10)
    assert after - before < 2 * len(order) * 73 * 73 * 3  # two epochs' pixels, while ten have gone by


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_cut_short_is_refused_before_it_is_mapped(copy: Dataset, kind: str) -> None:
    os.truncate(copy.store.beton, copy.store.beton.stat().st_size // 2)
    with pytest.raises(DataError, match=r"pixels\.beton: cannot be read: has \d+ bytes in place of \d+; prepare"):
        opened(open_dataset(copy.folder.parent, copy.name), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_another_machines_jpeg_decoder_is_found_out(jpg: Dataset, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def accurate(content: bytes) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(content)))

    if kind == "ffcv":
        brought = reader_ffcv.FFCVReader.batches
        wrong = lambda *a: (pixels ^ 1 for pixels in brought(*a))  # noqa: E731
        monkeypatch.setattr(reader_ffcv.FFCVReader, "batches", wrong)
    else:
        monkeypatch.setattr(jpeg, "decode", accurate)
    with pytest.raises(DataError, match=r"JPEG decoder gives other pixels than were prepared; try another"):
        opened(jpg, kind)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_together_see_the_global_batches_of_a_single_process(world: int) -> None:
    indices = np.arange(1000, 1103)
    everyone = training_order(indices, seed=3, epoch=7, batch_size=20)
    alone = everyone.reshape(5, 20)
    ranks = [part_of_rank(everyone, 20, rank, world).reshape(5, 20 // world) for rank in range(world)]
    assert np.array_equal(np.concatenate(ranks, axis=1), alone)
    assert len(np.unique(alone)) == 100 and set(alone.flat) <= set(indices)
    assert not np.array_equal(alone.ravel(), training_order(indices, 3, 8, 20))


def test_batches_that_cannot_be_shared_or_filled_are_refused() -> None:
    with pytest.raises(DataError, match=r"batch_size=10 .* 3 processes"):
        part_of_rank(np.arange(100), 10, 0, 3)
    with pytest.raises(DataError, match="batch_size=200 is more than the 100"):
        training_order(np.arange(100), 0, 0, 200)


# --- what fails on the way ------------------------------------------------------------------------------------------


def broken(loader: Any, harm: Callable[[], None], order: np.ndarray | None = None) -> str:
    """Take a batch, do harm, and go on; returns the error's message, which must be one line and leave nothing."""
    epoch = loader.epoch(np.tile(np.arange(42), 20) if order is None else order, 8)
    next(epoch)
    harm()
    with pytest.raises(DataError) as caught:
        for _ in epoch:
            pass
    assert not multiprocessing.active_children()
    message = str(caught.value)
    assert "\n" not in message and "pixels.beton: " in message
    return message


def worker() -> int:
    return int(multiprocessing.active_children()[0].pid or 0)


def test_a_killed_worker_is_told(prepared: Dataset) -> None:
    loader = opened(prepared, "pytorch")
    message = broken(loader, lambda: os.kill(worker(), signal.SIGKILL))
    assert "loader.kind=pytorch: worker " in message
    assert message.endswith("was killed by SIGKILL (out of memory?)")
    assert len(list(loader.epoch(np.arange(42), 8))) == 6


def test_a_killed_worker_is_told_also_where_another_data_loader_has_been(prepared: Dataset) -> None:
    before = signal.getsignal(signal.SIGCHLD)
    list(torch.utils.data.DataLoader([0, 1], num_workers=1))  # leaves a handler that raises wherever one happens to be
    try:
        test_a_killed_worker_is_told(prepared)
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_worker_that_hangs_is_told(prepared: Dataset) -> None:
    began = time.monotonic()
    loader = opened(prepared, "pytorch", stalled_seconds=1)
    message = broken(loader, lambda: os.kill(worker(), signal.SIGSTOP))
    assert message.endswith(
        "loader.kind=pytorch: gave nothing for 1 s: is the file system stalled? (loader.stalled_seconds may be raised)"
    )
    assert time.monotonic() - began < 30
    assert len(list(loader.epoch(np.arange(42), 8))) == 6


def test_what_a_worker_cannot_read_is_told(copy: Dataset) -> None:
    length = copy.store.beton.stat().st_size
    message = broken(opened(copy, "pytorch"), lambda: os.truncate(copy.store.beton, 10_000))
    assert "ends before image" in message
    os.truncate(copy.store.beton, length)
    message = broken(opened(copy, "pytorch"), lambda: None, np.repeat([0, 99], 8))
    assert "loader.kind=pytorch: a worker raised IndexError: index 99 is out of bounds" in message


def test_workers_leave_it_to_their_parent_to_heed_signals(prepared: Dataset) -> None:
    order = np.tile(np.arange(42), 20)
    epoch = opened(prepared, "pytorch").epoch(order, 8)
    next(epoch)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        for process in multiprocessing.active_children():
            os.kill(int(process.pid or 0), number)
    assert sum(len(b.indices) for b in epoch) == len(order) - 8


def test_what_ffcvs_thread_raises_is_told(
    prepared: Dataset, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no such page")

    loader = opened(prepared, "ffcv", workers=64)  # more than there are cores, which FFCV would refuse
    with monkeypatch.context() as patch:
        message = broken(loader, lambda: patch.setattr(reader_ffcv._Epoch, "run_pipeline", fail))
    assert message.endswith("loader.kind=ffcv: FFCV's reader raised ValueError: no such page")
    assert "Traceback" not in capfd.readouterr().err
    assert len(list(loader.epoch(np.arange(42), 8))) == 6


def test_an_ffcv_that_hangs_is_told(prepared: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()
    loader = opened(prepared, "ffcv", stalled_seconds=0.5)
    with monkeypatch.context() as patch:
        message = broken(loader, lambda: patch.setattr(reader_ffcv._Epoch, "run_pipeline", lambda *_: free.wait()))
    free.set()
    assert "loader.kind=ffcv: gave nothing for 0.5 s: is the file system stalled?" in message
    assert len(list(loader.epoch(np.arange(42), 8))) == 6


@pytest.mark.parametrize("index", [42, -1])
def test_ffcv_is_not_asked_for_images_that_are_not_there(prepared: Dataset, index: int) -> None:
    with pytest.raises(IndexError):
        list(opened(prepared, "ffcv").epoch(np.array([0, index]), 2))


END = """
import os, signal, sys, numpy as np, torch
from multiprocessing import active_children
from pathlib import Path
from blurtrain.data.dataset import open_dataset
from blurtrain.data.loader import open_loader
from blurtrain.settings import Loader

torch.set_num_threads(2)
dataset = open_dataset(Path(sys.argv[1]), sys.argv[2])
epochs = []
for kind in ("pytorch", "ffcv"):
    loader = open_loader(Loader(kind=kind, workers=2), dataset, torch.device("cpu"))
    epochs.append(loader.epoch(np.tile(np.arange(42), 20), 8))
    next(epochs[-1])
print(*(child.pid for child in active_children()), torch.get_num_threads())
for child in active_children():
    os.kill(child.pid, signal.SIGSTOP)
sys.exit(3)
"""


@pytest.mark.slow
def test_a_process_ends_with_epochs_unfinished_and_workers_hanging(prepared: Dataset) -> None:
    command = [sys.executable, "-c", END, str(prepared.folder.parent), prepared.name]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert process.returncode == 3, process.stderr
    *workers, threads = map(int, process.stdout.split())
    assert len(workers) == 2 and not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert threads == 2  # torch's own, which importing FFCV and its epochs would have changed


def test_the_resident_loader_needs_the_disk_no_more(copy: Dataset) -> None:
    loader, expected = ResidentLoader(copy, CPU), copy.store.read(np.arange(8))
    copy.store.beton.unlink()
    (batch,) = loader.epoch(np.arange(8), 8)
    assert np.array_equal(batch.images.permute(0, 2, 3, 1).numpy(), expected)
