"""Readers: the same images in any layout are the same dataset; what a list says is checked; a user's own is one too."""

import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import blurtrain
from blurtrain.cli import main
from blurtrain.data.dataset import Dataset
from blurtrain.data.decode import decode
from blurtrain.data.tree import scan
from blurtrain.errors import DataError, SettingsError
from jobs.grid import read_grid

COUNT, SIZE = 8, 16


def picture(label: str, k: int) -> bytes:
    """A JPEG of noise, 24 x 18 pixels."""
    pixels = np.random.default_rng([ord(label[0]), k]).integers(0, 256, (18, 24, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=95)
    return content.getvalue()


IMAGES = {(label, f"{label}_{k}.JPEG"): picture(label, k) for label in ("cup", "ball") for k in range(COUNT)}


def listed(root: Path, rows: list[dict[str, Any]], name: str = "images.csv", flat: bool = True) -> Path:
    """A folder of all images, by their number or in class folders, and a table of `rows` that are added to path and
    label."""
    root.mkdir()
    lines = []
    for n, ((label, file), content) in enumerate(IMAGES.items()):
        path = root / (f"in{n % 3}/{file}" if flat else f"{label}/{file}")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        lines.append({"path": path.relative_to(root).as_posix(), "label": label, **(rows[n] if rows else {})})
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(lines), root / name)
    else:
        with (root / name).open("w", newline="") as out:
            table = csv.DictWriter(out, list(lines[0]), delimiter="\t" if name.endswith(".tsv") else ",")
            table.writeheader()
            table.writerows(lines)
    return root


def columns(reverse: bool = False) -> dict[str, list[Any]]:
    order = list(IMAGES.items())[:: -1 if reverse else 1]
    return {
        "image": [{"bytes": content, "path": file} for (_, file), content in order],
        "label": [["ball", "cup"].index(label) for (label, _), _ in order],
    }


FEATURES = {"image": {"_type": "Image"}, "label": {"names": ["ball", "cup"], "_type": "ClassLabel"}}


