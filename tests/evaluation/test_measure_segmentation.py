"""mIOU, confusion and boundaries, beside computations of their own; the same by any number of processes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import torch
from evaluators import run as evaluate_in_processes
from mask_photos import KEPT, prepared_photos, settings, tree
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from blurtrain.cli import main
from blurtrain.data.boundaries import near_boundaries
from blurtrain.data.dataset import Dataset
from blurtrain.evaluation.arrays import read_arrays
from blurtrain.evaluation.measures.segmentation import summary
from blurtrain.models.trained import of_run
from blurtrain.tasks.segmentation import VOID, confusion
from blurtrain.training.train import train

Mask = NDArray[np.uint8]
NAMES = ("ground", "cat", "person", "cow")


def patches(seed: int) -> Mask:
    """A mask of rectangles of four classes and void, one over the other."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((40, 57), np.uint8)
    for value in (1, 2, VOID, 3, 0, 1, VOID):
        top, left = rng.integers(0, 35), rng.integers(0, 50)
        mask[top : top + rng.integers(1, 20), left : left + rng.integers(1, 20)] = value
    return mask


def near(mask: Mask, void_is_a_class: bool, distance: float = 4) -> NDArray[np.bool_]:
    """By the Euclidean distance to the nearest pixel of each other class (SciPy)."""
    found = np.zeros(mask.shape, bool)
    for value in np.unique(mask):
        if value != VOID or void_is_a_class:
            found |= (distance_transform_edt(mask != value) <= distance) & (mask != value)
    return found & (mask != VOID)


def test_boundaries_are_those_of_a_distance_transform() -> None:
    for seed in range(12):
        mask = patches(seed)
        found = near_boundaries(mask)
        assert all(np.array_equal(one, near(mask, void)) for one, void in zip(found, (False, True), strict=True))
    line = np.zeros((1, 20), np.uint8)
    line[0, 10:] = 1
    assert np.flatnonzero(near_boundaries(line)[0]).tolist() == [*range(6, 14)], "four on either side"
    line[0, 8:12] = VOID
    class_near, any_near = near_boundaries(line)
    assert not class_near.any(), "the next pixel of another class is five away"
    assert np.flatnonzero(any_near).tolist() == [4, 5, 6, 7, 12, 13, 14, 15]
    assert not np.stack(near_boundaries(np.full((9, 9), 3, np.uint8))).any()


def counted(predicted: Mask, mask: Mask, classes: int = 4) -> NDArray[np.int64]:
    """A confusion matrix, pixel by pixel."""
    found = np.zeros((classes, classes), np.int64)
    for taken, label in zip(predicted.ravel().tolist(), mask.ravel().tolist(), strict=True):
        if label != VOID:
            found[label, taken] += 1
    return found


def test_confusion_and_iou_are_those_of_sets_of_pixels() -> None:
    mask = patches(1)
    mask[mask == 3] = 0
    predicted = np.random.default_rng(0).integers(0, 4, mask.shape).astype(np.uint8)
    found = confusion(torch.from_numpy(predicted), torch.from_numpy(mask), 4).numpy()
    assert np.array_equal(found, counted(predicted, mask)) and found.sum() == (mask != VOID).sum()
    values = summary(np.stack([found, found, np.zeros_like(found)]), NAMES)
    ious = []
    for k, name in enumerate(NAMES[:3]):
        taken, labelled = (predicted == k) & (mask != VOID), mask == k
        ious.append((taken & labelled).sum() / (taken | labelled).sum())
        assert values[f"iou.{name}"] == pytest.approx(ious[-1], rel=1e-12)
    assert values["iou.cow"] is None and values["absent"] == 1, "no pixel is one, though many are taken for it"
    assert values["miou"] == values["boundary_miou"] == pytest.approx(np.mean(ious), rel=1e-12)
    assert values["pixel_accuracy"] == pytest.approx((predicted == mask).sum() / (mask != VOID).sum(), rel=1e-12)
    assert values["trimap_miou"] is None, "there is no such pixel"


# --- of runs --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["square", "kept"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Dataset]:
    root = tmp_path_factory.mktemp("masks")
    recipe = KEPT if request.param == "kept" else {}
    dataset = prepared_photos(tree(root / "t", void=1), root / "data", request.param, **recipe)
    return train(settings(dataset), root / "runs").path, dataset


