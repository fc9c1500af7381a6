"""Sizes by the geometric mean of height and width: of photos, masks and training crops, aligned to the pixel."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mask_photos import KEPT, prepared_photos
from numpy.typing import NDArray
from PIL import Image
from raw_layouts import voc
from test_masks import LISTS, SCALED, SHAPES, board, misplaced, transform

from blurtrain.cli import main
from blurtrain.data.dataset import Dataset
from blurtrain.data.decode import resized
from blurtrain.data.mask_crops import training_masks
from blurtrain.data.mask_file import VOID
from blurtrain.errors import DataError
from blurtrain.evaluation.views import groups_at_size
from blurtrain.settings import Loader

SIDES = [(42, 56), (56, 42), (33, 71), (48, 48)]


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Boards that are stored as they are: the geometric mean of their sides is 48 already; one is 2.15:1 and is cut."""
    root = tmp_path_factory.mktemp("boards")
    shapes = zip(SHAPES, SIDES, strict=True)
    pictures = {name: board(*shape, 9, lying=k == 0) for k, (name, shape) in enumerate(shapes)}
    dataset = prepared_photos(voc(root / "t", pictures, LISTS), root / "data", "boards", **KEPT)
    dataset.check()
    return dataset


def test_stored_sides_have_that_mean_and_photos_are_cut_to_the_longest(boards: Dataset) -> None:
    assert boards.store.size == 48 and boards.manifest["side"] == "geometric-mean" and boards.manifest["cropped"] == 1
    assert boards.store.sides.tolist() == [[42, 56], [56, 42], [34, 68], [48, 48]]
    assert boards.store.canvas == (48, 68)
    for photo, mask in boards.pairs("train"):
        assert photo.shape[:2] == mask.shape and misplaced(photo, mask) == 0
    again = boards.evaluation_images("val", 48)
    assert again.pixels == "source" and again.store.size == 48


def test_resizing_is_the_same_whatever_the_source_was_scaled_by() -> None:
    ramp: NDArray[np.uint8] = np.tile(np.arange(200, dtype=np.uint8), (100, 1))
    for source, sides in ((ramp, (34, 68)), (ramp.T, (68, 34)), (ramp[:, :100], (48, 48)), (ramp[:50], (34, 68))):
        pixels, cropped = resized(Image.fromarray(source), 48, 68, geometric=True)
        assert pixels.shape == sides and cropped == (source.shape == (50, 200))
    assert (resized(Image.fromarray(ramp[:50]), 48, 68, geometric=True)[0][:, [0, -1]] // 10 == [5, 14]).all()


@pytest.mark.parametrize("network_scale", [48, 60])
def test_training_crops_and_masks_are_aligned(boards: Dataset, network_scale: int) -> None:
    indices, masks = np.arange(4), boards.masks
    assert masks is not None
    images = torch.from_numpy(boards.store.read(indices)).permute(0, 3, 1, 2)
    scaled = SCALED.model_copy(update={"object_scales": (46, 48), "network_scales": (network_scale,)})
    change, seen = transform(flip=0.5, interpolation="bilinear", scaled=scaled), set()
    change = change.__class__(**{**change.__dict__, "resolution": 32})
    for epoch in range(6):
        shown = change.train(images, indices, epoch, sides=boards.store.sides)
        found = training_masks(change, torch.from_numpy(masks.read(indices)), indices, epoch, boards.store.sides)
        for photo, mask in zip(shown[:, 0].numpy(), found.numpy(), strict=True):
            clear = (abs(photo - 127.5) > 40) & (mask != VOID)
            assert not (clear & ((photo > 127.5) != (mask == 8))).any() and clear.mean() > 0.6
            seen.add(mask.tobytes())
    crops = change.scaled_crops(indices, 0, boards.store.sides, boards.store.size)
    means = np.sqrt(crops.shown.prod(1))
    assert set(np.round(means / (network_scale / 48)).tolist()) <= {46, 48} and len(seen) > 12


def test_evaluation_shows_photos_at_that_size(boards: Dataset) -> None:
    from blurtrain.data.loader import open_loader

    loader = open_loader(Loader(kind="resident", workers=1), boards, torch.device("cpu"))
    (batch,) = loader.epoch(np.arange(4), 4)
    at_own, smaller = transform(), transform()
    for change, side in ((at_own, 48), (smaller, 24)):
        sized = change.__class__(**{**change.__dict__, "resolution": side})
        shapes = {tuple(images.shape[2:]) for _, images in groups_at_size(batch, sized)}
        assert shapes == {(h * side // 48, w * side // 48) for h, w in boards.store.sides.tolist()}


def test_squares_have_no_such_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["data", "prepare", str(tmp_path), "--name", "d", "--data", str(tmp_path), "--side", "geometric-mean"])
    assert done.value.code and "side=geometric-mean goes with aspect=kept" in capsys.readouterr().err


def test_a_store_of_other_sides_is_refused(boards: Dataset, tmp_path: Path) -> None:
    import shutil

    copy = Dataset(Path(shutil.copytree(boards.folder.parent, tmp_path / "data")) / "boards")
    table = copy.store.folder / "images.csv"
    table.write_text(table.read_text().replace(",42,56,", ",46,56,"))
    with pytest.raises(DataError, match="does not give the sides of each image"):
        _ = copy.store.sides
