"""What a network says of image files: its most probable classes, as a table."""

import io
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from blurtrain.data.decode import opened
from blurtrain.data.image_files import image_files
from blurtrain.device import cores
from blurtrain.errors import DataError
from blurtrain.files import publish
from blurtrain.models.trained import Preprocessing, TrainedNetwork

TOP = 5
BATCH = 64


@dataclass(frozen=True)
class Prediction:
    """The classes of one image by falling probability, at most five; or why it cannot be read."""

    path: str
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    error: str = ""


def predict(network: TrainedNetwork, paths: Iterable[Path], within: Path = Path()) -> Iterator[Prediction]:
    """A prediction for each image file, in their order; `within` is the folder that paths are relative to.

    A run prepares its images as it was tested on them: from the file straight to its resolution.
    """
    waiting, many = iter(paths), ThreadPoolExecutor(len(cores()))
    with many:
        while batch := list(islice(waiting, BATCH)):
            pixels = list(many.map(lambda path: read(within / path, network.preprocessing), batch))
            readable = [p for p in pixels if not isinstance(p, str)]
            found = iter(_classes(network, readable))
            for path, image in zip(batch, pixels, strict=True):
                yield (
                    Prediction(str(path), error=image)
                    if isinstance(image, str)
                    else Prediction(str(path), *next(found))
                )


def predict_folder(network: TrainedNetwork, folder: Path) -> list[Prediction]:
    """Of all images below a folder (or of one file), with progress on a terminal.

    Raises DataError where there are none, or none can be read.
    """
    single = folder.is_file()
    paths = [Path(folder.name)] if single else image_files(folder)
    shown = tqdm(paths, desc="predicting", unit="img", disable=None)
    found = list(predict(network, shown, folder.parent if single else folder))
    if all(prediction.error for prediction in found):
        raise DataError(f"{folder}: none of its {len(found)} images can be read; {found[0].path}: {found[0].error}")
    return found


def frame(predictions: Sequence[Prediction]) -> pd.DataFrame:
    """A row an image: path, class1, probability1, ..., class5, probability5 and error ("" if there was none)."""
    most = max((len(p.classes) for p in predictions), default=0)
    rows = []
    for p in predictions:
        row: dict[str, object] = {"path": p.path}
        for k in range(most):
            row[f"class{k + 1}"] = p.classes[k] if p.classes else None
            row[f"probability{k + 1}"] = p.probabilities[k] if p.classes else np.nan
        rows.append({**row, "error": p.error})
    return pd.DataFrame(rows)


def save(predictions: Sequence[Prediction], out: Path) -> None:
    """Publish the table as CSV or Parquet, by the name's ending; raises DataError for another one."""
    table = frame(predictions)
    if out.suffix == ".csv":
        content: str | bytes = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    elif out.suffix == ".parquet":
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
        content = buffer.getvalue()
    else:
        raise DataError(f"--out {out}: must end in .csv or .parquet")
    out.parent.mkdir(parents=True, exist_ok=True)
    publish(out, content)


def read(path: Path, preprocessing: Preprocessing) -> NDArray[np.uint8] | str:
    """The pixels [S, S, 3] of an image file, as the network sees them, or why there are none."""
    try:
        return preprocessing.pixels(opened(path.read_bytes()))
    except OSError as error:
        return error.strerror or str(error)
    except DataError as error:
        return str(error)


def _classes(
    network: TrainedNetwork, images: Sequence[NDArray[np.uint8]]
) -> list[tuple[tuple[str, ...], tuple[float, ...]]]:
    if not images:
        return []
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    best = network.predict(pixels).cpu().topk(min(TOP, len(network.classes)), dim=1)
    return [
        (tuple(network.classes[place] for place in places), tuple(values))
        for places, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
