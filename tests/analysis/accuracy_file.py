"""What an evaluation leaves in a run directory, written without one."""

import json
from collections.abc import Mapping, Sequence
from typing import Any


def evaluation(counts: Mapping[float, int], objects: Sequence[Sequence[int]] | None = None, **fields: Any) -> str:
    """An `accuracy-*.json`: `counts` maps sigma to images correct at top-1. `objects`: the images of each object, then
    the right ones of each at every sigma."""
    document: dict[str, Any] = {
        "measure": "accuracy", "split": "test", "n": 86, "classes": 26, "largest_class": 25, "epoch": 60,
        "resolution": 64, "reference_resolution": 224, "truncate": 4.0, "light": "sRGB", "pixels": "source",
        "objects": objects[0] if objects else None,
    } | fields  # fmt: skip
    document["levels"] = [{"sigma": s, "top1": c, "top5": min(c + 5, document["n"])} for s, c in counts.items()]
    for level, right in zip(document["levels"], (objects or [])[1:], strict=False):
        level["top1_by_object"] = right
    return json.dumps(document)
