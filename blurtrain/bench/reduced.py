"""`blurtrain bench reduced`: what `data.reduced` saves of a step, and what it changes of the pixels."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from blurtrain.bench import medians
from blurtrain.bench.train import Bench, Pipeline, opened
from blurtrain.blur.assignment import Assignment
from blurtrain.data.augment import Transform
from blurtrain.data.reduced import reduced_side
from blurtrain.settings.sections import Reduced

SIGMAS = (16.0, 8.0, 4.0, 2.0, 1.0)
"""At the reference resolution; of the study, and twice its largest."""


def bench_reduced(device: torch.device, bench: Bench) -> list[dict[str, Any]]:
    """Rows of {sigma, side, images_per_second, of_whole, rms_255, max_255}, one for each sigma; both ways take turns.

    side: of the images in pixels. of_whole: images/s as a multiple of those at `bench.resolution` and the same sigma.
    rms_255, max_255: how far the reduced images, enlarged again (bicubic), are from the whole ones, of 255, over a
    batch of the training images.
    """
    reduced = Reduced(least_resolution=32)
    with (
        opened(bench) as (settings, dataset),
        contextlib.closing(Pipeline(settings, dataset, device, bench.deterministic)) as pipeline,
    ):
        _, batch = next(pipeline.source)
        whole, units = pipeline.transform, settings.blur.reference_resolution
        blurs = {sigma: Assignment.gaussian(np.array([sigma])) for sigma in SIGMAS}
        sides = {s: reduced_side(reduced, blur, bench.resolution, units) for s, blur in blurs.items()}
        small = {sigma: replace(whole, resolution=side) for sigma, side in sides.items()}

        def steps(transform: Transform, sigma: float) -> None:
            for _ in range(bench.steps):
                pipeline.step(sigma, transform)

        def error(sigma: float) -> tuple[float, float]:
            """Root mean square and maximum, of 255."""
            one, other = (pipeline.augmented(batch, 0, sigma, t).float() for t in (small[sigma], whole))
            sd = torch.tensor(whole.sd, device=one.device).view(3, 1, 1)
            off = (interpolate(one, size=other.shape[-2:], mode="bicubic") - other) * sd * 255
            return float(off.square().mean().sqrt()), float(off.abs().max())

        ways = {f"{sigma} {way}": partial(steps, t, sigma) for sigma in SIGMAS
                for way, t in (("small", small[sigma]), ("whole", whole))}  # fmt: skip
        milliseconds = medians(ways, device, bench.repeats, enough=120.0)
        errors = {sigma: error(sigma) for sigma in SIGMAS}
    return list(_rows(bench, sides, milliseconds, errors))


def _rows(
    bench: Bench, sides: dict[float, int], milliseconds: dict[str, float], errors: dict[float, tuple[float, float]]
) -> Iterator[dict[str, Any]]:
    images = 1000 * bench.batch * bench.steps
    for sigma, side in sides.items():
        taken, whole = milliseconds[f"{sigma} small"], milliseconds[f"{sigma} whole"]
        rms, most = errors[sigma]
        yield {
            "architecture": bench.architecture, "resolution": bench.resolution, "batch": bench.batch,
            "arithmetic": bench.arithmetic, "sigma": sigma, "side": side, "images_per_second": images / taken,
            "of_whole": whole / taken, "rms_255": rms, "max_255": most,
        }  # fmt: skip


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text."""
    lines = ["{architecture}, {resolution} px, batches of {batch}, {arithmetic}".format(**rows[0])]
    lines += ["sigma at 224  side, px  images/s  of whole images'  error of pixels of 255: rms  largest"]
    lines += [
        f"{row['sigma']:<13g} {row['side']:>8}  {row['images_per_second']:>8.0f}  {row['of_whole']:>16.2f}  "
        f"{row['rms_255']:>27.2f}  {row['max_255']:>7.1f}"
        for row in rows
    ]
    return "\n".join(lines)
