"""How far the activations inside a network stay the same when images are blurred (Vasiljevic et al. 2016, Fig. 4)."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from blurtrain.blur.blur import Blur
from blurtrain.blur.blurs import Sharp
from blurtrain.blur.cores import keep_freed_memory
from blurtrain.data.batches import Batch
from blurtrain.device import tf32
from blurtrain.errors import SettingsError
from blurtrain.evaluation.compared import Compared, Outcome, Reference
from blurtrain.evaluation.measure import Measure
from blurtrain.evaluation.squares import Squares
from blurtrain.evaluation.subject import Found, Row, Subject
from blurtrain.evaluation.sweep import sigma_of
from blurtrain.models.activations import Reader, Stage, reading, stages_of

NUMBERS = 2**26
"""Images go through the network as many at a time as have so many sharp activations (with all that is kept of them, 600
MB)."""
METRICS = ("hamming", "cosine", "cka")


class Features(Measure):
    """Sharp and blurred activations of the same images, compared at each stage of the network. Metrics of each stage,
    such as hamming.stage1:

    hamming: share of the channels that are above 0 for one of the two and not for the other, at each place of the map;
    mean of places and images.
    cosine: of the angle between the two, over all channels and places of an image; mean of images. 1 where both are
    zero, 0 where one is.
    cka: linear CKA over the whole dataset (Kornblith et al., ICML 2019), exact, in one pass: every place of every image
    is an example, its channels are the features. 1 where neither varies over the examples, 0 where one does not.

    Images are shown as the network sees them; at `scales`, by default those of evaluation.protocol, the whole central
    square at each scale (`blurtrain.evaluation.squares`). Of several scales a metric says which: hamming.stage1@256. An
    image whose activations are NaN or infinite at a stage leaves its metrics there without a value.

    Kept beside: `hamming.STAGE` [H, W], the mean map; `hamming.STAGE.examples` [examples, H, W], `examples` [examples,
    S, S, 3] (uint8, at the first scale) and `examples.index`: of some images, evenly over the split.
    """

    name: ClassVar[str] = "features"
    of_classes: ClassVar[bool] = False
    of_protocols: ClassVar[bool] = True
    metrics: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "hamming": {"label": "Hamming distance", "unit": "%", "times": 100, "digits": 1, "better": "lower", "least": 0,
                    "most": 1},
        "cosine": {"label": "cosine", "digits": 3, "better": "higher", "least": -1, "most": 1},
        "cka": {"label": "linear CKA", "digits": 3, "better": "higher", "least": 0, "most": 1},
    }  # fmt: skip
    layers: tuple[str, ...] = ()
    """Names of modules whose outputs are compared; none: the stages are found (`blurtrain.models.activations`)."""
    scales: tuple[Annotated[int, Field(ge=8, le=4096)], ...] = ()
    """Smaller sides of the image, in pixels, as it is shown to the network; none: see above."""
    examples: int = Field(3, ge=0, le=100)

    @tf32(False)
    @torch.inference_mode()
    def measure(self, subject: Subject, levels: Sequence[Blur], per_image: bool) -> Found:
        keep_freed_memory()
        images, network = subject.images, subject.network
        squares = Squares.of_subject(subject, self.scales)
        chosen = images.indices[np.unique(np.linspace(0, images.n, self.examples, endpoint=False).astype(np.int64))]
        with _evaluating(network.module):
            stages = stages_of(network.module, network.preprocessing.crop, network.origin, self.layers)
            with reading(network.module, stages) as read:
                sharp = [isinstance(blur, Sharp) for blur in levels]
                compared = [
                    [Compared(shape, sharp, chosen, per_image, subject.group) for shape in of_scale]
                    for of_scale in _shapes(squares, stages, read)
                ]
                pictures = _compare(subject, squares, levels, read, compared, chosen)
        several = len(squares.sides) > 1
        names = [
            f"{stage.name}@{side}" if several else stage.name for side in squares.sides for stage in stages
        ]  # as metrics name them
        layers = [stage.layer for _ in squares.sides for stage in stages]
        outcomes = [list(one.outcomes()) for of_scale in compared for one in of_scale]
        found = Found([])
        for level, blur in enumerate(levels):
            for name, layer, of_levels in zip(names, layers, outcomes, strict=True):
                _report(found, subject, blur, name, layer, of_levels[level])
            if len(chosen):
                found.arrays[blur.label] |= {"examples": pictures[level], "examples.index": chosen}
        return found


def _compare(
    subject: Subject,
    squares: Squares,
    levels: Sequence[Blur],
    read: Reader,
    compared: Sequence[Sequence[Compared]],
    chosen: NDArray[np.int64],
) -> NDArray[np.uint8]:
    """Compares all images, by `compared` of each scale and stage; gives those of the `chosen` that this process has, at
    each level [levels, chosen, S, S, 3]."""
    images, group, side = subject.images, subject.group, squares.sides[0]
    at_once = max(1, NUMBERS // sum(int(np.prod(one.shape)) for of_scale in compared for one in of_scale))
    pictures = torch.zeros(len(levels), len(chosen), side, side, 3, dtype=torch.uint8, device=group.device)
    seen = torch.zeros(2, dtype=torch.int64, device=group.device)
    for batch in images.batches(subject.loader, group.rank, group.world):
        for part in _parts(batch, at_once):
            shown = squares.of(part)
            sharp = shown(Sharp())
            references = [_references(read, at_scale) for at_scale in sharp]
            for own, of_scale in zip(references, compared, strict=True):
                for reference, one in zip(own, of_scale, strict=True):
                    one.add_sharp(reference)
            for level, blur in enumerate(levels):
                blurred = sharp if isinstance(blur, Sharp) else shown(blur)
                for own, of_scale, at_scale in zip(references, compared, blurred, strict=True):
                    compare = partial(_add, of_scale, own, level, part.indices)
                    if isinstance(blur, Sharp):  # nothing need be computed anew
                        for number, reference in enumerate(own):
                            compare(number, reference.maps)
                    else:
                        read(at_scale, compare)
                for row in np.flatnonzero(np.isin(part.indices, chosen)):
                    place = np.searchsorted(chosen, part.indices[row])
                    pictures[level, place] = squares.pixels(blurred[0][row : row + 1])[0]
            seen += torch.tensor([len(part.indices), int(part.indices.sum())], device=group.device)
        subject.tick()
    total = group.sum(seen).tolist()
    if total != [images.n, int(images.indices.sum())]:
        raise RuntimeError(f"evaluation counted {total[0]} images, which are not the {images.n} of the split")
    found: NDArray[np.uint8] = group.sum(pictures).cpu().numpy()
    return found


def _add(
    compared: Sequence[Compared],
    references: Sequence[Reference],
    level: int,
    indices: NDArray[np.int64],
    number: int,
    maps: Tensor,
) -> None:
    compared[number].add(level, indices, references[number], maps)


def _references(read: Reader, images: Tensor) -> list[Reference]:
    """Of each stage."""
    found: dict[int, Reference] = {}
    read(images, lambda number, maps: found.update({number: Reference.of(maps)}))
    return [found[number] for number in range(len(found))]


def _parts(batch: Batch | None, images: int) -> Iterator[Batch]:
    """A batch in parts of so many images."""
    if batch is None:
        return
    for start in range(0, len(batch.indices), images):
        own = slice(start, start + images)
        sides = None if batch.sides is None else batch.sides[own]
        yield Batch(batch.images[own], batch.labels[own], batch.indices[own], sides)


def _shapes(squares: Squares, stages: Sequence[Stage], read: Reader) -> list[list[tuple[int, int, int]]]:
    """Of the maps [H, W, C] of each stage, at each scale. Raises SettingsError, one line, where a layer does not take
    images of a scale."""
    network = squares.network
    like = next(network.module.parameters())
    found: list[list[tuple[int, int, int]]] = []
    for side in squares.sides:
        shapes: dict[int, tuple[int, int, int]] = {}

        def note(number: int, maps: Tensor, shapes: dict[int, tuple[int, int, int]] = shapes) -> None:
            height, width, channels = maps.shape[1:]
            shapes[number] = height, width, channels

        try:
            read(torch.zeros(1, 3, side, side).to(like), note)
        except Exception as error:  # each network has its own way to refuse
            said = str(error).split("\n")[0].rstrip(". ") or type(error).__name__
            raise SettingsError(
                f"{network.origin}: measure features: scale {side} is none that its layers take ({said}); choose "
                f"others, scales=[...], or none: it is made for {network.preprocessing.crop}"
            ) from None
        found.append([shapes[number] for number in range(len(stages))])
    return found


def _report(found: Found, subject: Subject, blur: Blur, name: str, layer: str, outcome: Outcome) -> None:
    """Add one stage at one level."""
    bad = outcome.not_finite
    about: Row = {"blur": blur.label, "sigma": sigma_of(blur, subject.transform.blur.reference_resolution)}
    about |= {"n": subject.images.n, "layer": layer} | ({"not_finite": bad} if bad else {})
    values = outcome.hamming, outcome.cosine, outcome.cka
    found.rows.extend(
        {"metric": f"{metric}.{name}", **about, "value": value} for metric, value in zip(METRICS, values, strict=True)
    )
    arrays = found.arrays.setdefault(blur.label, {})
    if not bad:
        arrays[f"hamming.{name}"] = outcome.map
        arrays |= {f"hamming.{name}.examples": outcome.examples} if len(outcome.examples) else {}
    if outcome.records:
        records = found.records.setdefault(blur.label, {"index": outcome.records["index"]})
        records |= {f"{metric}.{name}": outcome.records[metric] for metric in ("hamming", "cosine")}


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
