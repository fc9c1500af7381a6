"""`blurtrain data check`: faults put into small datasets and folders are found, named and counted."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photographs import photograph
from PIL import Image, ImageFilter

from blurtrain.cli import main
from blurtrain.data.checking.duplicates import exact
from blurtrain.data.checking.files import ImageFiles
from blurtrain.data.checking.stored import StoredImages
from blurtrain.data.dataset import Dataset
from blurtrain.data.preparation import Recipe, prepare

Run = Callable[..., tuple[int, Any, str]]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """split/class/object/image.png: in each split 2 classes of 2 objects of 3 images; each object in one split alone.
    Not to be changed."""
    root, seed = tmp_path_factory.mktemp("photographs"), 0
    for split in ("train", "val"):
        for kind in ("cup", "duck"):
            for number in (1, 2):
                folder = root / split / kind / f"{kind}-{split}-{number}"
                folder.mkdir(parents=True)
                for name in "abc":
                    photograph(seed).save(folder / f"{name}.png")
                    seed += 1
    return root


@pytest.fixture
def faulty(clean: Path, tmp_path: Path) -> Path:
    """A copy of `clean` that may be changed."""
    return shutil.copytree(clean, tmp_path / "faulty")


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit code, the document (or text) and stderr of `data check ...`."""

    def run(*words: object, text: bool = False) -> tuple[int, Any, str]:
        with pytest.raises(SystemExit) as ended:
            main(["data", "check", *map(str, words), *([] if text else ["--json"])])
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out if text or not out else json.loads(out), err

    return run


def prepared(folder: Path, root: Path, **settings: Any) -> Dataset:
    recipe = Recipe(images=str(folder), label=1, resolution=64, stored=80, **settings)
    return prepare(root, folder.name, recipe)[0]


def kinds(document: Any, invalidates: bool = True) -> list[str]:
    (one,) = document["checked"]
    return [found["kind"] for found in one["findings"] if found["invalidates"] == invalidates]


def pairs(document: Any, what: str) -> set[tuple[str, str]]:
    (one,) = document["checked"]
    return {(pair["image"], pair["of"]) for row in one["duplicates"] for pair in row[what]}


@pytest.mark.parametrize("stored", [True, False], ids=["dataset", "folder"])
def test_nothing_is_found_where_nothing_is_wrong(clean: Path, tmp_path: Path, check: Run, stored: bool) -> None:
    words: tuple[object, ...] = ("--folder", clean, "--label", 1)
    if stored:
        prepared(clean, tmp_path)
        words = ("--data", tmp_path)
    code, document, _ = check(*words)
    assert code == 0 and document["valid"] and document["checked"][0]["valid"]
    assert kinds(document) == [] and document["checked"][0]["images"] == 24
    assert document["checked"][0]["classes"]["val"]["counts"] == {"cup": 6, "duck": 6}
    assert document["checked"][0]["objects"]["in_several_splits"] == 0
    code, text, _ = check(*words, text=True)
    assert code == 0 and text.splitlines()[-1] == "  verdict: nothing found that makes results invalid"
    assert text.startswith(f"{tmp_path}/{clean.name}: intact (24 images)" if stored else f"{clean}: read (24 images)")


