"""FaceScrub: faces by lists and boxes, or by folders; what is missing or wrong is counted and listed by reason."""

import csv
import hashlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import blurtrain
from blurtrain.cli import main
from blurtrain.data.dataset import Dataset
from blurtrain.data.preparation.readers.facescrub import FaceScrub
from blurtrain.data.preparation.standins.raw import write_raw
from blurtrain.errors import DataError

PEOPLE, FACES, SIZE = 4, 6, 16


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lists and photographs of four people, of noise."""
    folder = tmp_path_factory.mktemp("facescrub")
    for person in range(PEOPLE):
        (folder / "tree" / f"person_{person}").mkdir(parents=True)
        for k in range(FACES):
            pixels = np.random.default_rng([person, k]).integers(0, 256, (20, 14, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "tree" / f"person_{person}" / f"{k}.png")
    write_raw("facescrub", folder / "tree", folder / "raw")
    return folder / "raw"


@pytest.fixture
def raw(drawn: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "raw"))


def rows(root: Path) -> list[dict[str, Any]]:
    """Of both lists, with the path of the photograph."""
    found = []
    for group in ("actors", "actresses"):
        lines = (root / f"facescrub_{group}.txt").read_text().splitlines()
        for row in csv.DictReader(lines, delimiter="\t"):
            file = f"{row['name'].replace(' ', '_')}_{row['image_id']}.png"
            path = f"{group}/images/{row['name'].replace(' ', '_')}/{file}"
            found.append({**row, "path": path, "box": tuple(map(int, row["bbox"].split(",")))})
    return found


def prepared(images: Path, data: Path, reader: Any = "facescrub", name: str = "faces", **recipe: Any) -> Dataset:
    recipe = {"val": 0.2, "test": 0.2, **recipe}
    dataset = blurtrain.prepare(images, name, data, reader=reader, stored=SIZE, resolution=SIZE, **recipe)
    dataset.check()
    return dataset


def pixels_of(dataset: Dataset) -> dict[str, np.ndarray]:
    read = dataset.store.read(np.arange(len(dataset.store)))
    return {row["path"]: image for row, image in zip(dataset.store.rows, read, strict=True)}


def resized(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR))


# --- what is read ---------------------------------------------------------------------------------------------------


def test_faces_are_cut_from_photographs_by_the_lists(raw: Path, tmp_path: Path) -> None:
    dataset = prepared(raw, tmp_path / "data")
    assert dataset.classes == [f"Person {k}" for k in range(PEOPLE)]
    assert dataset.manifest["counts"] == {"train": 16, "val": 4, "test": 4}
    assert dataset.manifest["left_alone"] == {} and "skipped" not in dataset.manifest
    stored, listed = pixels_of(dataset), rows(raw)
    assert len(stored) == len(listed) == PEOPLE * FACES
    digests = {row["path"]: (row["sha256"], row["part"]) for row in dataset.store.rows}
    for row in listed:
        key = f"{row['name']}/{row['image_id']}_{row['face_id']}"
        with Image.open(raw / row["path"]) as photograph:
            assert np.array_equal(stored[key], resized(photograph.crop(row["box"]))), key
        assert digests[key] == (row["sha256"], f"[{row['bbox']}]")


def moved(naming: Callable[[dict[str, Any]], str]) -> Callable[[Path, Path], None]:
    def lay_out(raw: Path, out: Path) -> None:
        for name in ("facescrub_actors.txt", "facescrub_actresses.txt"):
            shutil.copy(raw / name, out / name)
        for row in rows(raw):
            path = out / naming(row)
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(raw / row["path"], path)

    return lay_out


def url_hash(row: dict[str, Any]) -> str:
    return hashlib.sha1(row["url"].encode()).hexdigest()


@pytest.mark.parametrize(
    "naming",
    [
        lambda row: f"photos/{row['name']}_{row['image_id']}.jpeg",
        lambda row: f"FaceScrub/{row['name']}/{row['name']}_{row['face_id']}.jpg",
        lambda row: f"download/{row['name'].replace(' ', '_')}/{url_hash(row)}.jpg",
        lambda row: f"{row['name'].upper()}/{row['image_id']}.png",
    ],
    ids=["flat", "by face, with spaces", "by hash of the url", "numbers alone"],
)
def test_photographs_in_other_layouts_are_the_same_samples(
    drawn: Path, tmp_path: Path, naming: Callable[[dict[str, Any]], str]
) -> None:
    moved(naming)(drawn, tmp_path)
    one, other = FaceScrub().samples(drawn), FaceScrub().samples(tmp_path)
    assert not other.skipped and len(other.samples) == PEOPLE * FACES
    assert [s._replace(file="") for s in other.samples] == [s._replace(file="") for s in one.samples]
    assert [(tmp_path / s.file).read_bytes() for s in other.samples] == [
        (drawn / s.file).read_bytes() for s in one.samples
    ]


def test_photographs_in_another_layout_are_the_same_dataset(drawn: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    moved(lambda row: f"FaceScrub/{row['name']}/{row['name']}_{row['face_id']}.jpg")(drawn, tmp_path / "other")
    one, other = prepared(drawn, tmp_path / "data"), prepared(tmp_path / "other", tmp_path / "data", name="other")
    assert other.data_id == one.data_id and other.store.folder == one.store.folder


def cut(raw: Path, out: Path, naming: Callable[[dict[str, Any]], str]) -> Path:
    """The faces, as downloaders cut them out."""
    for row in rows(raw):
        path = out / naming(row)
        path.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(raw / row["path"]) as photograph:
            photograph.crop(row["box"]).save(path)
    return out


def downloaded(row: dict[str, Any]) -> str:
    name = row["name"].replace(" ", "_")
    return f"{row['path'].partition('/')[0]}/faces/{name}/{name}_{row['image_id']}_{row['face_id']}.png"


def test_folders_of_faces_are_read_with_lists_and_without(raw: Path, tmp_path: Path) -> None:
    faces = cut(raw, tmp_path / "cut", downloaded)
    dataset = prepared(faces, tmp_path / "data")
    stored = pixels_of(dataset)
    for row in rows(raw):
        with Image.open(faces / downloaded(row)) as face:
            assert np.array_equal(stored[f"{row['name']}/{row['image_id']}_{row['face_id']}"], resized(face))
    flat = cut(raw, tmp_path / "flat", lambda row: f"{row['name']} {row['image_id']}_{row['face_id']}.png")
    with_lists = Path(shutil.copytree(faces, tmp_path / "with"))
    moved(lambda row: f"images/{row['name']}/{row['name']}_{row['image_id']}.png")(raw, with_lists)
    (with_lists / downloaded(rows(raw)[0])).unlink()
    assert prepared(flat, tmp_path / "data", name="flat").data_id == dataset.data_id
    again = prepared(with_lists, tmp_path / "data", "facescrub faces=cut", "with")
    assert again.classes == dataset.classes and len(again.store) == PEOPLE * FACES - 1
    assert again.manifest["skipped"] == {"no such file": 1}
    assert all(np.array_equal(image, stored[key]) for key, image in pixels_of(again).items())
    by_boxes = FaceScrub().samples(with_lists)
    assert {sample.key for sample in by_boxes.samples if sample.box} == set(stored)


def test_files_in_peoples_folders_may_be_called_anything(tmp_path: Path) -> None:
    names = ["Ann Lee/IMG_001.jpg", "Ann Lee/photo_1.jpg", "Ann Lee/IMG_2019_07.jpg", "Ann Lee/smile.png"]
    names += ["Bo_Ek/face/001.png", "Bo_Ek/face/Bo Ek_2.png", "Ann Lee/face/Ann_Lee_9.png", "Ann_Lee/face/10_3.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    keys = [sample.key for sample in FaceScrub().samples(tmp_path).samples]
    assert sorted(keys) == ["Ann Lee/10_3", "Ann Lee/9", "Bo Ek/1", "Bo Ek/2"]
    for folder in tmp_path.glob("*/face"):
        shutil.rmtree(folder)
    keys = [sample.key for sample in FaceScrub().samples(tmp_path).samples]
    assert sorted(keys) == ["Ann Lee/IMG_001", "Ann Lee/IMG_2019_07", "Ann Lee/photo_1", "Ann Lee/smile"]


def test_a_photograph_of_two_people_may_lie_in_both_folders(drawn: Path, tmp_path: Path) -> None:
    for name in ("facescrub_actors.txt", "facescrub_actresses.txt"):
        shutil.copy(drawn / name, tmp_path / name)
    one, *_, other = rows(drawn)
    text = (tmp_path / "facescrub_actresses.txt").read_text().replace(other["url"], one["url"])
    (tmp_path / "facescrub_actresses.txt").write_text(text)
    for row in (one, other):
        (tmp_path / row["name"]).mkdir()
        shutil.copy(drawn / row["path"], tmp_path / row["name"] / f"{url_hash(one)}.jpg")
    found = {sample.label: sample.file for sample in FaceScrub().samples(tmp_path).samples}
    assert found == {row["name"]: f"{row['name']}/{url_hash(one)}.jpg" for row in (one, other)}


def test_photographs_beside_their_faces_are_left_alone(raw: Path, tmp_path: Path) -> None:
    both = cut(raw, Path(shutil.copytree(raw, tmp_path / "both")), downloaded)
    for path in both.glob("*.txt"):
        path.unlink()
    found = FaceScrub().samples(both)
    assert found.left_alone == {"photographs, beside the faces that were cut from them": PEOPLE * FACES}
    assert sorted(sample.file for sample in found.samples) == sorted(map(downloaded, rows(raw)))


def test_people_with_few_faces_are_left_out_and_seeds_draw_splits(raw: Path, tmp_path: Path) -> None:
    for row in rows(raw)[:2]:
        (raw / row["path"]).unlink()
    few = prepared(raw, tmp_path / "data", min_images=FACES)
    assert few.classes == ["Person 1", "Person 2", "Person 3"] and len(few.store) == PEOPLE * FACES - 2
    other = prepared(raw, tmp_path / "data", name="other", min_images=FACES, split_seed=1)
    assert other.store.folder == few.store.folder and other.data_id != few.data_id


# --- what is wrong --------------------------------------------------------------------------------------------------


def changed(root: Path, number: int, **cells: str) -> None:
    """Change a row of the list of actors."""
    path = root / "facescrub_actors.txt"
    lines = path.read_text().splitlines()
    titles = lines[0].split("\t")
    row = dict(zip(titles, lines[number].split("\t"), strict=True)) | cells
    lines[number] = "\t".join(row[title] for title in titles)
    path.write_text("\n".join(lines))


def test_what_is_missing_or_wrong_is_counted_and_listed_by_reason(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = rows(raw)
    (raw / listed[0]["path"]).unlink()
    (raw / listed[1]["path"]).write_bytes(b"<html>gone</html>")
    changed(raw, 3, bbox="5,5,15,300")
    changed(raw, 4, sha256="?")
    (raw / listed[4]["path"]).write_bytes((raw / listed[5]["path"]).read_bytes())
    text = (raw / "facescrub_actresses.txt").read_text()
    (raw / "facescrub_actresses.txt").write_text(text + text.splitlines()[1] + "\n")
    words = ["data", "prepare", str(raw), "--name", "d", "--data", str(tmp_path / "data"), "--reader", "facescrub"]
    words += ["--stored", "16", "--resolution", "16"]
    with pytest.raises(SystemExit) as done:
        main(words)
    assert done.value.code == 2
    assert "3 of 22 images cannot be decoded (actors/images/Person_0/" in capsys.readouterr().err
    with pytest.raises(SystemExit) as done:
        main([*words, "--skip-unreadable"])
    said = capsys.readouterr().err
    assert done.value.code == 0
    assert "found 19 of 25: 2 hash differs from the list, 1 line that is not understood, 1 listed before, " in said
    assert "1 no such file, 1 box outside the image; all in " in said
    with (tmp_path / "data" / "d" / "skipped.csv").open() as file:
        assert sorted(csv.reader(file)) == [
            ["Person_0_1001_1", "no such file"],
            ["Person_1_1013_13", "listed before"],
            ["facescrub_actors.txt, line 5", "line that is not understood"],
            ["image", "reason"],
        ]
    reasons = Dataset(tmp_path / "data" / "d").manifest["unreadable"]
    assert reasons[f"{listed[2]['path']} [5,5,15,300]"] == "box outside the image: [5, 5, 15, 300] in 21 x 30"
    digest = hashlib.sha256(b"<html>gone</html>").hexdigest()
    changed_file = next(reason for name, reason in reasons.items() if name.startswith(listed[1]["path"]))
    assert changed_file == f"hash differs from the list: its SHA-256 is {digest}"


def test_files_that_were_saved_anew_are_taken_on_request(raw: Path, tmp_path: Path) -> None:
    path = raw / rows(raw)[0]["path"]
    again = io.BytesIO()
    with Image.open(path) as image:
        image.save(again, "PNG", compress_level=9)
    path.write_bytes(again.getvalue())
    with pytest.raises(DataError, match=r"1 of 24 images cannot be decoded \(.*hash differs from the list"):
        prepared(raw, tmp_path / "data")
    assert len(prepared(raw, tmp_path / "data", "facescrub verify=false").store) == PEOPLE * FACES


def test_a_list_of_corrections_moves_boxes_and_leaves_faces_out(raw: Path, tmp_path: Path) -> None:
    fix = tmp_path / "fix.csv"
    fix.write_text("name,face_id,left,top,right,bottom\nPerson_0,2,3,4,15,19\nperson 2,8,,,,\n")
    dataset = prepared(raw, tmp_path / "data", f"facescrub corrections={fix}")
    assert dataset.manifest["skipped"] == {"left out by fix.csv": 1} and len(dataset.store) == PEOPLE * FACES - 1
    with Image.open(raw / "actors/images/Person_0/Person_0_1002.png") as photograph:
        assert np.array_equal(pixels_of(dataset)["Person 0/1002_2"], resized(photograph.crop((3, 4, 15, 19))))
    for wrong, said in (
        ("name,face_id,left,top,right,bottom\nPerson 0,99,,,,\n", "corrects person 0 99, which no list has"),
        (
            "name,face_id,left,top,right,bottom\nPerson 0,2,3,,15,19\n",
            "row 1: face_id and left, top, right, bottom must",
        ),
        ("name,face,left,top,right,bottom\n", "has no column 'face_id'; did you mean 'face'"),
    ):
        fix.write_text(wrong)
        with pytest.raises(DataError, match=said):
            prepared(raw, tmp_path / "data", f"facescrub corrections={fix}", "wrong")


def test_a_wrong_folder_is_told_what_was_found_and_expected(raw: Path, tmp_path: Path) -> None:
    def refused(said: str, root: Path = raw, reader: str = "facescrub") -> None:
        with pytest.raises(DataError, match=said):
            prepared(root, tmp_path / "data", reader)

    refused("holds no list of FaceScrub, .*expected facescrub_actors.txt", raw / "actors", "facescrub faces=boxes")
    first = raw / rows(raw)[0]["path"]
    shutil.copy(first, first.with_suffix(".jpg"))
    refused(r"Person_0_1001\.jpg and .*Person_0_1001\.png are called alike; which is it\?")
    first.with_suffix(".jpg").unlink()
    changed(raw, 0, sha256="hash")
    refused("facescrub_actors.txt: has no column 'sha256'; did you mean 'hash'")
    shutil.copytree(raw / "actors", tmp_path / "numbers")
    (tmp_path / "numbers" / "facescrub_actresses.txt").write_bytes((raw / "facescrub_actresses.txt").read_bytes())
    refused(
        r"12 images, e\.g\. .*, but none is called like one of the 12 faces of facescrub_actresses.txt; expected",
        tmp_path / "numbers",
    )
