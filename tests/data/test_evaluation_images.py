"""Test stores: images resized once, straight from their source, the right ones under every view, and never unnamed."""

import hashlib
import json
import os
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from blurtrain.data.augment import Transform
from blurtrain.data.dataset import SPLITS, Dataset, EvaluationImages, open_dataset
from blurtrain.data.decode import decode
from blurtrain.data.loader import open_loader
from blurtrain.data.preparation import Recipe, prepare
from blurtrain.errors import DataError
from blurtrain.evaluation.runs import evaluate_run
from blurtrain.run import Run
from blurtrain.settings import Loader, Settings
from blurtrain.training import train as training
from blurtrain.training.train import train

CPU = torch.device("cpu")
Tiny = Callable[..., Settings]


@pytest.fixture
def copy(prepared: Dataset, tmp_path: Path) -> Dataset:
    """A copy of `prepared` that may be damaged."""
    shutil.copytree(prepared.folder.parent, tmp_path / "copy")
    return open_dataset(tmp_path / "copy", prepared.name)


def as_before(dataset: Dataset) -> Dataset:
    """The dataset as it would have been prepared when there were no test stores."""
    assert dataset.test_store
    shutil.rmtree(dataset.test_store.folder)
    manifest = {key: value for key, value in dataset.manifest.items() if key != "test_store"}
    (dataset.folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    return Dataset(dataset.folder)


def files(root: Path) -> dict[str, tuple[int, int]]:
    return {str(p.relative_to(root)): (p.stat().st_ino, p.stat().st_mtime_ns) for p in root.rglob("*") if p.is_file()}


def paths(images: EvaluationImages) -> list[str]:
    return [images.store.rows[k]["path"] for k in images.indices]


def tents(n: int, size: int) -> NDArray[np.float64]:
    """The antialiased bilinear resize from n to `size` pixels, [size, n]: around each pixel's centre a tent as wide as
    the step, or as a source pixel where that is wider."""
    step = n / size
    centres, sources = (np.arange(size) + 0.5) * step, np.arange(n) + 0.5
    weights = np.maximum(0, 1 - np.abs(sources - centres[:, None]) / max(step, 1))
    return weights / weights.sum(1, keepdims=True)


# --- pixels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["prepared", "jpg"])
@pytest.mark.parametrize("split", ["val", "test"])
def test_pixels_are_those_of_the_source_resized_once(
    request: pytest.FixtureRequest, tree: Path, encoding: str, split: str
) -> None:
    dataset: Dataset = request.getfixturevalue(encoding)
    images = dataset.evaluation_images(split, 64)
    assert (images.pixels, images.store.size, images.store.encoding) == ("source", 64, "raw")
    assert paths(images) == [dataset.store.rows[k]["path"] for k in dataset.split(split)[0]]
    for path, label, pixels in zip(paths(images), images.labels, images.store.read(images.indices), strict=True):
        assert path.startswith(dataset.classes[label])
        assert np.array_equal(pixels, decode((tree / path).read_bytes(), 64))
        source = np.asarray(Image.open(tree / path), np.float64)
        height, width, _ = source.shape
        exact = np.einsum("ih,hwc,jw->ijc", tents(height, 64), source, tents(width, 64))
        assert np.abs(pixels - exact).max() <= 1


def test_no_second_resampling_blurs_them(tmp_path: Path, tiny: Tiny) -> None:
    """Bright lines one source pixel wide: their spread is that of one tent, and not of two."""
    (tmp_path / "t" / "a").mkdir(parents=True)
    (tmp_path / "t" / "b").mkdir()
    lines = np.arange(24, 1000, 37)  # 9.25 pixels apart, and so at all phases; sigma is well below that
    source = np.zeros((1024, 1024, 3), np.uint8)
    source[:, lines] = 255
    for k in range(12):
        source[0, 0] = k  # or they would all be of one split
        Image.fromarray(source).save(tmp_path / "t" / "ab"[k % 2] / f"{k}.png", compress_level=1)
    dataset, _ = prepare(tmp_path / "data", "lines", Recipe(images=str(tmp_path / "t"), resolution=256))

    def variance(images: EvaluationImages) -> float:
        transform = Transform.of(tiny(data={"resolution": 256}), dataset)
        pixels = torch.from_numpy(images.store.read(images.indices[:1])).permute(0, 3, 1, 2)
        row = transform.resized(pixels)[0, 0, 128].numpy().astype(float)
        away = np.arange(256) + 0.5 - (lines[:, None] + 0.5) / 4
        near = np.where(np.abs(away) < 4, row, 0)
        return float((near * away**2).sum() / near.sum())

    tent = 1 / 6  # variance of one of half-width 1
    once = variance(dataset.evaluation_images("test", 256))
    assert once == pytest.approx(tent, abs=0.02)
    twice = variance(EvaluationImages(dataset.store, *dataset.split("test"), "stored"))
    assert twice == pytest.approx(tent + tent * (256 / 293) ** 2, abs=0.02)


@pytest.mark.parametrize("kind", ["ffcv", "resident", "pytorch"])
@pytest.mark.parametrize("encoding", ["prepared", "jpg"])
def test_every_loader_brings_them_and_nothing_changes_them(
    request: pytest.FixtureRequest, tree: Path, tiny: Tiny, encoding: str, kind: Any
) -> None:
    dataset: Dataset = request.getfixturevalue(encoding)
    images = dataset.evaluation_images("test", 64)
    loader, transform = open_loader(Loader(kind=kind, workers=2), images, CPU), Transform.of(tiny(), dataset)
    batches = list(loader.epoch(images.indices, 4))
    seen = torch.cat([transform.resized(batch.images) for batch in batches])
    direct = np.stack([decode((tree / path).read_bytes(), 64) for path in paths(images)])
    assert np.array_equal(seen.permute(0, 2, 3, 1).numpy(), direct)
    assert np.array_equal(torch.cat([batch.labels for batch in batches]).numpy(), images.labels)


def test_at_its_own_size_resizing_is_the_identity(prepared: Dataset, tiny: Tiny) -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)).permute(0, 3, 1, 2)
    resized = Transform.of(tiny(), prepared).resized(pixels)
    assert resized.dtype == torch.float32 and torch.equal(resized, pixels.float())
    assert resized.is_contiguous() and resized.data_ptr() != pixels.data_ptr()


