"""Whether a network goes by shape or by texture, on images that have the shape of one thing and the texture of another
(Geirhos et al., ICLR 2019)."""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from blurtrain.blur.blurs import Blur
from blurtrain.data.image_files import image_files
from blurtrain.device import cores, tf32
from blurtrain.documents import read_yaml
from blurtrain.errors import DataError, SettingsError
from blurtrain.evaluation.measure import Measure
from blurtrain.evaluation.subject import Found, Records, Row, Subject
from blurtrain.models.prediction import BATCH, read
from blurtrain.models.trained import TrainedNetwork
from blurtrain.schema import FileName
from blurtrain.settings import PRESETS

CATEGORIES = PRESETS / "categories" / "entry-level-16.yaml"
LEVEL = "cue-conflict"


@dataclass(frozen=True)
class Conflict:
    """An image, and the categories of its cues."""

    path: Path
    shape: str
    texture: str


class ShapeBias(Measure):
    """Of images in `folder`, named SHAPE/SHAPE1-TEXTURE1.png as those of Geirhos et al.: how often the network decides
    for the category of the shape, how often for that of the texture. Metrics:

    shape, texture, neither: images with such a decision.
    shape_bias: shape / (shape + texture); None where there is neither.

    A category is as probable as the mean of its classes (`pooling=max`: as the likeliest of them); the decision is for
    the most probable category. Only categories of which the network has a class take part, and only images whose two
    cues are such categories, and differ. `categories`: a YAML file {category: [class, ...]}, of classes by name or
    WordNet id; by default the sixteen of Geirhos et al. A class that is called as a category belongs to it.

    Images are resized and cropped as the network wants them; nothing is blurred. Records: `shape`, `texture` and
    `decision` of each image, numbers of the categories in alphabetical order (decision -1: not finite).
    """

    name: ClassVar[str] = "shape-bias"
    of_blurred: ClassVar[bool] = False
    of_classes: ClassVar[bool] = False
    metrics: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "shape_bias": {"label": "shape bias", "unit": "%", "times": 100, "digits": 1, "least": 0, "most": 1},
        "shape": {"label": "shape decisions"},
        "texture": {"label": "texture decisions"},
        "neither": {"label": "neither"},
    }
    folder: FileName
    categories: FileName | None = None
    pooling: Literal["mean", "max"] = "mean"

    def levels(self, blurs: Sequence[Blur]) -> Sequence[str]:
        return [LEVEL]

    @tf32(False)
    def measure(self, subject: Subject, levels: Sequence[str], per_image: bool) -> Found:
        """See `Measure.measure`. Raises DataError where no image of `folder` is of categories that the network knows,
        or one cannot be read."""
        table = categories_in(Path(self.categories) if self.categories else CATEGORIES)
        outputs = outputs_of_categories(subject.network, table)
        names = sorted(outputs)
        images = [c for c in conflicts(Path(self.folder), sorted(table)) if {c.shape, c.texture} <= outputs.keys()]
        if not images:
            raise DataError(
                f"measure shape-bias: folder={self.folder}: has no image whose shape and texture are two of the "
                f"categories that {subject.network.origin} knows: {', '.join(names)}"
            )
        module, group = subject.network.module, subject.group
        mode = module.training
        module.eval()
        own = range(group.rank, len(images), group.world)
        steps = -(-len(images) // (BATCH * group.world))
        found: list[tuple[int, int]] = []
        failed = ""
        with ThreadPoolExecutor(len(cores())) as many:
            for k in range(steps):
                some = own[k * BATCH : (k + 1) * BATCH]
                pixels = list(many.map(lambda i: read(images[i].path, subject.network.preprocessing), some))
                failed = failed or next(
                    (f"{images[i].path}: {p}" for i, p in zip(some, pixels, strict=True) if isinstance(p, str)), ""
                )
                if some and not failed:
                    batch = torch.from_numpy(np.stack([p for p in pixels if not isinstance(p, str)]))
                    chosen = self._decisions(subject.network, batch.permute(0, 3, 1, 2), [outputs[n] for n in names])
                    found += zip(some, chosen, strict=True)
                subject.tick()
        module.train(mode)
        parts = group.gather((found, failed))
        if failed := next((said for _, said in parts if said), ""):
            raise DataError(f"measure shape-bias: {failed}")
        decision = np.array([chosen for _, chosen in sorted(pair for part, _ in parts for pair in part)])
        shape, texture = (np.array([names.index(getattr(c, cue)) for c in images]) for cue in ("shape", "texture"))
        records: Records = {"index": np.arange(len(images)), "shape": shape, "texture": texture, "decision": decision}
        return Found(_rows(shape, texture, decision), {LEVEL: records} if per_image else {})

    def _decisions(self, network: TrainedNetwork, images: torch.Tensor, outputs: Sequence[Sequence[int]]) -> list[int]:
        probabilities = network.predict(images).double()
        of = [probabilities[:, list(own)] for own in outputs]
        each = torch.stack([p.mean(1) if self.pooling == "mean" else p.amax(1) for p in of], dim=1)
        return each.argmax(1).where(probabilities.isfinite().all(1), -1).tolist()


def _rows(shape: NDArray[Any], texture: NDArray[Any], decision: NDArray[Any]) -> list[Row]:
    n, bad = len(decision), int((decision < 0).sum())
    about = {"blur": LEVEL, "sigma": None, "n": n} | ({"not_finite": bad} if bad else {})
    by_shape, by_texture = int((decision == shape).sum()), int((decision == texture).sum())
    bias = by_shape / (by_shape + by_texture) if by_shape + by_texture and not bad else None
    counts = {"shape": by_shape, "texture": by_texture, "neither": n - by_shape - by_texture}
    return [{"metric": "shape_bias", **about, "value": bias}] + [
        {"metric": name, **about, "count": count} for name, count in counts.items()
    ]


def categories_in(file: Path) -> dict[str, list[str]]:
    """Classes by category. Raises SettingsError, one line, where the file holds anything else."""
    document = read_yaml(file)
    for name, classes in document.items():
        if not isinstance(classes, list) or not all(isinstance(one, str) for one in classes):
            raise SettingsError(f"{file}: {name}: must be a list of names of classes, or WordNet ids")
    return document


def outputs_of_categories(network: TrainedNetwork, table: Mapping[str, Sequence[str]]) -> dict[str, list[int]]:
    """The outputs of each category that the network has a class of. Raises SettingsError where these are not two."""
    place: dict[str, set[int]] = {}
    for k, name in enumerate(network.classes):
        for known in {name, *(network.synonyms[k] if network.synonyms else ())}:
            place.setdefault(_plain(known), set()).add(k)
    found = {
        category: sorted({k for name in (category, *classes) for k in place.get(_plain(name), ())})
        for category, classes in table.items()
    }
    known = {category: outputs for category, outputs in found.items() if outputs}
    if len(known) < 2:
        raise SettingsError(
            f"measure shape-bias: {network.origin} has classes of {len(known)} of the {len(table)} categories "
            f"({', '.join(sorted(table))}), and two are needed: name its classes by categories=FILE.yaml"
        )
    return known


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", " ").replace("-", " ")


def conflicts(folder: Path, categories: Sequence[str]) -> list[Conflict]:
    """The images below `folder` whose cues differ, by path. Raises DataError, one line, where there is none, or one is
    called otherwise."""
    where = f"measure shape-bias: folder={folder}"
    if not folder.is_dir():
        raise DataError(f"{where}: no such folder")
    paths = image_files(folder)
    form = re.compile("({0})[0-9]*-({0})[0-9]*".format("|".join(map(re.escape, categories))))
    found = []
    for path in paths:
        cues = form.fullmatch(path.stem)
        if not cues or (len(path.parts) > 1 and path.parent.name != cues[1]):
            raise DataError(
                f"{where}: {path} is not named SHAPE/SHAPE1-TEXTURE1.png, as cat/cat1-bicycle2.png is, after two of "
                f"{', '.join(categories)}"
            )
        found.append(Conflict(folder / path, cues[1], cues[2]))
    different = [one for one in found if one.shape != one.texture]
    if not different:
        raise DataError(f"{where}: of its {len(found)} images none has the texture of another category")
    return different