@pytest.mark.parametrize("stored", [True, False], ids=["dataset", "folder"])
def test_duplicates_across_splits_are_found_and_said_to_invalidate_results(
    faulty: Path, tmp_path: Path, check: Run, stored: bool
) -> None:
    train, val = faulty / "train", faulty / "val"
    shutil.copy(train / "cup/cup-train-1/a.png", val / "duck/duck-val-1/copied.png")
    source = Image.open(train / "duck/duck-train-2/b.png")
    source.resize((70, 80)).save(val / "duck/duck-val-2/resized.jpg", quality=40)
    Image.open(train / "cup/cup-train-2/a.png").resize((96, 96), box=(1, 1, 94, 94)).save(
        train / "cup/cup-train-2/x.png"
    )
    words: tuple[object, ...] = ("--folder", faulty, "--label", 1)
    if stored:
        prepared(faulty, tmp_path / "data", duplicates="allowed")
        words = ("faulty", "--data", tmp_path / "data")
    code, document, _ = check(*words)
    assert code == 1 and not document["valid"] and kinds(document) == ["exact", "near"]
    assert pairs(document, "exact") == {("val/duck/duck-val-1/copied.png", "train/cup/cup-train-1/a.png")}
    assert pairs(document, "near") == {("val/duck/duck-val-2/resized.jpg", "train/duck/duck-train-2/b.png")}, (
        "and nothing of those within train"
    )
    (row,) = document["checked"][0]["duplicates"]
    assert not row["exact"][0]["same_class"] and row["near"][0]["same_class"]
    assert document["checked"][0]["under_several_classes"] == [
        ["train/cup/cup-train-1/a.png", "val/duck/duck-val-1/copied.png"]
    ]
    code, text, _ = check(*words, text=True)
    assert "1 of 14 val images are byte for byte images of train, 1 of them under another class" in text
    assert (
        "1 of 14 val images are nearly images of train (hashes within 14 of 64 bits, similarity at least 0.95)" in text
    )
    assert text.splitlines()[-1] == "  verdict: results would be invalid (exact, near)"


def test_two_parts_of_one_file_are_not_the_same_image(faulty: Path, tmp_path: Path) -> None:
    shutil.copy(faulty / "train/cup/cup-train-1/a.png", faulty / "val/cup/cup-val-1/copied.png")
    dataset = prepared(faulty, tmp_path / "data", duplicates="allowed")
    rows = dataset.store.folder / "images.csv"
    with rows.open(newline="") as file:
        listed = list(csv.DictReader(file))
    for parts, found in (([f"at {k}.0 s" for k in range(25)], 0), ([""] * 25, 1), (["at 1.0 s"] * 25, 1)):
        with rows.open("w", newline="") as file:
            table = csv.DictWriter(file, list(dict.fromkeys([*listed[0], "part"])))
            table.writeheader()
            table.writerows(row | {"part": part} for row, part in zip(listed, parts, strict=True))
        assert len(exact(StoredImages(Dataset(dataset.folder), 1, 1).images, "val", "train")) == found


def test_what_is_near_is_a_setting(faulty: Path, check: Run) -> None:
    source = Image.open(faulty / "train/cup/cup-train-1/a.png")
    source.resize((96, 96), box=(1, 1, 93, 93)).save(faulty / "val/cup/cup-val-1/cut.png")
    pair = {("val/cup/cup-val-1/cut.png", "train/cup/cup-train-1/a.png")}
    found = {
        words: pairs(check("--folder", faulty, "--label", 1, *words)[1], "near")
        for words in (("--distance", 15), ("--distance", 0), ("--distance", 15, "--similarity", 0.999))
    }
    assert found == {words: set() for words in found} | {("--distance", 15): pair}


def test_where_there_are_no_splits_duplicates_are_notes(clean: Path, tmp_path: Path, check: Run) -> None:
    folder = shutil.copytree(clean / "train", tmp_path / "all")
    shutil.copy(folder / "cup/cup-train-1/a.png", folder / "cup/cup-train-1/again.png")
    Image.open(folder / "duck/duck-train-1/a.png").save(folder / "duck/duck-train-1/small.jpg", quality=50)
    code, document, _ = check("--folder", folder)
    assert code == 0 and kinds(document, False)[:2] == ["exact", "near"]
    assert pairs(document, "exact") == {("cup/cup-train-1/again.png", "cup/cup-train-1/a.png")}
    assert document["checked"][0]["under_several_classes"] == []
    assert pairs(document, "near") == {("duck/duck-train-1/small.jpg", "duck/duck-train-1/a.png")}


