"""How little blur it takes to change a network's mind about an image."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from blurtrain.blur.blurs import Blur, Sharp
from blurtrain.data.batches import Batch
from blurtrain.device import tf32
from blurtrain.errors import DataError
from blurtrain.evaluation.families import FAMILIES, Family
from blurtrain.evaluation.flips import Flips, Grid, Predict, first_flips
from blurtrain.evaluation.measure import Measure
from blurtrain.evaluation.per_image import collected
from blurtrain.evaluation.quality import psnr, ssim
from blurtrain.evaluation.subject import Found, Records, Row, Subject
from blurtrain.evaluation.survival import kaplan_meier
from blurtrain.evaluation.views import at_its_size

ANY = "any"
_PIXELS = {"unit": "px at 224", "digits": 2, "better": "higher", "least": 0}
_SHARE = {"unit": "%", "times": 100, "digits": 1, "least": 0, "most": 1}


def _median(length: str, label: str, more: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What tables are to know of a median and the ends of its interval."""
    ends = {"": ", median", "_low": ", low end", "_high": ", high end"}
    return {f"minimal_{length}{end}": {"label": f"{label}{called}", **more} for end, called in ends.items()}


class MinimalBlur(Measure):
    """The smallest blur that gives an image another prediction than it has when it is sharp, for each family of
    kernels: the smallest sigma (level `gaussian`), radius (`disk`, antialiased), length of a motion (`box-at-ANGLE`),
    in pixels at 224. How it is searched for: `blurtrain.evaluation.flips`. Of an image that no blur up to the largest
    one changes (it is censored), it is only known to be larger. Metrics:

    minimal_sigma (minimal_radius, minimal_length), and with _low and _high: median by Kaplan & Meier, and its 95 %
    interval by Brookmeyer & Crowley (over images, as if they were independent); None where more than half are left.
    censored: images that no blur changes. returned: those whose first prediction is back at a scanned blur above the
    first flip. wrong_at_sharp: those that are wrong before any blur.
    psnr, ssim: of the image where it flips, beside the sharp one, as the network sees it but not rounded; means over
    those that flip, which are their n.

    Level `any`, where there are several families: the smallest loss of quality over all of them, 1 - SSIM at the flip
    where it is highest (median and interval as above: minimal_loss), and psnr, ssim: means of the highest of any flip.

    Kept beside: `survival` [k, 6], length (at `any`, loss), images at risk, images that flip there, share that is left,
    its interval; at `any`, `gentlest` [families], the images that each flips at the highest SSIM. Records have psnr and
    ssim also of censored images, at the largest blur.
    """

    name: ClassVar[str] = "minimal-blur"
    metrics: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **_median("sigma", "minimal sigma", _PIXELS),
        **_median("radius", "minimal radius", _PIXELS),
        **_median("length", "minimal length of motion", _PIXELS),
        **_median("loss", "minimal loss (1 - SSIM)", {"digits": 3, "better": "higher", "least": 0}),
        "censored": {"label": "never changed", "better": "higher", **_SHARE},
        "returned": {"label": "changed and back", **_SHARE},
        "wrong_at_sharp": {"label": "wrong when sharp", "better": "lower", **_SHARE},
        "psnr": {"label": "PSNR at minimal blur", "unit": "dB", "digits": 1, "better": "lower"},
        "ssim": {"label": "SSIM at minimal blur", "digits": 3, "better": "lower"},
    }

    families: tuple[Literal["gaussian", "disk", "box"], ...] = Field(("gaussian", "disk", "box"), min_length=1)
    of: Literal["prediction", "right"] = "prediction"
    """prediction: all images are followed; right: those that are right when sharp."""
    largest: float = Field(32.0, gt=0, le=128)
    """Standard deviation of the widest kernel that is tried, pixels at 224: sigma; half a disk's radius, a motion's
    length by the square root of 12."""
    smallest: float = Field(0.5, ge=0.3)
    """The same of the narrowest."""
    precision: float = Field(0.02, ge=0.001, le=1)
    """By how much, relative, what is found may be too large."""
    scan: float = Field(2.3, gt=1)
    """Ratio of scanned blurs: a flip that comes and goes between two of them is not seen. With all defaults it takes 12
    passes through the network at most."""

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if self.largest <= self.smallest:
            raise ValueError(f"largest={self.largest:g} must be more than smallest={self.smallest:g}")
        return self

    @property
    def grid(self) -> Grid:
        """Of standard deviations."""
        return Grid.of(self.smallest, self.largest, self.precision, self.scan)

    @property
    def kernels(self) -> list[Family]:
        """The kernels that images are blurred with, those of each of `families` once."""
        return [family for name in dict.fromkeys(self.families) for family in FAMILIES[name]]

    def levels(self, blurs: Sequence[Blur]) -> Sequence[str]:
        """See `Measure.levels`."""
        names = [family.name for family in self.kernels]
        return [*names, ANY] if len(names) > 1 else names

    def search(self, predict: Predict, start: NDArray[np.int64], followed: NDArray[np.bool_]) -> Flips:
        """The first flips of some images, whose predictions at the start are `start` [n]: see `first_flips`."""
        return first_flips(predict, start, followed, self.grid)

    @tf32(False)
    @torch.inference_mode()
    def measure(self, subject: Subject, levels: Sequence[str], per_image: bool) -> Found:
        """See `Measure.measure`. Raises DataError where, with of=right, no sharp image is right."""
        families = [family for family in self.kernels if ANY in levels or family.name in levels]
        for family in families:
            family.member(self.largest * family.times).check(subject.transform.resolution)
        images, group, module = subject.images, subject.group, subject.network.module
        parts: list[dict[str, Records]] = []
        training = module.training
        module.eval()
        for batch in images.batches(subject.loader, group.rank, group.world):
            if batch is not None:
                parts.append(self._of_batch(batch, subject, families))
            subject.tick()
        module.train(training)
        records = collected(parts, [family.name for family in families], images, group, "minimal blur")
        if not records[families[0].name]["followed"].any():
            raise DataError(
                f"minimal-blur of=right: the network is right for none of the {images.n} sharp images: leave it out"
            )
        rows: list[Row] = []
        arrays: dict[str, dict[str, NDArray[Any]]] = {}
        named = {family.name: family for family in families}
        if ANY in levels:
            records[ANY] = _gentlest({name: records[name] for name in named})
        for level in levels:
            more, arrays[level] = _summary(level, records[level], named)
            rows += more
        return Found(rows, {name: records[name] for name in levels} if per_image else {}, arrays)

    def _of_batch(self, batch: Batch, subject: Subject, families: Sequence[Family]) -> dict[str, Records]:
        network, transform = subject.network, subject.transform
        images = at_its_size(batch.images, transform)

        def predicted(shown: Tensor) -> NDArray[np.int64]:
            logits = network.logits(transform.normalise(shown))
            return torch.where(torch.isfinite(logits).all(1), logits.argmax(1), -1).cpu().numpy()

        start = predicted(
            images if transform.deblur is None else transform.blurred_pixels(images, Sharp(), batch.indices)
        )
        correct = start == batch.labels.cpu().numpy()
        followed = correct if self.of == "right" else np.ones(len(start), np.bool_)
        known = {"index": batch.indices, "label": batch.labels.cpu().numpy(), "prediction": start,
                 "correct": correct, "followed": followed}  # fmt: skip
        found: dict[str, Records] = {}
        for family in families:
            lengths = self.grid.points * family.times

            def blurred(rows: NDArray[np.int64], points: NDArray[np.int64]) -> Tensor:
                some = images if len(rows) == len(images) else images[torch.from_numpy(rows).to(images.device)]
                return family.blurred(some, lengths[points], transform)  # noqa: B023  (used at once)

            flips = self.search(lambda rows, points: predicted(blurred(rows, points)), start, followed)
            record = _record(flips, followed, lengths)
            if len(rows := np.flatnonzero(followed & flips.finite)):
                at = blurred(rows, np.minimum(flips.first[rows], len(lengths) - 1))
                both = torch.stack([images[torch.from_numpy(rows).to(images.device)], at]).flatten(0, 1)
                sharp, at = network.preprocessing.cropped(both).chunk(2)
                record["psnr"][rows], record["ssim"][rows] = (q(sharp, at).cpu().numpy() for q in (psnr, ssim))
            found[family.name] = known | record
        return found


