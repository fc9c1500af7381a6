"""`blurtrain bench collect`: how long it takes to collect thousands of run directories, as a user waits for it, each
look by a fresh interpreter. The directories are generated: their settings are real ones, their numbers are drawn.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from analysis.collecting.run_folders import TICK_NS
from blurtrain.errors import RunError
from blurtrain.files import publish, sealed
from blurtrain.settings import compose, dump

EPOCHS, LEVELS, ROWS = 100, 33, 45
"""Of each run: epochs in its journal, levels of accuracy (five metrics each), rows of another measure."""
IMAGES, CLASSES, LARGEST = 5000, 100, 50
_DATASETS = ("faces", "imagenet-100", "imagenet-12", "toybox-category", "toybox-instance")
_REGIMES = ("clear", "blurry", "blurry-to-clear", "linear-blurry-to-clear", "random-uniform", "multi-step", "replay",
            "single-step", "geometric", "clear-to-blurry")  # fmt: skip
_RATES, _SEEDS = 40, 5
_LOOK = """
import json, resource, sys, time
began = time.perf_counter()
from analysis.collecting.collection import collect
collection = collect(sys.argv[1])
found = f"{collection.read} of {len(collection.rows)} runs read"
if sys.argv[2] != "collect":
    began = time.perf_counter()
    if sys.argv[2] == "columns":
        columns = ["run_id", "dataset", "regime", "seed", "optimisation.learning_rate", "blur", "value", "n"]
        frame = collection.measures(columns, measure="accuracy", metric="top1")
    elif sys.argv[2] == "table":
        from analysis.tabulation.tables import table
        options = {"rows": "dataset,regime", "columns": "sigma", "where": "optimisation.learning_rate=0.0001"}
        made = table(options, collection)
        frame = [cell for cells in made.cells for cell in cells if cell.estimate]
    else:
        from analysis.collecting.levels import levels_frame
        frame = levels_frame(collection)
    found = f"{len(frame)} cells" if sys.argv[2] == "table" else f"{len(frame)} rows, {len(frame.columns)} columns"
seconds = time.perf_counter() - began
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
peak = sum(one.ru_maxrss for one in used) / 2**20
cpu = sum(one.ru_utime + one.ru_stime for one in used)
print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "peak_gib": peak, "found": found}))
"""


def bench_collect(count: int, place: Path | None, report: Callable[[str], object]) -> Iterator[dict[str, Any]]:
    """Rows of {what, n (runs), seconds, cpu_seconds and peak_gib (of all its processes, from their start on), found},
    one after another.

    The runs are generated in a folder of its own in `place` (default: that of temporary files), and removed. Seconds of
    a collection begin before the package is imported; those of a table after the collection. Raises RunError.
    """
    with tempfile.TemporaryDirectory(prefix="blurtrain-bench-", dir=place) as name:
        runs = Path(name) / "runs"
        ids = list(generate(runs, count, report))
        time.sleep(2 * TICK_NS / 1e9)  # runs that have changed a moment ago are read again by the next collection
        yield {"what": "first collection", "n": count, **_look(runs, "collect")}
        yield {"what": "unchanged", "n": count, **_look(runs, "collect")}
        path = runs / ids[count // 2] / "evaluations" / "accuracy-0123456789ab.json"
        publish(path, _accuracy(random.Random(count)))
        yield {"what": "one run has changed", "n": count, **_look(runs, "collect")}
        yield {"what": "columns of a table", "n": count, **_look(runs, "columns")}
        yield {"what": "a table", "n": count, **_look(runs, "table")}
        yield {"what": "the frame of analysis.load", "n": count, **_look(runs, "levels")}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text."""
    return "\n".join(
        f"{row['what']:28} {row['seconds']:7.2f} s  {row['cpu_seconds']:6.2f} s of CPU  {row['peak_gib']:5.2f} GiB  "
        f"n = {row['n']}  {row['found']}"
        for row in rows
    )


