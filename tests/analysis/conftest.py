"""Run directories as training leaves them, made without training."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from accuracy_file import evaluation

from blurtrain.documents import merge
from blurtrain.settings import PRESETS, compose, dump

SIGMAS = (0.0, 1.0, 8.0)
MakeRun = Callable[..., str]
FIELDS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "epoch": lambda v: {"optimisation": {"epochs": v}},
    "resolution": lambda v: {"data": {"resolution": v}},
    "reference_resolution": lambda v: {"blur": {"reference_resolution": v}},
    "truncate": lambda v: {"blur": {"truncate": v}},
    "light": lambda v: {"blur": {"linear_light": v == "linear"}},
    "split": lambda v: {"evaluation": {"split": v}},
}
"""Fields of an evaluation that follow from the settings of its run."""


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def make_run() -> MakeRun:
    """Make one run directory in `runs`; returns its id. `counts` and `objects` as `evaluation` takes them; `settings`
    are those of the run, and any field of the evaluation can be given by name (the settings follow). `data`: the id of
    the data, None: nobody knows any more. `done=False` leaves the run without a result."""

    def make(
        runs: Path,
        dataset: str = "faces",
        regime: str = "clear",
        seed: int = 0,
        counts: Mapping[float, int] | None = None,
        done: bool = True,
        run_id: str | None = None,
        objects: Sequence[Sequence[int]] | None = None,
        settings: Mapping[str, Any] | None = None,
        data: str | None = "1de4f0c1db203d86",
        accuracy: str = "accuracy-0123abcd.json",
        **fields: Any,
    ) -> str:
        run_id = run_id or f"{dataset}-{regime}-{seed}-{len(list(runs.iterdir())):012x}"
        counts = dict.fromkeys(SIGMAS, 40) if counts is None else counts
        folder = runs / run_id
        (folder / "evaluations").mkdir(parents=True)
        document: dict[str, Any] = {"dataset": dataset, "regime": regime, "seed": seed}
        if not (PRESETS / "regimes" / f"{regime}.yaml").exists():
            document["curriculum"] = {"schedule": "constant", "sigma": 3}
        for name, value in ({"epoch": 60, "resolution": 64} | fields).items():
            document = merge(document, FIELDS[name](value)) if name in FIELDS else document
        document = merge(document, settings or {})
        (folder / "settings.yaml").write_text(dump(compose(document, "test")))
        if data:
            (folder / "attempts" / "0001").mkdir(parents=True)
            (folder / "attempts" / "0001" / "origin.json").write_text(json.dumps({"data_id": data}))
        if not done:
            return run_id
        (folder / "evaluations" / "accuracy-0123abcd.json").write_text(evaluation(counts, objects, **fields))
        result = {"run_id": run_id, "dataset": dataset, "regime": regime, "model": "alexnet-sup", "seed": seed,
                  "epochs": 60, "accuracy": accuracy}  # fmt: skip
        (folder / "result.json").write_text(json.dumps(result))
        return run_id

    return make
