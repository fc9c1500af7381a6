"""`blurtrain bench minimal-blur`: what it takes to find the smallest sigma that changes a prediction, beside a plain
scan of the same precision that goes up from the smallest one until the prediction changes."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from blurtrain.bench import synchronise
from blurtrain.device import cores
from blurtrain.distributed import Group
from blurtrain.evaluation.flips import Flips, Grid, Predict
from blurtrain.evaluation.measures.minimal_blur import MinimalBlur
from blurtrain.evaluation.plan import Plan
from blurtrain.evaluation.subject import Records


def bench_minimal_blur(plan: Plan, device: torch.device, count: int, precision: float) -> list[dict[str, Any]]:
    """Rows of {what, n, seconds, passes_per_image, same, earlier, other}, each of one go, images read and all.

    Both look at the first `count` images of a split that are evenly apart in it, with the same options. passes: through
    the network, with the one on the sharp image. An image may flip and come back between two scanned sigmas, which the
    plain scan alone sees: `earlier` counts the images whose flip it finds at a smaller sigma; `same` at the same one;
    `other` is to be 0.
    """
    torch.set_num_threads(len(cores()))
    indices = np.unique(np.linspace(0, plan.images.n - 1, min(count, plan.images.n)).round().astype(np.int64))
    subset = indices if plan.images.subset is None else plan.images.subset[indices]
    images = replace(plan.images, subset=subset, n=len(indices))
    subject = replace(plan, images=images).opened(Group(0, 1, device, len(cores())))
    options = {"families": ["gaussian"], "precision": precision}
    ways: dict[str, MinimalBlur] = {
        "scan and bisection": MinimalBlur.model_validate(options),
        "plain scan": PlainScan.model_validate(options),
    }
    found: dict[str, tuple[float, Records]] = {}
    for what, measure in ways.items():
        measure.measure(
            replace(subject, images=replace(images, n=min(images.batch_size, images.n))), ["gaussian"], True
        )
        synchronise(device)
        began = time.perf_counter()
        records = measure.measure(subject, ["gaussian"], per_image=True).records["gaussian"]
        synchronise(device)
        found[what] = time.perf_counter() - began, records
    plain = found["plain scan"][1]["length"]
    return [
        {
            "what": what,
            "network": plan.name,
            "device": str(device),
            "precision": precision,
            "n": images.n,
            "seconds": round(seconds, 2),
            "passes_per_image": round(1 + float(records["passes"].mean()), 3),
            "most_passes": 1 + int(records["passes"].max()),
            "same": int((records["length"] == plain).sum()),
            "earlier": int((records["length"] > plain).sum()),
            "other": int((records["length"] < plain).sum()),
            "returned": int(records["returned"].sum()),
            "censored": int(records["censored"].sum()),
        }
        for what, (seconds, records) in found.items()
    ]


def plain_scan(predict: Predict, start: NDArray[np.int64], followed: NDArray[np.bool_], grid: Grid) -> Flips:
    """As `first_flips`, by trying point after point; whether predictions come back is not looked at."""
    first, tries, finite = np.full(len(start), len(grid.points)), np.zeros(len(start), np.int64), start >= 0
    active = np.flatnonzero(followed & finite)
    for point in range(len(grid.points)):
        if not len(active):
            break
        found = predict(active, np.full(len(active), point))
        tries[active] += 1
        finite[active[found < 0]] = False
        first[active[found != start[active]]] = point
        active = active[found == start[active]]
    return Flips(first, np.zeros(len(start), np.bool_), finite, tries)


class PlainScan(MinimalBlur):
    """Minimal blur by `plain_scan`."""

    def search(self, predict: Predict, start: NDArray[np.int64], followed: NDArray[np.bool_]) -> Flips:
        """See `MinimalBlur.search`."""
        return plain_scan(predict, start, followed, self.grid)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text."""
    one = rows[0]
    lines = [f"{one['network']}, n = {one['n']}, {one['device']}, sigma to {100 * one['precision']:g} %"]
    lines += [f"{'what':20} {'seconds':>9} {'passes/image':>13} {'most':>5}"]
    for row in rows:
        lines.append(
            f"{row['what']:20} {row['seconds']:>9.1f} {row['passes_per_image']:>13.2f} {row['most_passes']:>5}"
        )
    lines.append(
        f"same sigma: {one['same']}; the plain scan flips earlier, between scanned sigmas: {one['earlier']}; other: "
        f"{one['other']}; back at a scanned sigma: {one['returned']}; never changed: {one['censored']}"
    )
    return "\n".join(lines)
