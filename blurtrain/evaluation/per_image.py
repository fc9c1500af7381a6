"""What a measure finds of each image, from all processes, as records and as rows."""

from collections.abc import Mapping, Sequence

import numpy as np

from blurtrain.distributed import Group
from blurtrain.evaluation.images import Images
from blurtrain.evaluation.subject import Records, Row

OfLevels = Mapping[str, Records]
"""Records by level."""


def collected(parts: Sequence[OfLevels], levels: Sequence[str], images: Images, group: Group) -> dict[str, Records]:
    """The records of all batches of all processes, by the index of the images; every process calls it.

    Raises RuntimeError if not every image was measured exactly once.
    """
    everywhere = [part for process in group.gather(list(parts)) for part in process]
    found: dict[str, Records] = {}
    for level in levels:
        whole = {name: np.concatenate([part[level][name] for part in everywhere]) for name in everywhere[0][level]}
        order = np.argsort(whole["index"])
        found[level] = {name: values[order] for name, values in whole.items()}
        if not np.array_equal(found[level]["index"], images.indices):
            raise RuntimeError(f"{len(order)} images were measured, which are not the {images.n} of the split")
    return found


def rows_of(level: str, sigma: float | None, records: Records) -> list[Row]:
    """Booleans of records are counted, numbers averaged, each a metric of its name."""
    about = {"blur": level, "sigma": sigma, "n": len(records["index"])}
    return [
        {"metric": name, **about, "count": int(values.sum())}
        if values.dtype == bool
        else {"metric": name, **about, "value": float(values.mean())}
        for name, values in records.items()
        if name != "index"
    ]