def _record(flips: Flips, followed: NDArray[np.bool_], lengths: NDArray[np.float64]) -> Records:
    """What is kept of each image; NaN where it is not followed, or not finite."""
    known = followed & flips.finite
    nothing = np.full(len(followed), np.nan)
    return {
        "finite": flips.finite,
        "length": np.where(known, lengths[np.minimum(flips.first, len(lengths) - 1)], nothing),
        "censored": known & (flips.first == len(lengths)),
        "at_smallest": known & (flips.first == 0),
        "returned": flips.returned,
        "passes": flips.tries,
        "psnr": nothing.copy(),
        "ssim": nothing.copy(),
    }


def _gentlest(of_families: Mapping[str, Records]) -> Records:
    """For each image, the family at whose flip its SSIM is highest, that SSIM, and the highest PSNR at any flip; where
    no family flips it, the highest at any largest blur."""
    names, every = np.array(list(of_families)), list(of_families.values())
    flips = np.stack([records["finite"] & ~records["censored"] for records in every])
    flipped = flips.any(0)
    eligible = flips | ~flipped
    best, ratio = (np.where(eligible, np.stack([one[name] for one in every]), -np.inf) for name in ("ssim", "psnr"))
    finite = np.all([records["finite"] for records in every], axis=0)
    known = every[0]["followed"] & finite
    same = ("index", "label", "prediction", "correct", "followed")
    return {name: every[0][name] for name in same} | {
        "finite": finite,
        "censored": known & ~flipped,
        "passes": np.sum([records["passes"] for records in every], axis=0),
        "family": np.where(known & flipped, names[best.argmax(0)], ""),
        "psnr": np.where(known, ratio.max(0), np.nan),
        "ssim": np.where(known, best.max(0), np.nan),
    }


