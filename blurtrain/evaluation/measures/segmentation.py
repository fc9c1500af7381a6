"""How well a network tells the class of each pixel: from one confusion matrix over all photos."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.blur.blurs import Blur
from blurtrain.data.batches import Batch
from blurtrain.data.boundaries import near_boundaries
from blurtrain.data.mask_store import MaskStore
from blurtrain.data.targets import at_size, masks_of
from blurtrain.device import tf32
from blurtrain.errors import SettingsError
from blurtrain.evaluation.measure import Measure
from blurtrain.evaluation.subject import Found, Records, Row, Subject
from blurtrain.evaluation.sweep import merged, sigma_of
from blurtrain.evaluation.views import check_whole, eight_bit_blurred, groups_at_size
from blurtrain.tasks import Targets
from blurtrain.tasks.segmentation import VOID, confusion

PIXELS = 2**21
"""Photos go through the network so many pixels at a time: logits of 21 classes then take 176 MB."""
PLACES = ("", "boundary_", "trimap_")
"""What metrics are called that are of all pixels, and of those near boundaries, see `near_boundaries`."""
_PERCENT = {"unit": "%", "times": 100, "digits": 1, "better": "higher", "least": 0, "most": 1}
_OF_IMAGE = ("right", "labelled", "predicted")


class Segmentation(Measure):
    """Of photos that are shown whole, blurred at 8 bits at the size where blur is defined, beside masks of that size.

    miou: mean over classes of intersection over union, each from sums over all photos. Void pixels count nowhere;
    classes that no pixel is labelled as are left out of the mean, and `absent` says how many these are. iou.CLASS: of
    each class. pixel_accuracy: share of the labelled pixels whose class is right. boundary_miou: miou of the pixels
    that have one of another class within 4 pixels (a disk); trimap_miou: void counts as another class there, as along
    VOC's boundaries. n is the number of photos.

    Records: of each photo and class the pixels that are right, labelled so, and taken for it (right.3, labelled.3,
    predicted.3), of which sums give all of these. Arrays: confusion, boundary_confusion and trimap_confusion
    [labelled, taken for].
    """

    name: ClassVar[str] = "segmentation"
    of_targets: ClassVar[frozenset[Targets]] = frozenset({"masks"})
    of_protocols: ClassVar[bool] = True
    metrics: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "miou": {"label": "mIOU", **_PERCENT},
        "boundary_miou": {"label": "mIOU near boundaries", **_PERCENT},
        "trimap_miou": {"label": "mIOU near boundaries and void", **_PERCENT},
        "pixel_accuracy": {"label": "pixel accuracy", **_PERCENT},
        "absent": {"label": "classes without a labelled pixel"},
        "iou": {"label": "IOU", **_PERCENT},
    }
    headlines: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "miou": metrics["miou"],
        "boundary_miou": metrics["boundary_miou"],
        "pixel_accuracy": metrics["pixel_accuracy"],
    }

    @tf32(False)
    @torch.inference_mode()
    def measure(self, subject: Subject, levels: Sequence[Blur], per_image: bool) -> Found:
        """See `Measure.measure`."""
        masks = self._masks(subject)
        images, group, classes = subject.images, subject.group, len(subject.network.classes)
        counted = torch.zeros(len(levels), len(PLACES), classes, classes, dtype=torch.int64, device=group.device)
        bad = torch.zeros(len(levels), dtype=torch.int64, device=group.device)
        kept: list[list[Records]] = [[] for _ in levels]
        mode = subject.network.module.training
        subject.network.module.eval()
        for batch in images.batches(subject.loader, group.rank, group.world):
            for rows, sharp, wanted in [] if batch is None else _with_masks(batch, subject, masks):
                indices = batch.indices[rows]  # type: ignore[union-attr]
                for k, blur in enumerate(levels):
                    found, finite = _predicted(subject, sharp, blur, indices)
                    bad[k] += (~finite).sum()
                    for place in range(len(PLACES)):
                        counted[k, place] += confusion(found, wanted[place], classes)
                    if per_image:
                        kept[k] += [_of_image(*one, classes) for one in zip(indices, found, wanted[0], strict=True)]
            subject.tick()
        subject.network.module.train(mode)
        whole, wrong = group.sum(counted).cpu().numpy(), group.sum(bad).tolist()
        rows_found: list[Row] = []
        for blur, of_places, not_finite in zip(levels, whole, wrong, strict=True):
            about = {"blur": blur.label, "sigma": sigma_of(blur, subject.transform.blur.reference_resolution)}
            about |= {"n": images.n} | ({"not_finite": not_finite} if not_finite else {})
            for name, value in summary(of_places, subject.network.classes).items():
                rows_found.append({"metric": name, **about, "value": None if not_finite else value})
        arrays = {
            blur.label: {f"{name}confusion": matrix for name, matrix in zip(PLACES, of_places, strict=True)}
            for blur, of_places in zip(levels, whole, strict=True)
        }
        records = {blur.label: merged(group.gather(own)) for blur, own in zip(levels, kept, strict=True)}
        return Found(rows_found, records if per_image else {}, arrays)

    def _masks(self, subject: Subject) -> MaskStore:
        if subject.others or subject.network.outputs is not None:
            raise SettingsError(f"measure {self.name}: is of one run of task=segmentation, with all of its classes")
        if subject.protocol:
            check_whole(subject.protocol)
        return masks_of(subject.images.source.masks)


def summary(confusions: NDArray[np.int64], classes: Sequence[str]) -> dict[str, float | None]:
    """All metrics, from confusion matrices [PLACES, labelled, taken for]; None where there is nothing to take of."""
    found: dict[str, float | None] = {}
    ious = [_ious(matrix) for matrix in confusions]
    for name, of_classes in zip(PLACES, ious, strict=True):
        found[f"{name}miou"] = _mean(of_classes)
    whole = confusions[0]
    found["pixel_accuracy"] = float(whole.trace() / whole.sum()) if whole.sum() else None
    found["absent"] = float(np.isnan(ious[0]).sum())
    return found | {f"iou.{name}": None if np.isnan(iou) else float(iou)
                    for name, iou in zip(classes, ious[0], strict=True)}  # fmt: skip


def _ious(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of each class; NaN where no pixel is labelled so."""
    right, labelled, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    return np.where(labelled > 0, right / np.maximum(labelled + predicted - right, 1), np.nan)