def rows(document: dict[str, Any], blur: str) -> dict[str, float | None]:
    return {row["metric"]: row["value"] for row in document["rows"] if row["blur"] == blur}


def test_a_run_is_measured_as_by_hand(run: tuple[Path, Dataset]) -> None:
    folder, dataset = run
    result = json.loads((folder / "result.json").read_text())
    assert "accuracy" not in result and result["headline"].startswith("mIOU ") and "(n = 5)" in result["headline"]
    file = folder / "evaluations" / result["measured"]
    document, arrays = json.loads(file.read_text()), read_arrays(file.with_suffix(".npz"))
    assert {row["n"] for row in document["rows"]} == {5} and document["measure"] == "segmentation"
    network, whole = of_run(folder), np.zeros((3, 21, 21), np.int64)
    for photo, mask in dataset.pairs("val", side=32 if dataset.squared else 48):
        pixels = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None]
        assert dataset.squared or abs(np.sqrt(mask.size) - 48) < 0.6
        with torch.no_grad():
            logits = network.module(network.preprocessing.normalised(pixels))
        predicted = logits[0].argmax(0).numpy()
        for k, at in enumerate((mask != VOID, near(mask, False), near(mask, True))):
            whole[k] += counted(predicted, np.where(at, mask, VOID).astype(np.uint8), 21)
    found = arrays["sharp"]
    for name, own in zip(("confusion", "boundary_confusion", "trimap_confusion"), whole, strict=True):
        assert np.array_equal(found[name], own), name
    expected = summary(whole, dataset.classes)
    assert rows(document, "sharp") == expected and expected["absent"] == 18
    assert rows(document, "disk-8")["miou"] not in (None, expected["miou"])


def test_processes_and_records_count_the_same(run: tuple[Path, Dataset], tmp_path: Path) -> None:
    folder, _ = run
    words = [folder, "evaluation.sigmas=[]", "evaluation.blurs=[disk-4@224]", "--deblur", "wiener", "--json"]
    found = evaluate_in_processes([*words, "evaluation.batch_size=2"], tmp_path / "two", ranks=2)
    assert [code for code, _ in found] == [0, 0], found
    two = {path.name: path.read_bytes() for path in (folder / "evaluations").glob("segmentation-*.json")}
    arrays = {p.name: read_arrays(p) for p in (folder / "evaluations").glob("segmentation-*.npz")}
    for path in (folder / "evaluations").glob("segmentation-*"):
        path.unlink()
    documents = []
    for deblur in ([], ["--deblur", "wiener"]):
        with pytest.raises(SystemExit) as done:
            main(["evaluate", *map(str, [*words[:3], *deblur]), "evaluation.per_image=true"])
        assert not done.value.code
    again = {path.name: json.loads(path.read_bytes()) for path in (folder / "evaluations").glob("segmentation-*.json")}
    assert len(again) == 2, "with and without deblurring"
    for name, document in again.items():
        level = rows(document, "disk-4")
        assert level
        assert level == rows(json.loads(two[name]), "disk-4")
        documents.append(level)
        one = read_arrays((folder / "evaluations" / name).with_suffix(".npz"))["disk-4"]["confusion"]
        assert np.array_equal(one, arrays[f"{name.removesuffix('.json')}.npz"]["disk-4"]["confusion"])
        table = pyarrow.parquet.read_table((folder / "evaluations" / name).with_suffix(".parquet")).to_pandas()
        assert len(table) == 5 and one.diagonal().tolist() == [table[f"right.{k}"].sum() for k in range(21)]
        assert one.sum(1).tolist() == [table[f"labelled.{k}"].sum() for k in range(21)]
    assert documents[0] != documents[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--measure", "calibration"],
            "measure calibration: is not of networks for task=segmentation, which give masks",
        ),
        (
            ["evaluation.protocol={defined_at: 48, scales: [40]}"],
            "evaluation.protocol: networks for masks are shown all ",
        ),
    ],
)
def test_what_does_not_fit_is_told_in_a_line(
    run: tuple[Path, Dataset], words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as done:
        main(["evaluate", str(run[0]), *words])
    err = capsys.readouterr().err.strip()
    assert done.value.code and said in err and "Traceback" not in err and len(err.splitlines()) == 1, err
