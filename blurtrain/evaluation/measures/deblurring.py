"""How near restored images are to the sharp ones, and how long restoring takes."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from blurtrain.blur.blurs import Blur
from blurtrain.data.batches import Batch
from blurtrain.device import tf32
from blurtrain.evaluation.measure import Measure
from blurtrain.evaluation.quality import MOST_PSNR, RANGE, psnr, ssim
from blurtrain.evaluation.subject import Found, Records, Row, Subject
from blurtrain.evaluation.sweep import sigma_of
from blurtrain.evaluation.views import eight_bit_blurred, groups_at_size

FRAME = 16
"""Pixels from the border that count as near it."""
_DECIBELS = {"unit": "dB", "digits": 2, "better": "higher", "most": MOST_PSNR}


class Deblurring(Measure):
    """Of images at 8 bits, where they are blurred and restored (at `evaluation.protocol`'s size, before they are scaled
    for the network), beside the sharp ones; the network plays no part. Means over images:

    psnr, ssim: of the image as the network is given it: restored, or blurred where `evaluation.deblur` is not asked
    for. psnr_frame, psnr_centre: PSNR within 16 pixels of the border, where ringing would show, and further inside.
    Where it is restored, also psnr_gain: by how much PSNR is higher than that of the blurred image; gained: images of
    which it is higher at all; seconds: of an image, in batches of evaluation.batch_size on this device.
    """

    name: ClassVar[str] = "deblurring"
    of_classes: ClassVar[bool] = False
    of_protocols: ClassVar[bool] = True
    metrics: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "psnr": {"label": "PSNR", **_DECIBELS},
        "ssim": {"label": "SSIM", "digits": 3, "better": "higher", "most": 1},
        "psnr_frame": {"label": "PSNR near the border", **_DECIBELS},
        "psnr_centre": {"label": "PSNR inside", **_DECIBELS},
        "psnr_gain": {"label": "PSNR gain", **_DECIBELS},
        "gained": {"label": "images whose PSNR rises", "unit": "%", "times": 100, "digits": 1, "better": "higher"},
        "seconds": {"label": "time an image", "unit": "s", "digits": 3, "better": "lower", "least": 0},
    }

    @tf32(False)
    @torch.inference_mode()
    def measure(self, subject: Subject, levels: Sequence[Blur], per_image: bool) -> Found:
        """See `Measure.measure`."""
        images, group = subject.images, subject.group
        parts: list[dict[str, Records]] = []
        for batch in images.batches(subject.loader, group.rank, group.world):
            if batch is not None:
                groups = groups_at_size(batch, subject.transform)
                parts += [_of_images(subject, batch, rows, sharp, levels) for rows, sharp in groups]
            subject.tick()
        gathered = [part for process in group.gather(parts) for part in process]
        rows: list[Row] = []
        records: dict[str, Records] = {}
        for blur in levels:
            of_level = [part[blur.label] for part in gathered]
            whole = {name: np.concatenate([part[name] for part in of_level]) for name in of_level[0]}
            order = np.argsort(whole["index"])
            records[blur.label] = {name: values[order] for name, values in whole.items()}
            if not np.array_equal(records[blur.label]["index"], images.indices):
                raise RuntimeError(f"deblurring was measured of {len(order)} images, not of the {images.n}")
            rows += _rows(blur, records[blur.label], subject.transform.blur.reference_resolution)
        return Found(rows, records if per_image else {})


def _of_images(subject: Subject, batch: Batch, rows: Any, sharp: Tensor, levels: Sequence[Blur]) -> dict[str, Records]:
    """Of images of one shape, at their size, at all levels."""
    shown, plain = subject.transform, subject.deblurred(None).transform
    indices = batch.indices[rows]
    found: dict[str, Records] = {}
    for blur in levels:
        seen = blurred = eight_bit_blurred(sharp, blur, indices, plain)
        values: dict[str, Tensor] = {}
        if shown.deblur:
            began = _now(blurred.device)
            seen = shown.deblurred(blurred, blur, indices)
            taken = (_now(blurred.device) - began) / len(indices)
            gain = psnr(seen, sharp) - psnr(blurred, sharp)
            values = {"psnr_gain": gain, "gained": gain > 0, "seconds": torch.full_like(gain, taken)}
        frame, centre = _by_place(seen, sharp)
        values = {
            "psnr": psnr(seen, sharp),
            "ssim": ssim(seen, sharp),
            "psnr_frame": frame,
            "psnr_centre": centre,
            **values,
        }
        found[blur.label] = {"index": indices, **{name: value.cpu().numpy() for name, value in values.items()}}
    return found


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _by_place(images: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """PSNR within FRAME pixels of the border, and further inside; of small images, of the outer and the inner half."""
    error = (images.double() - others.double()).square().mean(1)
    height, width = error.shape[1:]
    edge = min(FRAME, min(height, width) // 4)
    inside = error[:, edge : height - edge, edge : width - edge]
    frame = (error.sum((1, 2)) - inside.sum((1, 2))).clamp(min=0) / (height * width - inside[0].numel())
    each = [10 * torch.log10(RANGE**2 / part) for part in (frame, inside.mean((1, 2)))]
    return each[0].clamp(max=MOST_PSNR), each[1].clamp(max=MOST_PSNR)


def _rows(blur: Blur, records: Records, reference: int) -> list[Row]:
    about = {"blur": blur.label, "sigma": sigma_of(blur, reference), "n": len(records["index"])}
    rows: list[Row] = []
    for name, values in records.items():
        if values.dtype == bool:
            rows.append({"metric": name, **about, "count": int(values.sum())})
        elif name != "index":
            rows.append({"metric": name, **about, "value": float(values.mean())})
    return rows