def saved(root: Path) -> Path:
    """As `save_to_disk` of Hugging Face's `datasets` leaves it: Arrow's stream format, and what is in it."""
    (root / "train").mkdir(parents=True)
    table = pa.table(columns(reverse=True))
    with (
        pa.OSFile(str(root / "data-00000-of-00001.arrow"), "wb") as out,
        pa.ipc.new_stream(out, table.schema) as writer,
    ):
        writer.write_table(table, max_chunksize=5)
    (root / "cache-1234.arrow").write_bytes(b"of a `map` long ago")
    (root / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))
    (root / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    return root


def on_the_hub(root: Path) -> Path:
    """Two Parquet files, in several groups of rows, with the features in their metadata."""
    (root / "data").mkdir(parents=True)
    metadata = {b"huggingface": json.dumps({"info": {"features": FEATURES}}).encode()}
    table = pa.table(columns()).replace_schema_metadata(metadata)
    for k in range(2):
        part = table.slice(k * COUNT, COUNT)
        pq.write_table(part, root / "data" / f"all-0000{k}-of-00002.parquet", row_group_size=3)
    return root


DOCS = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
OWN = next(code for code in DOCS.split("```python\n") if "(Reader)" in code).split("```")[0].replace("*.png", "*.JPEG")
"""The reader that the documentation shows."""


def flat(root: Path) -> Path:
    root.mkdir()
    for (_, file), content in IMAGES.items():
        (root / file).write_bytes(content)
    return root


def prepared(images: Path, data: Path, reader: Any, name: str = "d", **recipe: Any) -> Dataset:
    dataset = blurtrain.prepare(images, name, data, reader=reader, stored=SIZE, resolution=SIZE, **recipe)
    dataset.check()
    return dataset


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return "mine.py:Flat"


# --- identity -------------------------------------------------------------------------------------------------------


def test_the_same_images_are_the_same_dataset_in_any_layout(tmp_path: Path, own: str) -> None:
    layouts = {
        "csv": (listed(tmp_path / "csv", []), "list"),
        "tsv": (listed(tmp_path / "tsv", [], "all.tsv", flat=False), "list table=all.tsv"),
        "parquet": (listed(tmp_path / "parquet", [], "all.parquet"), {"type": "list"}),
        "saved": (saved(tmp_path / "saved"), "hugging-face"),
        "hub": (on_the_hub(tmp_path / "hub"), {"type": "hugging-face", "label": "label"}),
        "own": (flat(tmp_path / "flat"), own),
    }
    found = {name: prepared(root, tmp_path / f"data-{name}", reader) for name, (root, reader) in layouts.items()}
    one = found["csv"]
    assert one.classes == ["ball", "cup"] and one.manifest["counts"] == {"train": 10, "val": 2, "test": 4}
    for name, other in found.items():
        assert other.data_id == one.data_id, name
        same = ("store", "test_store", "counts", "mean", "sd", "classes")
        assert [other.manifest[key] for key in same] == [one.manifest[key] for key in same], name
        every = np.arange(2 * COUNT)
        assert np.array_equal(other.store.read(every), one.store.read(every)), name
        assert all(np.array_equal(other.view[key], one.view[key]) for key in one.view), name
    pixels = one.store.read(np.arange(2 * COUNT))
    for row, stored, label in zip(one.store.rows, pixels, one.labels_by_index(), strict=True):
        own_label, file = row["path"].split("/")
        content = IMAGES[own_label, file]
        assert row["sha256"] == hashlib.sha256(content).hexdigest() and one.classes[label] == own_label
        assert np.array_equal(stored, decode(content, SIZE)), row["path"]


def test_other_bytes_keys_boxes_labels_or_splits_are_other_datasets(tmp_path: Path) -> None:
    def data_id(name: str, **changes: dict[str, Any]) -> str:
        rows = [{"key": f"{n:02d}", "split": "train" if n % 4 else "test"} for n in range(2 * COUNT)]
        boxes = ({**rows[n], "left": 0, "top": 0, "right": 24, "bottom": 18} for n in range(2 * COUNT))
        rows = list(boxes) if "box" in name else rows
        rows[3] |= changes.get("row", {})
        return prepared(listed(tmp_path / name, rows), tmp_path / "data", "list", name).data_id

    plain = data_id("plain")
    assert data_id("again") == plain
    others = [
        data_id("key", row={"key": "03b"}), data_id("split", row={"split": "test"}),
        data_id("label", row={"label": "ball"}), data_id("boxes"), data_id("box", row={"right": 23}),
    ]  # fmt: skip
    assert len({plain, *others}) == 6


def test_a_table_that_has_changed_is_noticed(tmp_path: Path) -> None:
    root = listed(tmp_path / "t", [])
    prepared(root, tmp_path / "data", "list")
    (root / "images.csv").write_text((root / "images.csv").read_text().replace("cup_3.JPEG,cup", "cup_3.JPEG,ball"))
    with pytest.raises(DataError, match=r"was prepared otherwise \(files\): --replace"):
        prepared(root, tmp_path / "data", "list")


# --- what is decoded ------------------------------------------------------------------------------------------------


def test_boxes_are_cut_out_of_images_as_they_are_seen(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    for n in range(4):
        exif = Image.Exif()
        exif[274] = 6  # seen, it is 40 wide and 60 high
        Image.fromarray(np.roll(noise, n, 0)).save(tmp_path / "t" / f"{n}.png", exif=exif)
    boxes = [(0, 0, 16, 16), (24, 44, 40, 60), (5, 7, 37, 39)]
    lines = [
        f"{n}.png,{'ab'[k % 2]},{n}-{k},{','.join(map(str, box))}" for n in range(4) for k, box in enumerate(boxes)
    ]
    (tmp_path / "t" / "t.csv").write_text("\n".join(["path,label,key,left,top,right,bottom", *lines]))
    store = prepared(tmp_path / "t", tmp_path / "data", "list").store
    rows = store.rows
    assert [row["path"] for row in rows[:3]] == ["0-0", "0-1", "0-2"] and rows[1]["part"] == "[24,44,40,60]"
    assert len({row["sha256"] for row in rows}) == 4
    for place, pixels in enumerate(store.read(np.arange(12))):
        n, k = divmod(place, 3)
        seen = Image.fromarray(np.rot90(np.roll(noise, n, 0), -1)).crop(boxes[k])
        assert np.array_equal(pixels, np.asarray(seen.resize((SIZE, SIZE), Image.Resampling.BILINEAR))), rows[place]


def test_what_cannot_be_decoded_is_named_by_its_file_and_reason(tmp_path: Path) -> None:
    extra = {"sha256": "", "left": "", "top": "", "right": "", "bottom": ""}
    rows: list[dict[str, Any]] = [{**extra, "split": "train" if n % 4 else "test"} for n in range(2 * COUNT)]
    rows[1] |= {"sha256": "0" * 64}
    rows[2] |= {"left": 0, "top": 0, "right": 25, "bottom": 18}
    root = listed(tmp_path / "t", rows)
    (root / "in2" / "cup_5.JPEG").unlink()
    with pytest.raises(DataError, match=r"3 of 16 images cannot be decoded \(in\d/cup_\d\.JPEG.*leave them out with"):
        prepared(root, tmp_path / "data", "list")
    dataset = prepared(root, tmp_path / "data", "list", skip_unreadable=True)
    reasons = dataset.manifest["unreadable"]
    digest = hashlib.sha256(IMAGES["cup", "cup_1.JPEG"]).hexdigest()
    assert reasons == {
        "in1/cup_1.JPEG": f"hash differs from the list: its SHA-256 is {digest}",
        "in2/cup_2.JPEG [0,0,25,18]": "box outside the image: [0, 0, 25, 18] in 24 x 18",
        "in2/cup_5.JPEG": "No such file or directory",
    }


# --- settings that work for all -------------------------------------------------------------------------------------


def test_groups_are_held_out_whole_whatever_their_labels(tmp_path: Path) -> None:
    scenes = [{"group": f"scene{n % 5}"} for n in range(2 * COUNT)]
    dataset = prepared(listed(tmp_path / "t", scenes), tmp_path / "data", "list", hold_out="groups", val=0.2, test=0.2)
    view = dataset.view
    splits = [set(view["split"][view["leaf"] == scene].tolist()) for scene in range(5)]
    assert sorted(map(len, splits)) == [1] * 5 and set.union(*splits) == {0, 1, 2}
    shown = dataset.objects("train")
    assert shown is not None and len(np.unique(shown)) == 3
    without = prepared(listed(tmp_path / "u", []), tmp_path / "data", "list", "without")
    assert without.objects("train") is None and set(without.view["leaf"]) == {-1}


def test_recipes_choose_among_what_any_reader_finds(tmp_path: Path) -> None:
    rows = [{"split": "train" if n % 4 else "validation"} for n in range(2 * COUNT)]
    root, data = listed(tmp_path / "t", rows), tmp_path / "data"
    counts = prepared(root, data, "list", "a", splits={"train": "train", "test": "val"}).manifest["counts"]
    assert counts == {"train": 12, "test": 4}
    assert prepared(root, data, "list", "b", train_images=3).manifest["counts"] == {"train": 6, "val": 4}
    some = prepared(root, data, "list", "c", exclude=("*cup_1.JPEG", "*ball_2.JPEG"))
    assert len(some.store) == 14 and some.manifest["left_alone"] == {
        "excluded by *cup_1.JPEG": 1, "excluded by *ball_2.JPEG": 1,
    }  # fmt: skip
    with pytest.raises(DataError, match=r"no file is called like --exclude '\*\.gif'"):
        prepared(root, data, "list", "d", exclude=("*.gif",))
    with pytest.raises(SettingsError, match="label=1 goes with trees of folders"):
        prepared(root, data, "list", "e", label=1)


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "reader", "said"),
    [
        ("fil,label\na.png,x\n", "list", r"has no column 'path'; \(known: fil, label\); --reader 'list path=COLUMN'"),
        ("path,label,split\na.png,x,trian\n", "list", r"t\.csv, row 1: split 'trian' is none of train, val, test"),
        ("path,label\na.png,\n", "list", r"row 1: has no label"),
        ("path,label\n", "list", "lists no images"),
        ("path,label\na/1.png,x\nb/1.png,x\n", "list", "a/1.png and b/1.png have the same name, .*give a column `key`"),
        ("path,label,key\n1.png,x,k\n2.png,x,k\n", "list", "1.png and 2.png have one key, 'k'"),
        ("path,label,split\n1.png,x,train\n2.png,x,\n", "list", r"others have none, e\.g\. 2\.png"),
        ("path,label,left\n1.png,x,3\n", "list", "must be four whole numbers"),
        ("path,label\n1.png,x\n", "list table=u.csv", "u.csv: no such file"),
        ("path,label\n1.png,x\n", "hugging-face", "must hold .arrow or .parquet files, .*; found: 1 .csv"),
    ],
)  # fmt: skip
def test_a_wrong_folder_is_told_what_was_expected(tmp_path: Path, table: str, reader: str, said: str) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "t.csv").write_text(table)
    with pytest.raises(DataError, match=said):
        prepared(tmp_path / "t", tmp_path / "data", reader)
    assert not (tmp_path / "data" / "d").exists()


