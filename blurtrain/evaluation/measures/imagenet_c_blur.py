"""How much a network errs on the blurs of ImageNet-C, beside AlexNet (Hendrycks & Dietterich, ICLR 2019)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from blurtrain.blur.blur import REFERENCE, Blur
from blurtrain.blur.blurs import Sharp
from blurtrain.blur.imagenet_c import (
    ImageNetCDefocus,
    ImageNetCGaussian,
    ImageNetCGlass,
    ImageNetCMotion,
    ImageNetCZoom,
)
from blurtrain.data.augment import Transform
from blurtrain.data.batches import Batch
from blurtrain.evaluation.measure import LogitsMeasure, Measure
from blurtrain.evaluation.subject import Found, Records, Row, Subject
from blurtrain.evaluation.sweep import sweep
from blurtrain.evaluation.views import Shown, at_its_size
from blurtrain.models.trained import TrainedNetwork

ALEXNET = {"defocus": 0.819880, "glass": 0.826268, "motion": 0.785948, "zoom": 0.798360}
"""Mean error of AlexNet over the severities, on ImageNet's 1000 classes, as its authors publish it."""
KINDS = {
    "defocus": ImageNetCDefocus,
    "glass": ImageNetCGlass,
    "motion": ImageNetCMotion,
    "zoom": ImageNetCZoom,
    "gaussian": ImageNetCGaussian,
}
SEVERITIES = (1, 2, 3, 4, 5)
LEVEL = "imagenet-c-blur"


def _percent(label: str, most: float = 1.0) -> dict[str, Any]:
    return {"label": label, "unit": "%", "times": 100, "digits": 1, "better": "lower", "least": 0, "most": most}


class ImageNetCBlur(Measure):
    """Errors on the blurs of ImageNet-C at severity 1..5. Metrics, all of them better where lower:

    error-sharp, error-FAMILY-SEVERITY: images that are wrong, of families defocus, glass, motion, zoom and gaussian.
    error-FAMILY: their share, mean of the severities: the unnormalised corruption error.
    ce-FAMILY: the corruption error: sum of the errors over severities, divided by that of AlexNet's.
    blur-mCE: mean of ce-FAMILY over defocus, glass, motion and zoom. It is not mCE, which is over fifteen corruptions,
    eleven of which are no blurs.
    blur-mCE-unnormalised: mean of error-FAMILY over the same four.

    Gaussian is in ImageNet-C's extra set: it counts in neither mean, and AlexNet's error is not known. Records have
    all of them for each image, whose means are these.

    form: exact, or published, with JPEG (see `blurtrain.blur.as_published`). Images are made at 224 px in both: resized
    so that the network's central square has 224 px, cropped, blurred, and then resized to what the network takes, where
    that is another size (bilinear, antialiased). For torchvision's networks, which resize to 256 and crop 224, that is
    what the authors do.
    """

    name: ClassVar[str] = "imagenet-c-blur"
    metrics: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "blur-mCE": _percent("blur-mCE", sum(1 / error for error in ALEXNET.values()) / len(ALEXNET)),
        "blur-mCE-unnormalised": _percent("blur-mCE, unnormalised"),
        "error-sharp": _percent("error, sharp"),
        **{f"ce-{family}": _percent(f"CE of {family}", 1 / ALEXNET[family]) for family in ALEXNET},
        **{f"error-{family}": _percent(f"error, {family}") for family in KINDS},
        **{f"error-{family}-{s}": _percent(f"error, {family} {s}") for family in KINDS for s in SEVERITIES},
    }
    form: Literal["exact", "published"] = "exact"

    def levels(self, blurs: Sequence[Blur]) -> Sequence[str]:
        return [LEVEL]

    def blurs(self) -> dict[str, Blur]:
        """What images are shown at, by the metric that counts their errors."""
        of_families: dict[str, Blur] = {
            f"error-{family}-{severity}": kind.model_validate({"severity": severity, "form": self.form})
            for family, kind in KINDS.items()
            for severity in SEVERITIES
        }
        return {"error-sharp": Sharp(), **of_families}

    def measure(self, subject: Subject, levels: Sequence[str], per_image: bool) -> Found:
        blurs = self.blurs()
        at_224 = _At224(**{name: getattr(subject, name) for name in Subject.__dataclass_fields__})
        whole = sweep([(_Prediction(), [*blurs.values()])], at_224, per_image=True)[0].records
        first = whole["sharp"]
        values = linear({name: ~whole[blur.label]["correct"] for name, blur in blurs.items()})
        bad = int(np.any([whole[blur.label]["prediction"] < 0 for blur in blurs.values()], axis=0).sum())
        rows = [_row(name, of_images, bad) for name, of_images in values.items()]
        about: Records = {name: first[name] for name in ("index", "label", "object") if name in first}
        records = {**about, **values}
        return Found(rows, {LEVEL: records} if per_image else {})


def linear(wrong: Mapping[str, NDArray[np.bool_]]) -> Records:
    """All metrics of each image [n], from whether it is wrong [n], by the names of counts (`error-FAMILY-SEVERITY`)."""

    def mean(names: Sequence[str]) -> NDArray[np.float64]:
        return np.mean([found[name] for name in names], axis=0)

    found: Records = dict(wrong)
    found |= {f"error-{family}": mean([f"error-{family}-{s}" for s in SEVERITIES]) for family in KINDS}
    found |= {f"ce-{family}": found[f"error-{family}"] / alexnet for family, alexnet in ALEXNET.items()}
    found["blur-mCE"] = mean([f"ce-{family}" for family in ALEXNET])
    found["blur-mCE-unnormalised"] = mean([f"error-{family}" for family in ALEXNET])
    return found


def _row(name: str, values: NDArray[Any], bad: int) -> Row:
    row: Row = {"metric": name, "blur": LEVEL, "sigma": None, "n": len(values)}
    if values.dtype == bool:
        row["count"] = int(values.sum())
    else:
        row["value"] = None if bad else float(values.mean())
    return row | ({"not_finite": bad} if bad else {})


class _Prediction(LogitsMeasure):
    """What is right is in the records of any sweep."""

    name: ClassVar[str] = "prediction"

    def values(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"right": logits.argmax(1) == labels}


class _At224(Subject):
    """The subject, whose images are blurred at 224 px."""

    def views(self) -> "_Square":
        return _Square(self.network, self.transform)


class _Square:
    """The square that the network sees, at 224 px (see `blurtrain.evaluation.views.Views`)."""

    def __init__(self, network: TrainedNetwork, transform: Transform):
        self.network, self.crop = network, network.preprocessing.crop
        self.resized = replace(transform, resolution=round(transform.resolution * REFERENCE / self.crop))
        self.transform = replace(transform, resolution=REFERENCE)

    def of(self, batch: Batch) -> Shown:
        whole = at_its_size(batch.images, self.resized)
        square = replace(self.network.preprocessing, crop=REFERENCE).cropped(whole)

        def shown(blur: Blur) -> Tensor:
            seen = self.transform.blurred(square, blur, batch.indices)
            if self.crop != REFERENCE:
                seen = interpolate(seen, [self.crop] * 2, mode="bilinear", antialias=True, align_corners=False)
            return self.network.logits(seen)

        return shown
