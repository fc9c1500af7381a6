"""The blur that harms a network most, image by image, within a bound on what it may change."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field, field_validator
from scipy.special import ndtri
from torch import Tensor
from torch.nn.functional import cross_entropy

from blurtrain.blur.adversarial import Ascent, Harm, distances, worst_blur
from blurtrain.blur.blurs import AnyBlur, Blur
from blurtrain.data.batches import Batch
from blurtrain.data.draws import uniform
from blurtrain.device import tf32
from blurtrain.errors import SettingsError
from blurtrain.evaluation.measure import Measure
from blurtrain.evaluation.per_image import collected, rows_of
from blurtrain.evaluation.quality import psnr
from blurtrain.evaluation.subject import Found, Records, Subject
from blurtrain.evaluation.views import at_its_size
from blurtrain.models.representation import representing
from blurtrain.schema import Taps
from blurtrain.tasks.views import feature_distances

FAMILIES = "families"
_SHARE = {"unit": "%", "times": 100, "digits": 1, "better": "higher", "least": 0, "most": 1}
_CHANGED = {
    "psnr": {"label": "PSNR under the worst blur", "unit": "dB", "digits": 1},
    "distance": {"label": "change by the worst blur", "digits": 3, "least": 0},
}
Attack = Callable[[Tensor, Tensor], tuple[Harm, Callable[[Tensor], dict[str, Tensor]]]]
"""Takes sharp images [N, 3, H, W] in 0..255 and labels [N]; gives the harm of images, and what is said of them."""


class WorstBlur(Measure):
    """Base of these measures. For each image the worst kernel of `size` taps is looked for, see
    `blurtrain.blur.adversarial`: of several ascents, from the identity and from random kernels, and of the sharp image,
    that with the largest harm is taken. Levels `learnt-DISTANCE`: of that bound; `families-DISTANCE`: the same over
    `families` of blurs, each mixed with the identity as far as the bound asks for. Images are at the network's size,
    and not rounded. Metrics of all, means over images: psnr, of the image at its worst blur beside the sharp one, and
    distance, how much that changes, as the bound is given.
    """

    of_blurred: ClassVar[bool] = False

    distances: tuple[float, ...] = Field((0.1, 0.2, 0.4), min_length=1)
    """Bounds: root mean square of what the blur changes, relative to that of the sharp image from the means of its
    channels."""
    size: Taps = 15
    """Taps a side, in pixels of the network's input; odd."""
    steps: int = Field(10, ge=1)
    """Of each ascent."""
    rate: float = Field(1.0, gt=0)
    """By how much the logit of the tap that matters most moves in a step."""
    restarts: int = Field(1, ge=0)
    """Ascents from random kernels, beside that from the identity."""
    families: tuple[AnyBlur, ...] = ()
    """Blurs of which the worst is taken, e.g. [gaussian-2, disk-4, box-8]; none: no such levels."""

    @field_validator("distances")
    @classmethod
    def _positive(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if min(values) <= 0:
            raise ValueError("must be more than 0: at 0 nothing is blurred")
        return values

    def levels(self, blurs: Sequence[Blur]) -> Sequence[str]:
        """See `Measure.levels`."""
        kinds = ["learnt", *([FAMILIES] if self.families else [])]
        return [f"{kind}-{bound:g}" for kind in kinds for bound in self.distances]

    def attacking(self, subject: Subject) -> AbstractContextManager[Attack]:
        """What harms, for as long as the network is measured."""
        raise NotImplementedError

    @tf32(False)
    def measure(self, subject: Subject, levels: Sequence[str], per_image: bool) -> Found:
        """See `Measure.measure`. Raises SettingsError where `size` is too wide for the network's images."""
        side = subject.transform.resolution
        if self.size // 2 >= side:
            raise SettingsError(f"{self.name}: size={self.size} is too wide for images of {side} px")
        for blur in self.families:
            blur.check(side)
        module, images, group = subject.network.module, subject.images, subject.group
        training, needed = module.training, [p.requires_grad for p in module.parameters()]
        module.eval().requires_grad_(False)
        parts: list[dict[str, Records]] = []
        with self.attacking(subject) as attack:
            for batch in images.batches(subject.loader, group.rank, group.world):
                if batch is not None:
                    with torch.inference_mode(False):
                        parts.append(self._of_batch(batch, subject, attack, levels))
                subject.tick()
        module.train(training)
        for parameter, before in zip(module.parameters(), needed, strict=True):
            parameter.requires_grad_(before)
        records = collected(parts, levels, images, group, self.name)
        rows = [row for level in levels for row in rows_of(level, None, records[level])]
        return Found(rows, records if per_image else {})

    def _of_batch(self, batch: Batch, subject: Subject, attack: Attack, levels: Sequence[str]) -> dict[str, Records]:
        sharp = at_its_size(batch.images, subject.transform)
        harm, said = attack(sharp, batch.labels)
        harm_sharp, found = harm(sharp), {}
        for level in levels:
            kind, _, bound = level.partition("-")
            images, worst = sharp, harm_sharp
            tried = (
                self._families(sharp, float(bound), subject, batch.indices)
                if kind == FAMILIES
                else self._learnt(sharp, float(bound), harm, batch.indices)
            )
            for blurred in tried:
                worse = (now := harm(blurred)) > worst
                images, worst = torch.where(worse[:, None, None, None], blurred, images), torch.where(worse, now, worst)
            values = {**said(images), "psnr": psnr(images, sharp), "distance": distances(sharp, images)}
            found[level] = {"index": batch.indices, **{name: v.cpu().numpy() for name, v in values.items()}}
        return found

    def _learnt(self, sharp: Tensor, bound: float, harm: Harm, indices: Any) -> Iterator[Tensor]:
        """The worst images of each ascent; a random start is the same whatever batch an image is in."""
        ascent = Ascent(self.size, self.steps, self.rate, "identity", bound)
        yield worst_blur(sharp, harm, ascent).images
        for start in range(self.restarts):
            draws = uniform(start, 0, indices, self.size**2)
            logits = torch.from_numpy(ndtri(np.clip(draws, 2.0**-54, None))).to(sharp)
            yield worst_blur(sharp, harm, ascent, logits).images

    def _families(self, sharp: Tensor, bound: float, subject: Subject, indices: Any) -> Iterator[Tensor]:
        """The images at each of these blurs, as far as the bound lets them be."""
        for blur in self.families:
            blurred = subject.transform.blurred_pixels(sharp, blur, indices)
            kept = (bound / distances(sharp, blurred).clamp(min=bound)).float()[:, None, None, None]
            yield kept * blurred + (1 - kept) * sharp


class AdversarialBlur(WorstBlur):
    """How often a classifier is right under the blur of the largest cross-entropy, see `WorstBlur`. Metrics:

    top1: images that are still right; top1_sharp: those that are right before.
    """

    name: ClassVar[str] = "adversarial-blur"
    metrics: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "top1": {"label": "right under the worst blur", **_SHARE},
        "top1_sharp": {"label": "right when sharp", **_SHARE},
        **_CHANGED,
    }

    @contextmanager
    def attacking(self, subject: Subject) -> Iterator[Attack]:
        """See `WorstBlur.attacking`."""

        def logits(images: Tensor) -> Tensor:
            return subject.network.logits(subject.transform.normalise(images))

        def attack(sharp: Tensor, labels: Tensor) -> tuple[Harm, Callable[[Tensor], dict[str, Tensor]]]:
            def right(images: Tensor) -> Tensor:
                with torch.no_grad():
                    return logits(images).argmax(1) == labels

            right_sharp = right(sharp)
            return (
                lambda images: cross_entropy(logits(images).double(), labels, reduction="none"),
                lambda images: {"top1": right(images), "top1_sharp": right_sharp},
            )

        yield attack


