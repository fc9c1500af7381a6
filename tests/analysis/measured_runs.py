"""Run directories of which anything was measured, made without training."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.tabulation.metric_facts import KNOWN
from analysis.tabulation.specs import table_specs

MakeRun = Callable[..., str]
Right = Mapping[str, Sequence[int]]
"""By blur, for each test image 1 where it is right and 0 else."""


def measured(
    runs: Path,
    make_run: MakeRun,
    right: Right,
    regime: str = "clear",
    seed: int = 0,
    records: bool = False,
    **more: Any,
) -> str:
    """A run whose test images are right or wrong as said; `records`: also of each image. `more` as `make_run` has it,
    and `entropy`, `split`, `objects` and `old_records` as `evaluated`."""
    own = {name: more.pop(name) for name in ("entropy", "split", "objects", "old_records") if name in more}
    run_id = make_run(runs, more.pop("dataset", "faces"), regime, seed, **more)
    evaluated(runs / run_id / "evaluations" / "accuracy-0123abcd.json", right, records, **own)
    return run_id


def evaluated(
    path: Path,
    right: Right,
    records: bool = False,
    entropy: float | Sequence[float] = 1.0,
    split: str = "test",
    epoch: int | None = None,
    objects: Sequence[int] | None = None,
    protocol: str = "whole",
    old_records: bool = False,
) -> None:
    """One file of a run; `entropy` is that of each image, or of all, at every level, as is cross-entropy; `objects`
    says which object each image shows; `old_records` do not."""
    n = len(next(iter(right.values())))
    shown = None if objects is None else [objects.count(one) for one in sorted(set(objects))]
    rows = []
    for blur, of_blur in right.items():
        about = {"blur": blur, "sigma": sigma_of(blur), "n": n}
        top1 = {"metric": "top1", "count": sum(of_blur), **about}
        if objects is not None:
            top1["by_object"] = [
                sum(x for x, o in zip(of_blur, objects, strict=True) if o == k) for k in sorted(set(objects))
            ]
        rows += [top1, {"metric": "top5", "count": n, **about}]
        mean = float(np.mean(entropy))
        rows += [{"metric": name, "value": mean, **about} for name in ("entropy", "cross_entropy")]
    document = {
        "measure": "accuracy", "split": split, "n": n, "classes": 10, "largest_class": max(1, n // 10),
        "resolution": 64, "reference_resolution": 224, "truncate": 4.0, "objects": shown,
        "protocol": protocol, "rows": rows,
        **({} if epoch is None else {"epoch": epoch}),
    }  # fmt: skip
    path.write_text(json.dumps(document))
    if records:
        known = {"index": range(n)} | ({} if objects is None or old_records else {"object": objects})
        parts = [pd.DataFrame({"blur": blur, **known, "top1": [bool(x) for x in of_blur], "entropy": entropy})
                 for blur, of_blur in right.items()]  # fmt: skip
        pd.concat(parts).to_parquet(path.with_suffix(".parquet"))


def own_measure(runs: Path, run_id: str, values: Mapping[str, float], metric: str = "margin") -> None:
    """What a measure of one's own found of a run, by blur."""
    (path,) = (runs / run_id / "evaluations").glob("accuracy-0123abcd.json")
    document = json.loads(path.read_text()) | {"measure": metric}
    document["rows"] = [{"metric": metric, "value": value, "blur": blur, "sigma": sigma_of(blur), "n": document["n"]}
                        for blur, value in values.items()]  # fmt: skip
    path.with_name(f"{metric}-0123abcd.json").write_text(json.dumps(document))


def dependent(runs: Path, make_run: MakeRun, blur: str, right: int, n: int, regime: str, seed: int) -> None:
    """A run whose images show two objects, with so many right at top-5, too, which are not counted by object."""
    objects = [k % 2 for k in range(n)]
    run_id = measured(runs, make_run, {blur: images(right, n)}, regime, seed, objects=objects)
    path = runs / run_id / "evaluations" / "accuracy-0123abcd.json"
    document = json.loads(path.read_text())
    for row in document["rows"]:
        row |= {"count": right} if row["metric"] == "top5" else {}
    path.write_text(json.dumps(document))


def calibrated(evaluations: Path, blurs: Iterable[str]) -> None:
    """What the measure calibration finds, beside the accuracy of a run."""
    document = json.loads((evaluations / "accuracy-0123abcd.json").read_text()) | {"measure": "calibration"}
    metrics = ("ece", "brier", "confidence", "top1_at_90", "top1_at_50", "aurc")
    document["rows"] = [{"metric": metric, "value": 0.25, "blur": blur, "sigma": sigma_of(blur), "n": document["n"]}
                        for blur in blurs for metric in metrics]  # fmt: skip
    (evaluations / "calibration-0123abcd.json").write_text(json.dumps(document))


def sigma_of(blur: str) -> float | None:
    return 0.0 if blur == "sharp" else float(blur.removeprefix("gaussian-")) if blur.startswith("gaussian-") else None


def images(right: int, n: int = 50, first: int = 0) -> list[int]:
    """So many are right, from `first` on."""
    return [int(first <= k < first + right) for k in range(n)]


def _of_their_measures(runs: Path, run_id: str) -> None:
    """A number of each metric that a ready table has of another measure than accuracy and calibration."""
    (path,) = (runs / run_id / "evaluations").glob("accuracy-0123abcd.json")
    document = json.loads(path.read_text())
    for spec in table_specs():
        names = [name.removeprefix(f"{spec.name}.") for name in spec.values if name not in KNOWN]
        if names and spec.name != "calibration":
            rows = [{"metric": name, "value": 0.5, "blur": "sharp", "sigma": 0.0, "n": document["n"]} for name in names]
            content = json.dumps(document | {"measure": spec.name, "rows": rows})
            path.with_name(f"{spec.name}-0123abcd.json").write_text(content)


def of_ready_tables(runs: Path, make_run: MakeRun) -> None:
    """Runs of which every table that comes with the project has a number, but for that of trials."""
    sigmas = {"sharp" if s == 0 else f"gaussian-{s}": images(40 - s) for s in (0, 1, 2, 4, 8, 16, 32)}
    for dataset in ("faces", "toybox-category"):
        for regime in ("clear", "blurry", "blurry-to-clear"):
            for seed in (0, 1):
                run = measured(runs, make_run, sigmas, regime, seed, dataset=dataset)
                calibrated(runs / run / "evaluations", sigmas)
                evaluated(runs / run / "evaluations" / "accuracy-frequencies.json", {"lowpass-8": images(20)})
                _of_their_measures(runs, run)
    blurs = {blur: images(20) for blur in ("sharp", "disk-4@384", "disk-8@384", "shake@384")}
    kept = {"file": "w.pt", "sha256": "a" * 64, "head": "kept"}
    for model, protocols in (("vgg-16", ("all-128@384", "all-256@384", "all-512@384", "all-256+512@384")),
                             ("resnet-50", ("five-256@384",)), ("mobilenet-v2", ("all-146@384",))):  # fmt: skip
        settings: dict[str, Any] = {
            "model": model,
            "network": {"pretrained": kept},
            "optimisation": {"epochs": 0, "warmup_epochs": 0},
        }
        settings["augmentation"] = {"colour": 0, "scaled": {"network_scales": [256]}}
        run = measured(runs, make_run, blurs, "original", dataset="pets", settings=settings, epoch=0)
        for protocol in protocols:
            path = runs / run / "evaluations" / f"accuracy-{protocol.replace('@', '-')}.json"
            evaluated(path, blurs, protocol=protocol)