# --- rows and arrays ------------------------------------------------------------------------------------------------


def _summary(level: str, records: Records, families: Mapping[str, Family]) -> tuple[list[Row], dict[str, NDArray[Any]]]:
    """Of one level; families: all, by level."""
    followed, censored = records["followed"], records["censored"]
    bad = int((~records["finite"]).sum())
    known = followed & records["finite"]
    flipped = known & ~censored
    length = 1 - records["ssim"] if level == ANY else records["length"]
    curve = kaplan_meier(length[known], censored[known])
    low, high = curve.median_interval
    called = f"minimal_{families[level].length if level in families else 'loss'}"
    medians = {called: curve.median, f"{called}_low": low, f"{called}_high": high}
    counts: dict[str, int] = {name: int(records[name].sum()) for name in ("censored", "returned") if name in records}
    means = {name: float(records[name][flipped].mean()) if flipped.any() else None for name in ("psnr", "ssim")}
    rows = [
        *_rows(level, int(followed.sum()), bad, medians, counts),
        *_rows(level, int(flipped.sum()), bad, means, {}),
        *_rows(level, len(followed), bad, {}, {"wrong_at_sharp": int((~records["correct"]).sum())}),
    ]
    arrays = {"survival": curve.table()}
    if level == ANY:
        arrays["gentlest"] = np.array([int((records["family"] == name).sum()) for name in families])
    return rows, {} if bad else arrays


def _rows(level: str, n: int, bad: int, values: Mapping[str, float | None], counts: Mapping[str, int]) -> list[Row]:
    about = {"blur": level, "sigma": None, "n": n}
    note = {"not_finite": bad} if bad else {}
    return [
        *({"metric": name, **about, "value": None if bad else value, **note} for name, value in values.items()),
        *({"metric": name, **about, "count": count, **note} for name, count in counts.items()),
    ]
