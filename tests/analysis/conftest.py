"""Run directories as training leaves them, made without training."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from blurtrain.settings import compose, dump

SIGMAS = (0.0, 1.0, 8.0)
MakeRun = Callable[..., str]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def make_run() -> MakeRun:
    """Make one run directory in `runs`; returns its id. `counts` maps sigma to images correct at top-1; `done=False`
    leaves the run without a result; any field of the two JSON files can be given by name."""

    def make(
        runs: Path,
        dataset: str = "faces",
        regime: str = "clear",
        seed: int = 0,
        counts: Mapping[float, int] | None = None,
        done: bool = True,
        run_id: str | None = None,
        **fields: Any,
    ) -> str:
        run_id = run_id or f"{dataset}-{regime}-{seed}-{len(list(runs.iterdir())):012x}"
        counts = dict.fromkeys(SIGMAS, 40) if counts is None else counts
        folder = runs / run_id
        (folder / "evaluations").mkdir(parents=True)
        known = ("clear", "blurry", "blurry-to-clear")
        document: dict[str, Any] = {"dataset": "faces", "regime": regime if regime in known else "clear", "seed": seed}
        (folder / "settings.yaml").write_text(dump(compose(document, "test")))
        if not done:
            return run_id
        accuracy = {
            "measure": "accuracy", "split": "test", "n": 86, "classes": 26, "largest_class": 25, "epoch": 60,
            "resolution": 64, "reference_resolution": 224, "truncate": 4.0, "light": "sRGB", "pixels": "source",
        }  # fmt: skip
        accuracy |= {k: v for k, v in fields.items() if k in accuracy}
        accuracy["levels"] = [{"sigma": s, "top1": c, "top5": min(c + 5, accuracy["n"])} for s, c in counts.items()]
        (folder / "evaluations" / "accuracy-0123abcd.json").write_text(json.dumps(accuracy))
        result = {"run_id": run_id, "dataset": dataset, "regime": regime, "model": "alexnet-sup", "seed": seed,
                  "epochs": 60, "accuracy": "accuracy-0123abcd.json"}  # fmt: skip
        result |= {k: v for k, v in fields.items() if k in result}
        (folder / "result.json").write_text(json.dumps(result))
        return run_id

    return make
