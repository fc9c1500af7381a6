"""Whether an answer stays the same when the image is moved a little (Zhang, ICML 2019), at every level of blur."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from blurtrain.blur.blurs import Blur
from blurtrain.data.batches import Batch
from blurtrain.device import tf32
from blurtrain.evaluation.measure import Measure
from blurtrain.evaluation.per_image import collected
from blurtrain.evaluation.subject import Found, Records, Row, Subject
from blurtrain.evaluation.sweep import sigma_of
from blurtrain.evaluation.views import at_its_size, scaled

_SHIFT_DRAWS = 7  # apart from what else is drawn of an index
_SHARE = {"unit": "%", "times": 100, "digits": 1, "better": "higher", "least": 0, "most": 1}


class ShiftConsistency(Measure):
    """Each image is blurred and then shown `shifts` times, moved by whole pixels that are drawn from its index, uniform
    in 0..`largest` down and to the right, the same at every level. Metrics:

    consistency: of pairs of shifts of an image, the share that get the same top-1 (the paper's measure; there one pair
    an image); mean of images.
    stays: images that get the same top-1 at all shifts.
    top1_shifted: share of the shown images that are right. (A network that always says the same is consistent, too.)

    border=crop: the image is resized to `largest` more pixels (bilinear), and blurred and cropped there; circular: what
    leaves at one side comes in at the other, as the paper has it for small images. Logits that are NaN or infinite
    agree with nothing. Records: `consistency` and `stays` of each image, `correct` at its first shift.
    """

    name: ClassVar[str] = "shift-consistency"
    metrics: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "consistency": {"label": "consistency over shifts", **_SHARE},
        "stays": {"label": "the same at all shifts", **_SHARE},
        "top1_shifted": {"label": "top-1 over shifts", **_SHARE},
    }
    largest: float = Field(32.0, gt=0, le=112)
    """Pixels at 224; rounded at the network's resolution to one at least."""
    shifts: int = Field(4, ge=2, le=64)
    border: Literal["crop", "circular"] = "crop"

    @tf32(False)
    @torch.inference_mode()
    def measure(self, subject: Subject, levels: Sequence[Blur], per_image: bool) -> Found:
        """See `Measure.measure`."""
        images, group, module = subject.images, subject.group, subject.network.module
        parts: list[dict[str, Records]] = []
        training = module.training
        module.eval()
        for batch in images.batches(subject.loader, group.rank, group.world):
            if batch is not None:
                parts.append({blur.label: self._of_batch(batch, subject, blur) for blur in levels})
            subject.tick()
        module.train(training)
        records = collected(parts, [blur.label for blur in levels], images, group, self.name)
        rows = [row for blur in levels for row in _rows(blur, subject, records[blur.label])]
        return Found(rows, records if per_image else {})

    def _of_batch(self, batch: Batch, subject: Subject, blur: Blur) -> Records:
        network, transform = subject.network, subject.transform
        largest = max(1, round(self.largest * transform.resolution / 224))
        moves = np.stack([_moves(int(index), self.shifts, largest) for index in batch.indices])
        images = at_its_size(batch.images, transform)
        if self.border == "crop":
            images = scaled(images, (transform.resolution + largest) / transform.resolution, "bilinear")
        images = transform.normalise(transform.blurred_pixels(images, blur, batch.indices))
        logits = torch.stack(
            [network.logits(self._moved(images, moves[:, k], transform.resolution)) for k in range(self.shifts)]
        )
        finite = torch.isfinite(logits).all(2)
        answers = torch.where(finite, logits.argmax(2), -1).T.cpu().numpy()
        known = (answers >= 0).all(1)
        labels = batch.labels.cpu().numpy()
        first, second = np.triu_indices(self.shifts, 1)
        return {
            "index": batch.indices,
            "label": labels,
            "correct": answers[:, 0] == labels,
            "finite": known,
            "consistency": ((answers[:, first] == answers[:, second]) & (answers[:, first] >= 0)).mean(1),
            "stays": known & (answers == answers[:, :1]).all(1),
            "right": (answers == labels[:, None]).mean(1),
        }

    def _moved(self, images: Tensor, moves: NDArray[np.int64], side: int) -> Tensor:
        """[N, C, side, side]: each image moved by its own of `moves` [N, 2], down and to the right."""
        if self.border == "circular":
            return torch.stack([image.roll(move, (1, 2)) for image, move in zip(images, moves.tolist(), strict=True)])
        tops = (np.array(images.shape[-2:]) - side - moves).tolist()
        crops = [image[:, y : y + side, x : x + side] for image, (y, x) in zip(images, tops, strict=True)]
        return torch.stack(crops)


def _moves(index: int, shifts: int, largest: int) -> NDArray[np.int64]:
    """[shifts, 2], uniform in 0..largest; a function of the arguments alone."""
    draws = np.random.Generator(np.random.PCG64(np.random.SeedSequence((_SHIFT_DRAWS, index))))
    return np.floor(draws.random((shifts, 2)) * (largest + 1)).astype(np.int64)


def _rows(blur: Blur, subject: Subject, records: Records) -> list[Row]:
    bad = int((~records["finite"]).sum())
    about = {"blur": blur.label, "sigma": sigma_of(blur, subject.transform.blur.reference_resolution),
             "n": len(records["index"])}  # fmt: skip
    note = {"not_finite": bad} if bad else {}
    means = {"consistency": "consistency", "top1_shifted": "right"}
    return [
        *({"metric": name, **about, "value": float(records[of].mean()), **note} for name, of in means.items()),
        {"metric": "stays", **about, "count": int(records["stays"].sum()), **note},
    ]