def test_files_that_cannot_be_read_are_named_with_the_reason(faulty: Path, tmp_path: Path, check: Run) -> None:
    (faulty / "train/cup/cup-train-1/empty.jpg").touch()
    (faulty / "val/duck/duck-val-1/page.jpg").write_text("<html></html>")
    whole = (faulty / "val/cup/cup-val-1/a.png").read_bytes()
    (faulty / "val/cup/cup-val-1/cut.png").write_bytes(whole[: len(whole) // 2])
    code, document, _ = check("--folder", faulty, "--label", 1)
    reasons = document["checked"][0]["unreadable"]
    assert code == 1 and kinds(document) == ["unreadable"]
    assert reasons["train/cup/cup-train-1/empty.jpg"] == "empty file"
    assert reasons["val/duck/duck-val-1/page.jpg"] == "no image, by its content"
    assert set(reasons) == {*list(reasons)[:2], "val/duck/duck-val-1/page.jpg"} and len(reasons) == 3
    prepared(faulty, tmp_path / "data", skip_unreadable=True)
    code, document, _ = check("--data", tmp_path / "data")
    assert code == 0 and document["checked"][0]["unreadable"] == reasons, "skipped knowingly: a note"
    assert "unreadable" in kinds(document, False)


def test_objects_missing_classes_and_uneven_ones_are_noted(faulty: Path, tmp_path: Path, check: Run) -> None:
    shutil.rmtree(faulty / "val/duck")
    (faulty / "val/cup/cup-val-1").rename(faulty / "val/cup/cup-train-1")
    (faulty / "val/cup/cup-train-1/a.png").unlink()
    for name in "abc":
        (faulty / f"train/duck/duck-train-1/{name}.png").unlink()
    prepared(faulty, tmp_path / "data")
    code, document, _ = check("--data", tmp_path / "data")
    assert code == 0 and [*kinds(document, False)][:3] == ["classes", "balance", "objects"]
    found = document["checked"][0]
    assert found["classes"]["val"]["missing"] == ["duck"]
    assert found["classes"]["train"]["smallest"] == {"class": "duck", "images": 3}
    assert found["classes"]["train"]["largest"] == {"class": "cup", "images": 6}
    assert found["objects"]["in_several_splits"] == 1 and found["objects"]["objects"] == 4
    assert found["objects"]["shown_in_training"] == {"val": {"images": 2, "of": 5}}


def test_a_split_sharper_than_train_and_enlarged_sources_are_noted(faulty: Path, tmp_path: Path, check: Run) -> None:
    for path in (faulty / "train").rglob("*.png"):
        Image.open(path).filter(ImageFilter.GaussianBlur(1.5)).resize((60, 60)).save(path)
    for path in (faulty / "val").rglob("*.png"):
        Image.open(path).resize((80, 80)).save(path)  # as they are stored, and so not enlarged
    prepared(faulty, tmp_path / "data")
    code, document, _ = check("--data", tmp_path / "data", "--images", 5)
    found = document["checked"][0]
    texts = {one["kind"]: one["text"] for one in found["findings"]}
    assert code == 0 and texts["sharpness"].startswith("val is sharper than train: median reblur 0.")
    assert found["sharpness"]["train"]["images"] == 5
    assert found["sharpness"]["val"]["laplacian"]["median"] > 4 * found["sharpness"]["train"]["laplacian"]["q3"]
    assert texts["sizes"].startswith("5 of 10 source images looked at are smaller than they are stored at 80 px")
    assert found["source_smaller_sides"]["train"] == {
        "looked_at": 5, "smallest": 60, "median": 60.0, "largest": 60, "enlarged": 5,
    }  # fmt: skip
    shutil.rmtree(faulty)
    (gone,) = check("--data", tmp_path / "data")[1]["checked"]
    assert gone["source_smaller_sides"]["train"] == {"looked_at": 0}, "its folder of images is not at hand"


def test_a_damaged_dataset_is_named_and_the_others_are_checked_all_the_same(
    clean: Path, tmp_path: Path, check: Run
) -> None:
    for name in ("one", "two"):
        recipe = Recipe(images=str(clean), label=1, resolution=64, stored={"one": 80, "two": 72}[name])
        dataset, _ = prepare(tmp_path, name, recipe)
        if name == "one":
            _, start, length = dataset.store.extents[3].tolist()
            with dataset.store.beton.open("r+b") as file:
                file.seek(start)
                file.write(bytes(length))
    code, document, _ = check("--data", tmp_path)
    one, two = document["checked"]
    assert code == 1 and not document["valid"] and two["valid"] and not one["valid"]
    assert [found["kind"] for found in one["findings"]] == ["damaged"]
    assert "pixels of image 3 (train/cup/cup-train-2/a.png) are damaged" in one["findings"][0]["text"]
    code, text, _ = check("--data", tmp_path, text=True)
    assert code == 1 and f"{tmp_path}/one: DAMAGED: " in text and f"{tmp_path}/two: intact (24 images)" in text
    assert text.splitlines()[-1] == "1 of 2 datasets have something wrong"


def test_contact_sheets(faulty: Path, tmp_path: Path, check: Run) -> None:
    Image.open(faulty / "train/cup/cup-train-1/a.png").save(faulty / "val/cup/cup-val-1/near.jpg", quality=60)
    code, _, err = check("--folder", faulty, "--label", 1, "--out", tmp_path / "sheets")
    names = ["faulty-near-duplicates.png", "faulty-train.png", "faulty-val.png"]
    assert code == 1 and sorted(path.name for path in (tmp_path / "sheets").iterdir()) == names
    assert sorted(Path(line).name for line in err.splitlines()) == names
    pair = np.asarray(Image.open(tmp_path / "sheets" / names[0]).convert("RGB"), np.int64)
    left, right = pair[6:102, 6:102], pair[6:102, 172:268]
    assert np.abs(right - np.asarray(Image.open(faulty / "train/cup/cup-train-1/a.png"), np.int64)).max() == 0
    assert np.array_equal(left, np.asarray(Image.open(faulty / "val/cup/cup-val-1/near.jpg"))), "side by side"


def test_a_flat_folder_is_checked_without_classes(tmp_path: Path, check: Run) -> None:
    for seed in range(3):
        photograph(seed).save(tmp_path / f"{seed}.png")
    Image.new("RGB", (40, 40), "red").save(tmp_path / "red.png")
    Image.new("RGB", (50, 50), "red").save(tmp_path / "red-too.png")
    code, document, _ = check("--folder", tmp_path)
    assert code == 0 and "classes" not in document["checked"][0] and document["checked"][0]["images"] == 5
    texts = [found["text"] for found in document["checked"][0]["findings"]]
    assert any("2 images of one colour" in text for text in texts)
    assert any(text.startswith("folders are not taken for classes") for text in texts)


def test_files_read_by_several_processes_stay_in_their_order(tmp_path: Path) -> None:
    for number in range(130):
        folder = tmp_path / ("val" if number % 10 == 0 else "train") / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 21 + number, 3), number, np.uint8)).save(folder / f"{number:03}.png")
    (tmp_path / "train/a/062.png").write_bytes(b"")
    source = ImageFiles(tmp_path, most=3, processes=3)
    numbers = [int(Path(path).stem) for path in source.images.paths]
    assert len(numbers) == 129 and source.unreadable == {"train/a/062.png": "empty file"}
    assert source.images.looks.sides[:, 1].tolist() == [21 + number for number in numbers]
    assert [pixels[0, 0, 0] for pixels in source.pixels(np.arange(129))] == numbers


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (("textures", "--folder", "x"), "--folder checks a folder of images; it does not go with names"),
        (("--splits", "train=a"), "--splits goes with --folder"),
        (("--distance", "16"), "--distance must be within 0 and 15, not 16"),
        (("--similarity", "2"), "--similarity must be within -1 and 1, not 2"),
        (("--images", "0"), "--images must be at least 1, not 0"),
        (("--folder", "/nowhere"), "/nowhere: no such folder"),
    ],
)
def test_mistakes_are_one_line(check: Run, words: tuple[str, ...], cause: str) -> None:
    code, out, err = check(*words)
    assert code == 2 and not out and cause in err and len(err.splitlines()) == 1