# --- which images ---------------------------------------------------------------------------------------------------


def test_where_they_do_not_fit_the_stored_ones_are_used_and_named(prepared: Dataset) -> None:
    for split, resolution in (("train", 64), ("test", 48), ("val", 73)):
        images = prepared.evaluation_images(split, resolution)
        assert (images.pixels, images.store) == ("stored", prepared.store)
        assert [a.tolist() for a in (images.indices, images.labels)] == [a.tolist() for a in prepared.split(split)]


def grow(root: Path) -> Path:
    """SPLIT/KIND/OBJECT/IMAGE.png: noise, and so no two alike."""
    for n, (split, kind, toy) in enumerate((s, k, t) for s in SPLITS for k in ("ball", "cup") for t in "ab"):
        folder = root / split / kind / f"{kind}_{toy}"
        folder.mkdir(parents=True)
        for k in range(4):
            pixels = np.random.default_rng([n, k]).integers(0, 256, (12 + k, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{k}.png")
    return root


def test_views_have_test_stores_of_their_own_and_share_equal_ones(tmp_path: Path) -> None:
    root, source = tmp_path / "data", grow(tmp_path / "toys")

    def view(name: str, **options: Any) -> Dataset:
        dataset, fresh = prepare(root, name, Recipe(images=str(source), stored=16, resolution=14, **options))
        assert fresh
        dataset.check()
        for split in dataset.manifest["counts"]:
            images = dataset.evaluation_images(split, 14)
            assert images.pixels == ("stored" if split == "train" else "source")
            assert paths(images) == [dataset.store.rows[k]["path"] for k in dataset.split(split)[0]]
            for path, label, pixels in zip(
                paths(images), images.labels, images.store.read(images.indices), strict=True
            ):
                assert np.array_equal(pixels, decode((source / path).read_bytes(), images.store.size))
                assert dataset.classes[label] in path.split("/")
            assert np.array_equal(images.labels_by_index()[images.indices], images.labels)
        return dataset

    objects, kinds = view("objects"), view("kinds", label=1)
    assert objects.test_store == kinds.test_store, "the same images, whatever they are called"
    before = files(objects.store.folder)
    other = view("other", label=1, splits={"train": "train", "test": "val"})
    few = view("few", label=1, splits={"train": "val", "val": "train"})
    assert len({d.test_store.folder for d in (objects, other, few) if d.test_store}) == 3
    assert len({d.store.folder for d in (objects, kinds, other, few)}) == 1 and files(objects.store.folder) == before
    none = view("none", label=1, splits={"train": "train"})
    assert none.test_store is None and none.manifest["test_store"] is None
    assert prepare(root, "none", Recipe(**none_recipe(source)))[1] is False


def none_recipe(source: Path) -> dict[str, Any]:
    return {"images": str(source), "stored": 16, "resolution": 14, "label": 1, "splits": {"train": "train"}}


# --- datasets prepared before ---------------------------------------------------------------------------------------


def test_a_dataset_prepared_before_gets_its_test_store_and_keeps_all_else(copy: Dataset, tree: Path) -> None:
    whole = copy.manifest
    old = as_before(copy)
    old.check()
    assert old.test_store is None and old.evaluation_images("test", 64).pixels == "stored"
    kept = files(old.store.folder) | files(old.folder)
    again, fresh = prepare(old.folder.parent, old.name, Recipe(images=str(tree), resolution=64))
    assert fresh and again.manifest == whole
    now = files(old.store.folder) | files(old.folder)
    assert {name for name in now if now[name] != kept[name]} == {"manifest.json"}
    again.check()
    assert again.evaluation_images("test", 64).pixels == "source"
    assert prepare(old.folder.parent, old.name, Recipe(images=str(tree), resolution=64))[1] is False


def test_a_run_is_the_same_run_with_either_and_its_measurements_are_told_apart(
    copy: Dataset, tree: Path, tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = {"root": str(copy.folder.parent)}
    new = train(tiny(data=root), tmp_path / "new")
    assert "resized twice" not in caplog.text
    as_before(copy)
    old = train(tiny(data=root), tmp_path / "old")
    assert "test images are evaluated as resized twice" in caplog.text
    assert old.id == new.id and old.weights.read_bytes() == new.weights.read_bytes()

    def measured(run: Run) -> dict[str, Any]:
        document = json.loads((run.evaluations / run.result()["accuracy"]).read_text())
        del document["content_sha256"]
        (found,) = evaluate_run(run.path, [f"data.root={root['root']}"])
        assert found == document | {"file": run.result()["accuracy"]}, "found again"
        return document

    assert (measured(old)["pixels"], measured(old)["store"]) == ("stored", copy.manifest["store"])
    prepare(copy.folder.parent, copy.name, Recipe(images=str(tree), resolution=64))
    assert (measured(new)["pixels"], measured(new)["store"]) == ("source", copy.manifest["test_store"])
    assert len(list(old.evaluations.glob("*.json"))) == 1
    (again,) = evaluate_run(old.path)
    assert again == measured(new) | {"file": again["file"]}, "of the same weights, beside the one of before"
    assert len(list(old.evaluations.glob("*.json"))) == 2


def test_the_training_store_leaves_memory_before_the_test_store_comes(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaders: list[weakref.ref[Any]] = []

    def opened(*how: Any) -> Any:
        assert [loader() for loader in loaders] == [None] * len(loaders)
        loader = open_loader(*how)
        loaders.append(weakref.ref(loader))
        return loader

    monkeypatch.setattr(training, "open_loader", opened)
    train(tiny(), tmp_path)
    assert len(loaders) == 2


def test_measurements_of_before_are_found_and_named(copy: Dataset, tiny: Tiny, tmp_path: Path) -> None:
    as_before(copy)
    run = train(tiny(data={"root": str(copy.folder.parent)}), tmp_path / "runs")
    path = run.evaluations / run.result()["accuracy"]
    left_out = ("pixels", "store", "rows")
    document = {k: v for k, v in json.loads(path.read_text()).items() if k not in left_out}
    path.unlink()
    rules = {"reference_resolution": 224, "truncate": 4.0, "linear_light": False}
    key = hashlib.sha256(json.dumps([3, "test", [0.0, 8.0], 2, rules, 64]).encode()).hexdigest()[:12]
    levels = [{"sigma": 0.0, "top1": 1, "top5": 9}, {"sigma": 8.0, "top1": 2, "top5": 9}]
    (run.evaluations / f"accuracy-{key}.json").write_text(json.dumps(document | {"levels": levels}))
    (found,) = evaluate_run(run.path)
    assert found["pixels"] == "stored"
    assert [row["count"] for row in found["rows"]] == [1, 9, 2, 9]


# --- what may go wrong ----------------------------------------------------------------------------------------------


def test_damage_is_found(copy: Dataset, tiny: Tiny, tmp_path: Path) -> None:
    store, settings = copy.test_store, tiny(data={"root": str(copy.folder.parent)})
    assert store
    whole = store.beton.read_bytes()
    last = whole.index(store.read(np.array([11])).tobytes())
    store.beton.write_bytes(whole[:last] + bytes([whole[last] ^ 1]) + whole[last + 1 :])
    with pytest.raises(DataError, match=rf"{store.folder.name}/pixels\.beton: pixels of image 11 \(.* are damaged"):
        Dataset(copy.folder).check()
    store.beton.write_bytes(whole[:-1])
    for act in (lambda: Dataset(copy.folder).check(), lambda: train(settings, tmp_path / "runs")):
        with pytest.raises(DataError, match=rf"{store.folder.name}/pixels\.beton: cannot be read"):
            act()
    shutil.rmtree(store.folder)
    with pytest.raises(DataError, match=rf"{store.folder.name}/pixels\.beton: cannot be read: .*prepare the dataset"):
        train(settings, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_lost_test_store_is_made_again(copy: Dataset, tree: Path) -> None:
    assert copy.test_store
    shutil.rmtree(copy.test_store.folder)
    again, fresh = prepare(copy.folder.parent, copy.name, Recipe(images=str(tree), resolution=64))
    assert fresh and again.manifest == copy.manifest
    again.check()


def test_a_test_store_of_other_images_is_found(copy: Dataset) -> None:
    (copy.folder / "manifest.json").write_text(json.dumps(copy.manifest | {"test_store": copy.manifest["store"]}))
    with pytest.raises(DataError, match="does not hold the test images of"):
        Dataset(copy.folder).evaluation_images("test", 64)
    with pytest.raises(DataError, match="holds other images than val and test"):
        Dataset(copy.folder).check()


def test_images_that_changed_since_are_refused(copy: Dataset, tree: Path, tmp_path: Path) -> None:
    """Though their sizes and times are the same."""
    moved = tmp_path / "tree"
    shutil.copytree(tree, moved)
    recipe = Recipe(images=str(moved), resolution=64)
    dataset = as_before(prepare(copy.folder.parent, "moved", recipe)[0])
    picture = moved / paths(dataset.evaluation_images("test", 64))[0]
    times, content = picture.stat(), bytearray(picture.read_bytes())
    content[-1] ^= 1
    picture.write_bytes(content)
    os.utime(picture, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(DataError, match=r"changed since they were stored for training; remove .*/moved, if"):
        prepare(copy.folder.parent, "moved", recipe)
    assert Dataset(dataset.folder).manifest == dataset.manifest
