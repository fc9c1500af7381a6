"""Pixels that are not those that were prepared: nothing is trained on them to a result, and nothing measured."""

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from processes import Training, codes, run

from blurtrain.data import pixel_check
from blurtrain.data.dataset import Dataset, open_dataset
from blurtrain.data.preparation import Recipe, prepare
from blurtrain.data.store import PixelStore
from blurtrain.errors import DataError
from blurtrain.evaluation import evaluate
from blurtrain.run import Run
from blurtrain.settings import Settings
from blurtrain.training.train import train

Tiny = Callable[..., Settings]


@pytest.fixture
def copy(prepared: Dataset, tmp_path: Path) -> Dataset:
    """A copy of `prepared` that may be damaged."""
    shutil.copytree(prepared.folder.parent, tmp_path / "copy")
    return open_dataset(tmp_path / "copy", prepared.name)


def zero(store: PixelStore, image: int, share: float = 1) -> None:
    """As a copy that was cut short, or a power cut, leaves it: zeros, and a file of the right size."""
    _, start, length = store.extents[image].tolist()
    with store.beton.open("r+b") as file:
        file.seek(start)
        file.write(bytes(int(share * length)))


def on(tiny: Tiny, dataset: Dataset, **overrides: object) -> Settings:
    return tiny(data={"root": str(dataset.folder.parent)}, optimisation={"epochs": 1, "warmup_epochs": 0}, **overrides)


def refused(tiny: Tiny, dataset: Dataset, store: PixelStore, image: int, runs: Path) -> None:
    message = rf"{store.beton}: pixels of image {image} \(.*\) are damaged; .*`blurtrain data prepare \.\.\. --replace`"
    with pytest.raises(DataError, match=message):
        train(on(tiny, dataset), runs)
    assert not runs.exists(), "nothing is written"


@pytest.mark.parametrize("image", [0, 41])
def test_zeroed_pixels_are_not_trained_on_until_they_are_prepared_again(
    tiny: Tiny, copy: Dataset, tmp_path: Path, image: int
) -> None:
    recipe = Recipe(images=copy.manifest["request"]["source"], resolution=64)
    zero(copy.store, image)
    refused(tiny, copy, copy.store, image, tmp_path / "runs")
    assert not prepare(copy.folder.parent, copy.name, recipe)[1], "without --replace, what is there is not looked at"
    again, fresh = prepare(copy.folder.parent, copy.name, recipe, replace=True)
    assert fresh and again.data_id == copy.data_id
    assert not prepare(copy.folder.parent, copy.name, recipe, replace=True)[1], "nothing to replace any more"
    assert train(on(tiny, again), tmp_path / "runs").result()


def test_zeroed_images_of_the_test_split_are_neither_published_nor_measured(
    tiny: Tiny, copy: Dataset, tmp_path: Path
) -> None:
    done = train(on(tiny, copy), tmp_path / "runs")
    before = {path: path.read_bytes() for path in done.evaluations.iterdir() if path.suffix}
    store = copy.test_store
    assert store
    zero(store, 5)
    with pytest.raises(DataError, match=r"pixels of image 5 .* are damaged"):
        evaluate(done.path, blurs=[4])
    assert {path: path.read_bytes() for path in done.evaluations.iterdir() if path.suffix} == before
    refused(tiny, copy, store, 5, tmp_path / "others")


