"""Trees of stand-ins, written anew as the data sets themselves are distributed, so that their readers read them.

| kind | drawn as | layout below `out` |
|---|---|---|
| facescrub | faces | `facescrub_actors.txt`, `facescrub_actresses.txt`, `actors/images/Identity_00/Identity_00_1.png` |
| toybox | objects | `videos/vehicles/car/car_06_pivothead_rxplus.mp4` and the other five rotations |

A photograph is a face with more around it, and the lists say where the face is. A video shows each image for a third of
a second, at 30 frames a second.
"""

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from blurtrain.data.preparation.readers.toybox_clips import ROTATIONS, TESTED, VALIDATED
from blurtrain.data.video import pyav

DRAWN_AS = {"facescrub": "faces", "toybox": "objects"}
_KINDS_OF_TOYS = {
    **dict.fromkeys(("cat", "duck", "giraffe", "horse"), "animals"),
    **dict.fromkeys(("ball", "cup", "mug", "spoon"), "households"),
}
_TITLES = "name\timage_id\tface_id\turl\tbbox\tsha256\n"
_RATE, _SHOWN = 30, 10  # frames a second, and frames that each image is shown for


def write_raw(kind: str, tree: Path, out: Path) -> None:
    """Write a tree of images (`tree/person/*.png`, `tree/category/object/*.png`) as `kind` below `out`, which is new.

    Raises DataError where there is no PyAV for videos.
    """
    if kind == "facescrub":
        _facescrub(tree, out)
    else:
        _toybox(tree, out)


def _facescrub(tree: Path, out: Path) -> None:
    people = sorted(folder for folder in tree.iterdir() if folder.is_dir())
    face_id = 0
    for group, members in (("actors", people[::2]), ("actresses", people[1::2])):
        rows = [_TITLES]
        for folder in members:
            name = folder.name.replace("_", " ").title()
            file = name.replace(" ", "_")
            photographs = out / group / "images" / file
            photographs.mkdir(parents=True)
            for path in sorted(folder.iterdir()):
                face_id += 1
                photograph = photographs / f"{file}_{face_id + 1000}.png"
                box = ",".join(map(str, _photograph(path, photograph, face_id)))
                digest = hashlib.sha256(photograph.read_bytes()).hexdigest()
                url = f"http://example.org/{file}/{path.name}"
                rows.append(f"{name}\t{face_id + 1000}\t{face_id}\t{url}\t{box}\t{digest}\n")
        (out / f"facescrub_{group}.txt").write_text("".join(rows))


def _photograph(face: Path, out: Path, number: int) -> tuple[int, int, int, int]:
    """Write the face with more around it; returns where it is."""
    with Image.open(face) as image:
        pixels = np.asarray(image.convert("RGB"))
    height, width, _ = pixels.shape
    left, top = number % 7 * width // 14, number % 5 * height // 10
    around = ((top, height // 2 - top), (left, width // 2 - left), (0, 0))
    Image.fromarray(np.pad(pixels, around, "reflect")).save(out, compress_level=1)
    return left, top, left + width, top + height


def _toybox(tree: Path, out: Path) -> None:
    """Objects get the numbers of one that is tested on, one that is validated on, and others."""
    for category in sorted(folder for folder in tree.iterdir() if folder.is_dir()):
        held_out = (TESTED[category.name][0], VALIDATED[0])
        others = (n for n in range(1, 31) if n not in {*TESTED[category.name], *VALIDATED})
        numbers = [*held_out, *others]
        folder = out / "videos" / _KINDS_OF_TOYS.get(category.name, "vehicles") / category.name
        folder.mkdir(parents=True)
        for number, toy in zip(numbers, sorted(category.iterdir()), strict=False):
            images = sorted(toy.iterdir())
            each = math.ceil(len(images) / len(ROTATIONS))
            for k, video in enumerate(ROTATIONS):
                path = folder / f"{category.name}_{number:02d}_pivothead_{video}.mp4"
                write_video(path, images[k * each : (k + 1) * each])


def write_video(path: Path, images: list[Path], shown: int = _SHOWN) -> None:
    """Write a video that shows each image for so many frames, of which there are 30 a second.

    Sides must be even. The codec is MPEG-4, which all builds of FFmpeg have, near its best quality.
    """
    av: Any = pyav()
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("mpeg4", rate=_RATE, options={"qmin": "1", "qmax": "2", "flags": "+bitexact"})
        for place, file in enumerate(images):
            with Image.open(file) as image:
                frame = av.VideoFrame.from_image(image.convert("RGB"))
            if not place:
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
                stream.codec_context.thread_count = 1
            for _ in range(shown):
                frame.pts = None
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
