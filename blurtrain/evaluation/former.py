"""Levels that older versions measured of a run, so that none is computed again.

Their files held counts by sigma alone, one file for each list of sigmas, named after a hash of that list and of all
that the counts depend on.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from blurtrain.blur.blurs import Gaussian
from blurtrain.data.dataset import EvaluationImages
from blurtrain.errors import RunError
from blurtrain.evaluation.subject import Row
from blurtrain.files import read_json
from blurtrain.run import Run
from blurtrain.settings import Settings


def former_rows(run: Run, settings: Settings, images: EvaluationImages, epoch: int) -> list[Row]:
    """Rows of all levels in files of the older form that were taken under these conditions."""
    found: dict[str, list[Row]] = {}
    for path in sorted(run.evaluations.glob("accuracy-*.json")):
        try:
            document = read_json(path)
        except RunError:
            continue  # it is only a cache; analysis names what is damaged
        if not isinstance(document, Mapping) or "levels" not in document:
            continue
        sigmas = [level["sigma"] for level in document["levels"]]
        if path.stem == f"accuracy-{former_key(settings, images, epoch, sigmas)}":
            for level in document["levels"]:
                rows = _rows(document, level, settings.blur.reference_resolution, epoch)
                found.setdefault(rows[0]["blur"], rows)
    return [row for rows in found.values() for row in rows]


def former_key(settings: Settings, images: EvaluationImages, epoch: int, sigmas: list[float]) -> str:
    """The hash by which an older version named the file of these sigmas."""
    e, blur = settings.evaluation, settings.blur
    rules = {name: getattr(blur, name) for name in ("reference_resolution", "truncate", "linear_light")}
    parts: list[Any] = [3, e.split, sigmas, epoch, rules, settings.data.resolution]
    if settings.curriculum.feature_sigma_at_test(epoch):
        parts.append(settings.curriculum.model_dump())
    if e.drop_last:
        parts.append({"drop_last": e.batch_size})
    if images.pixels == "source":
        parts.append(images.store.folder.name)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _rows(document: Mapping[str, Any], level: Mapping[str, Any], reference: int, epoch: int) -> list[Row]:
    sigma = level["sigma"]
    about = {"blur": Gaussian(sigma=sigma, at=reference).label if sigma else "sharp", "sigma": sigma}
    of = {"split": document["split"], "epoch": epoch, "n": document["n"]}
    by_object = {"by_object": level["top1_by_object"]} if "top1_by_object" in level else {}
    return [
        {"metric": "top1", **about, **of, "count": level["top1"], **by_object},
        {"metric": "top5", **about, **of, "count": level["top5"]},
    ]