@pytest.mark.parametrize(
    ("reader", "said"),
    [
        ("lsit", "reader.type: 'lsit' is unknown; did you mean 'list'"),
        ("list tabel=x", "reader.tabel: unknown setting; did you mean 'table'"),
        ({"type": "tree", "label": 1}, "beside `reader`, not in it"),
        ("nothing.py:There", "no file nothing.py"),
    ],
)
def test_a_reader_that_there_is_not_is_told_with_the_nearest(tmp_path: Path, reader: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        prepared(flat(tmp_path / "t"), tmp_path / "data", reader)


SKIPPING = """
from pathlib import Path
from blurtrain.data.preparation.readers import Found, Sample
from mine import Flat

class Some(Flat):
    def samples(self, root: Path) -> Found:
        found = super().samples(root)
        return Found(found.samples, skipped=[("cup_8.JPEG", "no such file"), ("cup_9.JPEG", "no such file")])
"""


def test_what_is_missing_of_a_list_is_counted_and_listed(
    tmp_path: Path, own: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "some.py").write_text(SKIPPING)
    words = ["data", "prepare", str(flat(tmp_path / "t")), "--name", "d", "--data", str(tmp_path / "data")]
    with pytest.raises(SystemExit) as done:
        main([*words, "--stored", "16", "--resolution", "16", "--reader", "some.py:Some until=_"])
    assert done.value.code == 0
    assert "found 16 of 18: 2 no such file; all in " in capsys.readouterr().err
    lines = (tmp_path / "data" / "d" / "skipped.csv").read_text().splitlines()
    assert lines == ["image,reason", "cup_8.JPEG,no such file", "cup_9.JPEG,no such file"]


# --- where it is named ----------------------------------------------------------------------------------------------


def test_grids_name_readers(tmp_path: Path) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text(
        "data: {a: {images: t, reader: {type: list, table: x.csv}}, b: {images: t, reader: list table=x.csv},"
        " c: {images: t, reader: tree}, d: {images: t}}\n"
        "axes: {dataset: [a], regime: [clear], seed: [0]}\n"
    )
    recipes = read_grid(file).data
    assert recipes["a"] == recipes["b"] and recipes["a"].request["reader"]["table"] == "x.csv"
    assert recipes["c"] == recipes["d"] and "reader" not in recipes["c"].request


def test_a_tree_is_looked_at_without_preparing_it(tmp_path: Path) -> None:
    for name in ("cat/1.png", "dog/2.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    assert [(image.file, image.label) for image in scan(tmp_path)] == [("cat/1.png", "cat"), ("dog/2.png", "dog")]