def _mean(ious: NDArray[np.float64]) -> float | None:
    known = ious[~np.isnan(ious)]
    return float(known.mean()) if len(known) else None


def _with_masks(
    batch: Batch, subject: Subject, masks: MaskStore
) -> list[tuple[NDArray[np.int64], Tensor, list[Tensor]]]:
    """Photos of one shape at their size: their places in the batch, pixels [n, 3, H, W], and masks [n, H, W], one for
    each of PLACES, in which what does not count is VOID; as many as the network is to be shown at a time."""
    parts = []
    for rows, sharp in groups_at_size(batch, subject.transform):
        height, width = sharp.shape[-2:]
        size = max(1, PIXELS // (height * width))
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            each = [at_size(masks.mask(int(k)), (height, width)) for k in batch.indices[some]]
            near = [near_boundaries(mask) for mask in each]
            counting = [each, *([np.where(at[k], m, VOID) for m, at in zip(each, near, strict=True)] for k in (0, 1))]
            stacked = [torch.from_numpy(np.stack(of)).to(sharp.device, non_blocking=True) for of in counting]
            parts.append((some, sharp[start : start + size], stacked))
    return parts


def _predicted(subject: Subject, sharp: Tensor, blur: Blur, indices: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """The class of each pixel [n, H, W], and which images [n] have logits that are all finite."""
    pixels = eight_bit_blurred(sharp, blur, indices, subject.transform)
    logits = subject.network.maps(subject.transform.normalise(pixels))
    return logits.argmax(1), torch.isfinite(logits).flatten(1).all(1)


def _of_image(index: np.int64, predicted: Tensor, mask: Tensor, classes: int) -> Records:
    counted = confusion(predicted, mask, classes)
    numbers = torch.stack([counted.diagonal(), counted.sum(1), counted.sum(0)]).cpu().numpy()
    of_classes = {f"{what}.{k}": row[[k]] for what, row in zip(_OF_IMAGE, numbers, strict=True) for k in range(classes)}
    return {"index": np.array([index]), **of_classes}
