"""A search as it lies on disk, made without training."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from blurtrain.run import Run
from blurtrain.trials import Study, Trial

MakeRun = Callable[..., str]
SPACE = {
    "optimisation.learning_rate": {"log_uniform": [1e-4, 1e-2]},
    "optimisation.optimiser": {"choice": ["adam", "sgd"]},
    "optimisation.momentum": {"uniform": [0.5, 0.99], "when": {"optimisation.optimiser": "sgd"}},
}


class SearchFolder:
    """A search in a folder of runs; `trial` adds one with its runs."""

    def __init__(self, runs: Path, make_run: MakeRun, seeds: Sequence[int] = (0,), **said: Any):
        self.runs, self.make_run, self.seeds = runs, make_run, seeds
        self.study = Study(runs, f"{said.get('name', 'mine')}-01234567")
        document = {"name": "mine", "space": SPACE, "objective": {}, "seeds": list(seeds), "trials": 0,
                    "searcher": {"name": "tpe", "seed": 0},
                    "scheduler": {"name": "asha", "grace_epochs": 2, "reduction_factor": 3}}  # fmt: skip
        self.study.begin({**document, **said})

    def trial(
        self,
        values: Sequence[Sequence[float]],
        active: Mapping[str, Any] | None = None,
        ended: str = "done",
        message: str = "",
        counts: Sequence[Mapping[float, int]] = (),
        epochs: int = 9,
        regime: str = "clear",
        **fields: Any,
    ) -> list[str]:
        """values: top-1 on the val split after each epoch, of each seed; active: what it sets, None: the base settings;
        counts: of each seed, as `make_run` takes them. Returns the ids of its runs."""
        number = len(self.study.trials())
        settings: dict[str, Any] = {"optimisation": {"epochs": epochs, "warmup_epochs": 0}}
        for path, value in (active or {}).items():
            settings["optimisation"][path.split(".")[1]] = value
        ids = []
        for k, (seed, own) in enumerate(zip(self.seeds, values, strict=True)):
            run_id = self.make_run(
                self.runs, "faces", regime, seed, counts[k] if counts else None, done=ended == "done",
                run_id=f"faces-{regime}-s{seed}-{number:012x}", settings=settings, epoch=epochs, **fields,
            )  # fmt: skip
            self._journal(Run(self.runs / run_id), own, epochs, running=ended == "")
            if ended == "done":
                result = Run(self.runs / run_id).result()
                (self.runs / run_id / "result.json").write_text(json.dumps({**(result or {}), "epochs": epochs}))
            ids.append(run_id)
        point = None if active is None else dict(active)
        base = {"optimisation.learning_rate": 1e-3, "optimisation.optimiser": "adam"}
        self.study.write(Trial(number, point, point if point is not None else base, tuple(ids), ended, message))
        return ids

    def _journal(self, run: Run, values: Sequence[float], epochs: int, running: bool) -> None:
        attempt = run.path / "attempts" / "0001"
        events: list[dict[str, Any]] = [{"event": "start", "at": 0, "epoch": 0}]
        for epoch, value in enumerate(values, 1):
            levels = [{"blur": "sharp", "top1": value, "loss": 5 - value / 50}]
            events.append({"event": "validation", "at": epoch, "epoch": epoch, "n": 45, "levels": levels})
        (attempt / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
        beat = {"sequence": 1, "epoch": len(values) + 0.5 * running, "ended": not running}
        (attempt / "heartbeat.json").write_text(json.dumps(beat))
        origin = {"data_id": "1de4f0c1db203d86", "host": os.uname().nodename, "pid": os.getpid()}
        (attempt / "origin.json").write_text(json.dumps(origin))
