"""How often a network is right under the blur that harms it most, within a bound on what the blur may change."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field, field_validator
from scipy.special import ndtri
from torch import Tensor
from torch.nn.functional import cross_entropy

from blurtrain.blur.adversarial import Ascent, distances, worst_blur
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
from blurtrain.schema import Taps

FAMILIES = "families"
_SHARE = {"unit": "%", "times": 100, "digits": 1, "better": "higher", "least": 0, "most": 1}


class AdversarialBlur(Measure):
    """Accuracy under the worst kernel of `size` taps for each image, see `blurtrain.blur.adversarial`: of several
    ascents, from the identity and from random kernels, and of the sharp image, that with the largest cross-entropy.
    Levels `learnt-DISTANCE`: of that bound; `families-DISTANCE`: the same over `families` of blurs, each mixed with the
    identity as far as the bound asks for. Images are at the network's size, and not rounded. Metrics:

    top1: images that are still right; top1_sharp: those that are right before; psnr: of the image at its worst blur
    beside the sharp one; distance: how much that changes, as the bound is given; means over images.
    """

    name: ClassVar[str] = "adversarial-blur"
    of_blurred: ClassVar[bool] = False
    metrics: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "top1": {"label": "right under the worst blur", **_SHARE},
        "top1_sharp": {"label": "right when sharp", **_SHARE},
        "psnr": {"label": "PSNR under the worst blur", "unit": "dB", "digits": 1},
        "distance": {"label": "change by the worst blur", "digits": 3, "least": 0},
    }

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

    @tf32(False)
    def measure(self, subject: Subject, levels: Sequence[str], per_image: bool) -> Found:
        """See `Measure.measure`."""
        side = subject.transform.resolution
        if self.size // 2 >= side:
            raise SettingsError(f"adversarial-blur: size={self.size} is too wide for images of {side} px")
        for blur in self.families:
            blur.check(side)
        module, images, group = subject.network.module, subject.images, subject.group
        training, needed = module.training, [p.requires_grad for p in module.parameters()]
        module.eval().requires_grad_(False)
        parts: list[dict[str, Records]] = []
        for batch in images.batches(subject.loader, group.rank, group.world):
            if batch is not None:
                with torch.inference_mode(False):
                    parts.append(self._of_batch(batch, subject, levels))
            subject.tick()
        module.train(training)
        for parameter, before in zip(module.parameters(), needed, strict=True):
            parameter.requires_grad_(before)
        records = collected(parts, levels, images, group, self.name)
        rows = [row for level in levels for row in rows_of(level, None, records[level])]
        return Found(rows, records if per_image else {})

    def _of_batch(self, batch: Batch, subject: Subject, levels: Sequence[str]) -> dict[str, Records]:
        sharp = at_its_size(batch.images, subject.transform)
        attack = _Attack(subject, sharp, batch)
        harm_sharp, right_sharp = attack.harm(sharp), attack.right(sharp)
        found = {}
        for level in levels:
            kind, _, bound = level.partition("-")
            images, harm = sharp, harm_sharp
            for tried in (self._families if kind == FAMILIES else self._learnt)(attack, float(bound)):
                worse = (now := attack.harm(tried)) > harm
                images, harm = torch.where(worse[:, None, None, None], tried, images), torch.where(worse, now, harm)
            values = {
                "top1": attack.right(images),
                "top1_sharp": right_sharp,
                "psnr": psnr(images, sharp),
                "distance": distances(sharp, images),
            }
            found[level] = {"index": batch.indices, **{name: v.cpu().numpy() for name, v in values.items()}}
        return found

    def _learnt(self, attack: "_Attack", bound: float) -> list[Tensor]:
        """The worst images of each ascent."""
        ascent = Ascent(self.size, self.steps, self.rate, "identity", bound)
        starts = [None, *(attack.random_logits(self.size**2, k) for k in range(self.restarts))]
        return [worst_blur(attack.sharp, attack.harm, ascent, logits).images for logits in starts]

    def _families(self, attack: "_Attack", bound: float) -> list[Tensor]:
        """The images at each of these blurs, as far as the bound lets them be."""
        found = []
        for blur in self.families:
            blurred = attack.blurred(blur)
            kept = (bound / distances(attack.sharp, blurred).clamp(min=bound)).float()[:, None, None, None]
            found.append(kept * blurred + (1 - kept) * attack.sharp)
        return found


class _Attack:
    """A network, and the images of a batch in 0..255."""

    def __init__(self, subject: Subject, sharp: Tensor, batch: Batch):
        self.subject, self.sharp, self.indices, self.labels = subject, sharp, batch.indices, batch.labels

    def _logits(self, images: Tensor) -> Tensor:
        return self.subject.network.logits(self.subject.transform.normalise(images))

    def harm(self, images: Tensor) -> Tensor:
        """Cross-entropy [N]."""
        return cross_entropy(self._logits(images).double(), self.labels, reduction="none")

    def right(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return self._logits(images).argmax(1) == self.labels

    def random_logits(self, taps: int, start: int) -> Tensor:
        """Those of a random kernel for each image, normally distributed: the same whatever batch it is in."""
        draws = uniform(start, 0, self.indices, taps)
        return torch.from_numpy(ndtri(np.clip(draws, 2.0**-54, None))).to(self.sharp)

    def blurred(self, blur: Blur) -> Tensor:
        return self.subject.transform.blurred_pixels(self.sharp, blur, self.indices)