class AdversarialFeatures(WorstBlur):
    """How far the representation of an image turns under the blur that turns it most, see `WorstBlur`: of encoders, and
    of classifiers of whatever classes. Metrics:

    cosine: of the angle between the representations of the sharp image and of the blurred one.
    """

    name: ClassVar[str] = "adversarial-features"
    of_classes: ClassVar[bool] = False
    metrics: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "cosine": {"label": "cosine to the sharp image under the worst blur", "digits": 3, "better": "higher",
                   "least": -1, "most": 1},
        **_CHANGED,
    }  # fmt: skip
    layer: str = ""
    """The module whose output is the representation, by its name in the network; none: what its last linear layer is
    given."""

    @contextmanager
    def attacking(self, subject: Subject) -> Iterator[Attack]:
        """See `WorstBlur.attacking`."""
        network, where = subject.network, f"{self.name}: layer"
        with representing(network.module, network.logits, self.layer, where) as represented:

            def attack(sharp: Tensor, labels: Tensor) -> tuple[Harm, Callable[[Tensor], dict[str, Tensor]]]:
                def of(images: Tensor) -> Tensor:
                    return represented(subject.transform.normalise(images)).double()

                with torch.no_grad():
                    wanted = of(sharp)

                def harm(images: Tensor) -> Tensor:
                    return feature_distances(of(images), wanted)

                def said(images: Tensor) -> dict[str, Tensor]:
                    with torch.no_grad():
                        return {"cosine": 1 - harm(images)}

                return harm, said

            yield attack
