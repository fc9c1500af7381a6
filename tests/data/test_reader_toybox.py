"""Toybox: frames of videos, or of folders; blocks of frames or whole objects are held out; what is wrong is listed."""

import shutil
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import blurtrain
from blurtrain.data.dataset import SPLITS, Dataset
from blurtrain.data.encode import Form
from blurtrain.data.preparation.pool import MOST, chunks
from blurtrain.data.preparation.readers.blocks import split_blocks
from blurtrain.data.preparation.readers.toybox import Toybox
from blurtrain.data.preparation.standins.raw import write_raw, write_video
from blurtrain.data.source import Source
from blurtrain.data.video import frame_at
from blurtrain.errors import DataError, SettingsError

av = pytest.importorskip("av")
IMAGES, SIZE = 24, 16  # of each toy: four a video
ROTATIONS = ("rxplus", "rxminus", "ryplus", "ryminus", "rzplus", "rzminus")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cats and three cars: 36 videos of 40 frames, in which each image is seen ten times."""
    folder = tmp_path_factory.mktemp("toybox")
    for toy in range(6):
        name = "cat" if toy < 3 else "car"
        (folder / "tree" / name / f"{name}_{toy}").mkdir(parents=True)
        for k in range(IMAGES):
            tiles = np.random.default_rng([toy, k]).integers(0, 256, (3, 4, 3), dtype=np.uint8)
            image = Image.fromarray(np.kron(tiles, np.ones((8, 8, 1), np.uint8)))
            image.save(folder / "tree" / name / f"{name}_{toy}" / f"{k:02d}.png")
    write_raw("toybox", folder / "tree", folder / "raw")
    return folder / "raw"


@pytest.fixture
def raw(drawn: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "raw"))


INSTANCE = "toybox block=2 val=0.1 test=0.1"


def prepared(images: Path, data: Path, reader: Any, name: str = "t", **recipe: Any) -> Dataset:
    dataset = blurtrain.prepare(images, name, data, reader=reader, stored=SIZE, resolution=SIZE, **recipe)
    dataset.check()
    return dataset


def clips(dataset: Dataset) -> dict[str, dict[int, str]]:
    """The splits of the frames of each video, by number."""
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for index, split in zip(dataset.view["index"], dataset.view["split"], strict=True):
        video, _, number = dataset.store.rows[index]["path"].rpartition("/")
        found[video][int(number)] = SPLITS[split]
    return found


def splits_by_object(dataset: Dataset) -> dict[str, set[str]]:
    found = defaultdict(set)
    for video, frames in clips(dataset).items():
        found[video.split("/")[1]] |= set(frames.values())
    return found


# --- what is read ---------------------------------------------------------------------------------------------------


def test_both_views_are_of_one_store_of_frames_at_the_rate(drawn: Path, tmp_path: Path) -> None:
    instance = prepared(drawn, tmp_path, INSTANCE, "instance")
    category = prepared(drawn, tmp_path, "toybox view=category", "category")
    assert instance.store.folder == category.store.folder and instance.data_id != category.data_id
    assert instance.classes == ["car_01", "car_06", "car_28", "cat_01", "cat_04", "cat_28"]
    assert category.classes == ["car", "cat"]
    rows = instance.store.rows
    assert len(rows) == 6 * IMAGES and rows[5]["path"] == "car/car_01/rxplus/00001"
    pixels = instance.store.read(np.arange(len(rows)))
    for file in sorted(drawn.rglob("*.mp4")):
        category_, number, _, video = file.stem.split("_")
        with av.open(str(file)) as container:
            decoded = list(container.decode(video=0))
        assert len(decoded) == 40
        for k in range(4):
            place = next(
                n for n, r in enumerate(rows) if r["path"] == f"{category_}/{category_}_{number}/{video}/0000{k}"
            )
            seen = Image.fromarray(decoded[10 * k].to_ndarray(format="rgb24"))
            assert np.array_equal(pixels[place], seen.resize((SIZE, SIZE), Image.Resampling.BILINEAR)), rows[place]
            assert rows[place]["part"] == f"at {k / 3:.6f} s"
    assert splits_by_object(category) == {
        "car_01": {"train"}, "car_06": {"test"}, "car_28": {"val"},
        "cat_01": {"train"}, "cat_04": {"test"}, "cat_28": {"val"},
    }  # fmt: skip
    for found in splits_by_object(instance).values():
        assert found == {"train", "val", "test"}
    for frames in clips(instance).values():
        assert all(frames[a] == frames[b] for a, b in pairwise(sorted(frames)) if b == a + 1), (
            "neighbours in two splits"
        )


def test_training_images_a_class_and_lists_of_objects(drawn: Path, tmp_path: Path) -> None:
    listed = tmp_path / "objects.csv"
    listed.write_text("object,split\ncar_01,test\ncat_28,test\ncat_01,validation\ncar_06,val\n")
    reader = {"type": "toybox", "view": "category", "objects": str(listed), "rate": 1.5}
    dataset = prepared(drawn, tmp_path, reader, train_images=7)
    assert dataset.manifest["counts"] == {"train": 14, "val": 24, "test": 24}
    found = splits_by_object(dataset)
    assert {name for name, splits in found.items() if splits == {"test"}} == {"car_01", "cat_28"}
    assert {name for name, splits in found.items() if splits == {"train"}} == {"car_28", "cat_04"}
    for text, said in (
        ("object,split\ncar_02,test\n", "row 1: there is no object 'car_02'; did you mean 'car_"),
        ("object,split\ncar_01,tset\n", "row 1: split 'tset' is none of train, val, test"),
        ("object,split\ncar_01,val\ncar_01,test\n", "row 2: car_01 is in val already"),
        ("name,split\n", "has no column 'object'"),
    ):
        listed.write_text(text)
        with pytest.raises(DataError, match=said):
            Toybox(view="category", objects=str(listed)).samples(drawn)


def samples_of(root: Path, **options: Any) -> list[tuple[Any, ...]]:
    """All but where the files lie, and their bytes."""
    found = sorted(Toybox(block=2, val=0.1, test=0.1, **options).samples(root).samples)
    return [(*sample._replace(file=""), (root / sample.file).read_bytes()) for sample in found]


def test_videos_and_frames_are_the_same_samples_in_other_folders(drawn: Path, tmp_path: Path) -> None:
    flat, by_clip, by_object = tmp_path / "flat", tmp_path / "clips", tmp_path / "objects"
    flat.mkdir()
    for file in drawn.rglob("*.mp4"):
        shutil.copy(file, flat / f"{file.stem.replace('_pivothead', '')}.MP4")
    assert samples_of(flat) == samples_of(drawn)
    for sample in Toybox().samples(drawn).samples:
        _, name, video, number = sample.key.split("/")
        assert sample.time is not None
        frame = frame_at(str(drawn / sample.file), sample.time)
        clip = f"{name}_pivothead_{video}"
        for path in (
            by_clip / "train" / "animals" / f"{name}_pivothead" / clip / f"frame_{number}.png",
            by_object / name / f"{clip}.mp4_{int(number):03d}.png",
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            frame.save(path)
    one = prepared(by_clip, tmp_path / "data", INSTANCE, "clips")
    assert prepared(by_object, tmp_path / "data", INSTANCE, "objects").data_id == one.data_id
    assert [s[0] for s in samples_of(by_clip)] == [s[0] for s in samples_of(drawn)]
    assert len(samples_of(by_clip, every=2)) == 6 * IMAGES / 2


def test_blocks_keep_neighbours_together() -> None:
    """In each video a frame is never next to one of another split, all blocks are whole, and shares are right."""
    for seed in range(20):
        lengths = {f"v{k}": 50 + 7 * k for k in range(6)}
        drawn = split_blocks(lengths, 8, 2, {"val": 0.1, "test": 0.1}, seed)
        held_out = {"val": set(), "test": set()}
        for name, frames in drawn.items():
            assert len(frames) == lengths[name]
            splits = [split for _, split in frames]
            for near in (1, 2):
                pairs = zip(splits, splits[near:], strict=False)
                assert all("" in pair or len(set(pair)) == 1 for pair in pairs), (seed, name)
            for block, split in frames:
                if split in held_out:
                    held_out[split].add((name, block))
            assert splits.count("") <= 4 * 2 * 2
        blocks = sum(len({block for block, _ in frames}) for frames in drawn.values())
        assert {split: len(found) for split, found in held_out.items()} == dict.fromkeys(held_out, round(0.1 * blocks))
    assert drawn != split_blocks(lengths, 8, 2, {"val": 0.1, "test": 0.1}, seed=99)
    with pytest.raises(DataError, match=r"v0 .* 2 blocks of 8 frames are too few to hold 2 out"):
        split_blocks({"v0": 20}, 8, 1, {"val": 0.1, "test": 0.1}, 0)


def test_each_video_is_given_to_one_process_whole() -> None:
    images = [Source(f"{k}.png") for k in range(100)]
    frames = [Source(f"{video}.mp4", time=float(k)) for video in "abc" for k in range(90)]
    few = [Source(f"{video}.avi", time=float(k)) for video in "de" for k in range(3)]
    given = [(source, [Form(16)]) for source in (*images, *frames, *few)]
    shared = [[source for source, _, _ in chunk] for chunk in chunks(given)]
    assert [source for chunk in shared for source in chunk] == [source for source, _ in given]
    for video in "abc":
        assert sum(any(source.path == f"{video}.mp4" for source in chunk) for chunk in shared) == 1
    assert max(map(len, shared)) <= MOST + 90 and len(shared) >= 4


def test_frames_in_their_order_are_decoded_once(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = str(next(drawn.rglob("*.mp4")))
    opened, real = [], av.open
    monkeypatch.setattr(av, "open", lambda path: opened.append(path) or real(path))
    for k in range(40):
        frame_at(file, k / 30)
    assert len(opened) == 1
    frame_at(file, 0.0)
    assert len(opened) == 2
    assert np.array_equal(frame_at(file, 40 / 30), frame_at(file, 39 / 30))
    with pytest.raises(DataError, match=r"has no frame at 1\.4 s: it ends at 1\.33 s"):
        frame_at(file, 1.4)


# --- what is wrong --------------------------------------------------------------------------------------------------


def test_what_is_damaged_missing_or_misnamed_is_listed(raw: Path, tmp_path: Path) -> None:
    cars, cats = raw / "videos" / "vehicles" / "car", raw / "videos" / "animals" / "cat"
    (cars / "car_01_pivothead_rxplus.mp4").write_bytes(b"<html>no</html>")
    (cars / "car_01_pivothead_rxminus.mp4").write_bytes(b"")
    whole = (cars / "car_01_pivothead_ryplus.mp4").read_bytes()
    (cars / "car_01_pivothead_ryplus.mp4").write_bytes(whole[: len(whole) // 2])
    (cars / "car_01_pivothead_rzminus.mp4").unlink()
    (cars / "car_06_pivothead_rzplus.mp4").rename(cars / "car_06_pivothead_rplus.mp4")
    (cars / "car_06_pivothead_rzminus.mp4").rename(cars / "dog_06_pivothead_rzminus.mp4")
    (cars / "car_28_pivothead_rzplus.mp4").rename(cars / "car_31_pivothead_rzplus.mp4")
    (cars / "car_28_pivothead_rzminus.mp4").rename(cars / "clip.mp4")
    shutil.copy(cats / "cat_01_pivothead_rxplus.mp4", cars / "cat_02_pivothead_rxplus.mp4")
    shutil.copy(cats / "cat_01_pivothead_rxplus.mp4", cats / "cat_01_pivothead_tx.mp4")
    with pytest.raises(DataError, match=r"3 of \d+ images cannot be decoded \(videos/vehicles/car/car_01_pivothead_rx"):
        prepared(raw, tmp_path / "data", INSTANCE)
    manifest = prepared(raw, tmp_path / "data", INSTANCE, skip_unreadable=True).manifest
    no_video = "no video: Invalid data found when processing input"
    folder = "videos/vehicles/car"
    assert manifest["unreadable"] == {
        f"{folder}/car_01_pivothead_rxminus.mp4 at 0.000000 s": "empty file",
        f"{folder}/car_01_pivothead_rxplus.mp4 at 0.000000 s": no_video,
        f"{folder}/car_01_pivothead_ryplus.mp4 at 0.000000 s": no_video,
    }
    assert manifest["left_alone"]["of other videos (tx)"] == 1
    skipped = dict(line.rsplit(",", 1) for line in (tmp_path / "data" / "t" / "skipped.csv").read_text().splitlines())
    absent = [name for name, reason in skipped.items() if reason in ("no such object", "no such category")]
    assert len(absent) == 2 * 27 + 10 and {"car_02", "truck"} < {*absent}
    assert {name: reason for name, reason in skipped.items() if name not in absent} == {
        "image": "reason",
        f"{folder}/car_06_pivothead_rplus.mp4": "no video of Toybox",
        f"{folder}/dog_06_pivothead_rzminus.mp4": "no category of Toybox",
        f"{folder}/car_31_pivothead_rzplus.mp4": "no object of Toybox (1-30)",
        f"{folder}/clip.mp4": "not named CATEGORY_NN_pivothead_VIDEO",
        f"{folder}/cat_02_pivothead_rxplus.mp4": "lies in the folder of another object",
        "car_01 rzminus": "no such video",
        "car_06 rzplus": "no such video", "car_06 rzminus": "no such video",
        "car_28 rzplus": "no such video", "car_28 rzminus": "no such video",
    }  # fmt: skip


@pytest.mark.parametrize("fault", ["cut", "zeros", "flipped", "45", "55", "65", "75"])
def test_a_video_that_is_damaged_inside_gives_the_frames_before_that(drawn: Path, tmp_path: Path, fault: str) -> None:
    """The head stands before the frames, as in files that were written to be streamed."""
    images = sorted((drawn.parent / "tree" / "cat" / "cat_0").glob("*.png"))
    write_video(tmp_path / "plain.mp4", images)
    head_first(tmp_path / "plain.mp4", tmp_path / "whole.mp4")
    content = (tmp_path / "whole.mp4").read_bytes()
    at = len(content) * (int(fault) if fault.isdigit() else 60) // 100
    flipped = bytes(255 - x for x in content[at:])
    rest = {
        "cut": b"",
        "zeros": bytes(len(content) - at),
        "flipped": flipped,
        fault if fault.isdigit() else "": flipped[:20] + content[at + 20 :],
    }
    (tmp_path / "damaged.mp4").write_bytes(content[:at] + rest[fault])
    good = 0
    for k in range(IMAGES):
        try:
            frame = frame_at(str(tmp_path / "damaged.mp4"), k / 3)
        except DataError as error:
            assert "damaged" in str(error) or "has no frame at" in str(error)
            break
        assert np.array_equal(frame, frame_at(str(tmp_path / "whole.mp4"), k / 3)), k
        good += 1
    assert 5 < good < IMAGES
    for late in range(good, IMAGES):
        with pytest.raises(DataError):
            frame_at(str(tmp_path / "damaged.mp4"), late / 3)


def head_first(source: Path, out: Path) -> None:
    with av.open(str(source)) as given, av.open(str(out), "w", options={"movflags": "faststart"}) as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)


def test_without_pyav_it_is_said_how_to_install_it(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(
        DataError, match=r"decoded by PyAV, which is not installed: `pip install av` \(or blurtrain\[video\]\)"
    ):
        prepared(drawn, tmp_path, INSTANCE)


def test_a_wrong_folder_or_option_is_told_what_was_expected(raw: Path, drawn: Path, tmp_path: Path) -> None:
    def refused(said: str, root: Path = raw, reader: Any = INSTANCE, error: type[Exception] = DataError) -> None:
        with pytest.raises(error, match=said):
            prepared(root, tmp_path / "data", reader)

    refused("has 30 frames a second, fewer than 60", reader="toybox rate=60")
    refused("holds videos, so that every cannot act", reader="toybox every=2")
    refused(
        "block goes with view=instance, not with view=category",
        reader="toybox view=category block=3",
        error=SettingsError,
    )
    refused("objects goes with view=category", reader="toybox objects=x.csv", error=SettingsError)
    refused("reader.videos", reader="toybox videos=[rxplus,rxpuls]", error=SettingsError)
    refused(
        r"holds 24 \.png, e\.g\. 00\.png, but nothing called like a video of rxplus, .*expected CATEGORY_NN",
        drawn.parent / "tree" / "cat" / "cat_0",
    )
    refused("too few to hold 8 out and train on some; smaller blocks", reader="toybox val=0.6 test=0.6")
    (raw / "cat_01_pivothead_rxplus").mkdir()
    Image.new("RGB", (8, 8)).save(raw / "cat_01_pivothead_rxplus" / "frame_0001.png")
    refused("holds videos .* and frames; name the folder that holds one of them")
