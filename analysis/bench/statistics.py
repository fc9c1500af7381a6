"""How long paired statistics of a million per-image values take, in closed form and by resampling."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.statistics import bootstrap
from analysis.statistics import estimates as statistics

OBJECTS = 36
SHAPES = ((5, 100_000), (10, 50_000))
"""Seeds and images, of each of two networks."""


def bench_statistics(rows: int = 1_000_000, resamples: int = 1000) -> Iterator[dict[str, Any]]:
    """Seconds of `statistics.paired`, `bootstrap.paired` and `bootstrap.ratio`, a row each: of right and wrong images
    and of values that all differ, independent and by object, of about `rows` values in all."""
    for seeds, images in SHAPES:
        images = max(images * rows // 1_000_000, 10)
        for values, (own, base) in _values(seeds, images).items():
            for units, clusters in (("images", None), (f"{OBJECTS} objects", np.arange(images) % OBJECTS)):
                about = {"values": values, "units": units, "rows": 2 * seeds * images, "seeds": seeds, "images": images}
                for what, run in (
                    ("paired", lambda own=own, base=base, c=clusters: statistics.paired(own, base, c).difference),
                    ("bootstrap", lambda own=own, base=base, c=clusters: bootstrap.paired(
                        own, base, c, resamples=resamples)),
                    ("bootstrap, ratio", lambda own=own, base=base, c=clusters: bootstrap.ratio(
                        own, base, c, resamples=resamples)),
                ):  # fmt: skip
                    began = time.perf_counter()
                    found = run()
                    seconds = time.perf_counter() - began
                    yield {"what": what, **about, "resamples": resamples if what != "paired" else 0,
                           "seconds": seconds, "value": found.value, "low": found.low, "high": found.high}  # fmt: skip


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line a row."""
    head = f"{'what':17} {'values':15} {'over':11} {'seeds':>5} {'rows':>9}  seconds  value [95 % interval]"
    return "\n".join([head, *(
        f"{row['what']:17} {row['values']:15} {row['units']:11} {row['seeds']:5} {row['rows']:9,}  "
        f"{row['seconds']:7.2f}  {row['value']:.4f} [{row['low']:.4f}, {row['high']:.4f}]"
        for row in rows
    )])  # fmt: skip


def _values(seeds: int, images: int) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Of two networks: images and seeds both matter."""
    rng = np.random.default_rng(0)
    hard = rng.normal(size=images)
    own, base = (
        hard + rng.normal(0, 0.1, (seeds, 1)) + rng.normal(size=(seeds, images)) + shift for shift in (0.6, 0.4)
    )
    return {"right or wrong": (own > 0, base > 0), "all different": (np.exp(own / 4), np.exp(base / 4))}