@pytest.mark.parametrize("has_checksums", [True, False], ids=["by their bytes", "of before their bytes had a checksum"])
def test_a_damaged_jpeg_is_not_trained_on(tiny: Tiny, tree: Path, tmp_path: Path, has_checksums: bool) -> None:
    recipe = Recipe(images=str(tree), resolution=64, encoding="jpg")
    dataset, _ = prepare(tmp_path / "data", "textures", recipe)
    rows = dataset.store.folder / "images.csv"
    lines = rows.read_text().splitlines()
    assert lines[0] == "path,sha256,crc32,encoded"
    if not has_checksums:
        rows.write_text("".join(line.rsplit(",", 1)[0] + "\n" for line in lines))
    assert [*dataset.store.checked_images()] == [*range(42)]
    _, start, length = dataset.store.extents[7].tolist()
    with dataset.store.beton.open("r+b") as file:
        file.seek(start + length // 2)
        byte = file.read(1)[0]
        file.seek(start + length // 2)
        file.write(bytes([byte ^ 4]))
    with pytest.raises(DataError, match=r"image 7 .*damaged"):
        train(on(tiny, dataset), tmp_path / "runs")


def test_a_list_of_images_that_was_cut_short_is_found(tiny: Tiny, copy: Dataset, tmp_path: Path) -> None:
    rows = copy.store.folder / "images.csv"
    whole = rows.read_text()
    for damaged in (whole[: len(whole) // 2], "", "\0" * len(whole)):
        rows.write_text(damaged)
        with pytest.raises(DataError, match=r"images\.csv: does not list each image|damaged"):
            train(on(tiny, open_dataset(copy.folder.parent, copy.name)), tmp_path / "runs")


def test_a_store_is_read_again_only_when_it_has_changed(
    tiny: Tiny, copy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(on(tiny, copy), tmp_path / "runs")
    pixel_check._known.clear()  # as in another process
    checked: list[str] = []
    original = PixelStore.checked_images

    def counted(store: PixelStore, first: int = 0, every: int = 1) -> Iterator[int]:
        checked.append(store.folder.name)
        return original(store, first, every)

    monkeypatch.setattr(PixelStore, "checked_images", counted)
    train(on(tiny, copy, seed=1), tmp_path / "runs")
    assert checked == []
    copy.store.beton.touch()
    train(on(tiny, copy, seed=2), tmp_path / "runs")
    assert checked == [copy.store.folder.name]


@pytest.mark.parametrize("damaged", [True, False])
def test_nothing_is_saved_before_a_large_store_has_been_checked(
    tiny: Tiny, copy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    """The check goes on beside the training, and here ends only when that waits for it."""
    monkeypatch.setattr(pixel_check, "SMALL", 0)
    waited, join, original = threading.Event(), threading.Thread.join, PixelStore.checked_images

    def joined(thread: threading.Thread, timeout: float | None = None) -> None:
        if thread.name == "pixel check" and not waited.is_set():
            (there,) = (path for path in (tmp_path / "runs").iterdir())
            assert not list((there / "checkpoints").iterdir()), "although saves were due at every step"
            waited.set()
        join(thread, timeout)

    def slow(store: PixelStore, first: int = 0, every: int = 1) -> Iterator[int]:
        assert waited.wait(60)
        return original(store, first, every)

    monkeypatch.setattr(threading.Thread, "join", joined)
    monkeypatch.setattr(PixelStore, "checked_images", slow)
    settings = on(
        tiny,
        copy,
        checkpoints={"every_minutes": 0, "keep_epochs": [1]},
        validation={"keep_best": "loss", "every_epochs": 1},
    )
    if not damaged:
        assert train(settings, tmp_path / "runs").result()
        return
    zero(copy.store, 30, share=0.1)
    with pytest.raises(DataError, match=r"pixels of image 30 .* are damaged"):
        train(settings, tmp_path / "runs")
    (one,) = (Run(path) for path in (tmp_path / "runs").iterdir())
    assert not list(one.checkpoints.iterdir()) and not list(one.evaluations.iterdir())
    assert not one.weights.exists() and not one.best.exists() and one.result() is None
    assert [*one.journal()][-1]["event"] == "failed"


@pytest.mark.slow
def test_each_process_finds_what_its_peer_has_found(tiny: Tiny, copy: Dataset, tmp_path: Path) -> None:
    zero(copy.store, 1)  # of the share of rank 1
    settings = on(tiny, copy, loader={"threads": 1})
    ended = run(*[Training(settings, tmp_path / "runs")] * 2)
    assert codes(ended) == [2, 2]
    assert all("pixels of image 1 " in words.splitlines()[-1] for _, words in ended)
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").glob("*-*"))


def test_as_many_images_are_checked_by_the_processes_of_a_host_together(prepared: Dataset) -> None:
    shares = [[*prepared.store.checked_images(place, 3)] for place in range(3)]
    assert np.sort(np.concatenate(shares)).tolist() == [*range(42)]