def _look(runs: Path, what: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-c", _LOOK, str(runs), what], capture_output=True, text=True)
    if done.returncode:
        raise RunError(f"bench collect: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# --- run directories ------------------------------------------------------------------------------------------------


def generate(runs: Path, count: int, report: Callable[[str], object] = lambda line: None) -> Iterator[str]:
    """Write `count` run directories into `runs`, all done but every hundredth; yields their ids."""
    texts = {
        (dataset, regime): dump(compose({"dataset": dataset, "regime": regime}, "bench"))
        for dataset in _DATASETS
        for regime in _REGIMES
    }
    for k in range(count):
        if not k % 1000:
            report(f"{k} of {count} run directories generated")
        draw = random.Random(k)
        seed, rate, kind = k % _SEEDS, k // _SEEDS % _RATES, k // (_SEEDS * _RATES) % len(texts)
        (dataset, regime), text = list(texts.items())[kind]
        text = text.replace("\nseed: 0\n", f"\nseed: {seed}\n")
        text = text.replace("  learning_rate: 0.001\n", f"  learning_rate: {(rate + 1) / 10000}\n")
        run_id = f"{dataset}-{regime}-alexnet-sup-s{seed}-{k:012x}"
        _write(runs / run_id, _files(run_id, dataset, regime, seed, text, draw, done=bool((k + 1) % 100)))
        yield run_id


def _files(
    run_id: str, dataset: str, regime: str, seed: int, settings: str, draw: random.Random, done: bool
) -> dict[str, str]:
    result = {"run_id": run_id, "dataset": dataset, "regime": regime, "model": "alexnet-sup", "seed": seed,
              "data_id": f"{_DATASETS.index(dataset):016x}", "epochs": EPOCHS, "headline": "top-1 50.0 % at sigma 0",
              "accuracy": "accuracy-0123456789ab.json"}  # fmt: skip
    origin = {"host": "node", "pid": 1, "job": "", "data_id": result["data_id"], "version": "0.1.0", "sources": {}}
    files = {
        "settings.yaml": settings,
        "attempts/0001/settings.yaml": settings,
        "attempts/0001/origin.json": json.dumps(origin, indent=1),
        "attempts/0001/heartbeat.json": json.dumps({"sequence": 9, "epoch": 100.0, "epochs": EPOCHS, "ended": True}),
        "attempts/0001/journal.jsonl": _journal(draw, EPOCHS if done else EPOCHS // 2),
    }
    if done:
        files |= {
            "evaluations/accuracy-0123456789ab.json": _accuracy(draw),
            "evaluations/margin-0123456789ab.json": _margin(draw),
            "result.json": json.dumps(result, indent=1),
        }
    return files


def _journal(draw: random.Random, epochs: int) -> str:
    start = {"event": "start", "at": 0, "epoch": 0, "world": 1, "device": "cuda", "torch": "2.11.0", "threads": 1}
    events: list[dict[str, Any]] = [start]
    for epoch in range(1, epochs + 1):
        events.append({
            "event": "epoch", "at": 390 * epoch, "epoch": epoch, "learning_rate": 1e-3 * draw.random(), "sigma": 8.0,
            "loss": 4 * draw.random(), "top1": 100 * draw.random(), "n": 99840, "skipped": 0,
            "images_per_second": 9000 * draw.random(), "data_wait": draw.random(), "memory_gib": 2 + draw.random(),
        })  # fmt: skip
    return "".join(json.dumps(event) + "\n" for event in [*events, {"event": "done"}])


def _accuracy(draw: random.Random) -> str:
    rows: list[dict[str, Any]] = []
    for sigma in range(LEVELS):
        top1 = draw.randrange(IMAGES)
        top5 = draw.randrange(top1, IMAGES)
        about = {"blur": f"gaussian-{sigma}" if sigma else "sharp", "sigma": float(sigma), "split": "test", "n": IMAGES}
        rows += [{"metric": "top1", **about, "count": top1}, {"metric": "top5", **about, "count": top5}]
        rows += [{"metric": name, **about, "value": 4 * draw.random()} for name in ("loss", "entropy", "cross_entropy")]
    return _evaluation("accuracy", rows)


def _margin(draw: random.Random) -> str:
    return _evaluation("margin", [
        {"metric": "margin", "blur": f"disk-{k + 1}", "sigma": None, "n": IMAGES, "value": draw.random()}
        for k in range(ROWS)
    ])  # fmt: skip


def _evaluation(measure: str, rows: list[dict[str, Any]]) -> str:
    header = {
        "measure": measure, "split": "test", "epoch": EPOCHS, "n": IMAGES, "drop_last": False, "pixels": "source",
        "resolution": 224, "reference_resolution": 224, "truncate": 4.0, "light": "sRGB", "classes": CLASSES,
        "largest_class": LARGEST, "objects": None,
    }  # fmt: skip
    lines = [f" {json.dumps(name)}: {json.dumps(value)}," for name, value in header.items()]
    return sealed(
        "\n".join(["{", *lines, ' "rows": [', ",\n".join(f"  {json.dumps(row)}" for row in rows), " ]", "}\n"])
    )


def _write(run: Path, files: Mapping[str, str]) -> None:
    for folder in ("attempts/0001", "checkpoints", "evaluations"):
        (run / folder).mkdir(parents=True)
    for name, content in files.items():
        (run / name).write_text(content)
