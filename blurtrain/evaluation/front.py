"""`blurtrain.evaluation.evaluate`: runs and networks, by what a notebook has at hand."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blurtrain.blur.blurs import Blur
from blurtrain.data.dataset import Dataset, open_dataset
from blurtrain.errors import SettingsError
from blurtrain.evaluation.ensembles import evaluate_ensemble
from blurtrain.evaluation.networks import evaluate_network, network_plan
from blurtrain.evaluation.plan import Plan
from blurtrain.evaluation.runs import alone, evaluate_run, run_plan
from blurtrain.models.published import network_named
from blurtrain.models.trained import TrainedNetwork, of_run
from blurtrain.schema import validate
from blurtrain.settings import BlurUnits, Evaluation, check_levels

Level = Blur | str | float
One = TrainedNetwork | str | Path


def evaluate_any(
    network: One | Sequence[One],
    measures: Sequence[str],
    blurs: Sequence[Level] | None,
    data: str | Path | None,
    dataset: str | None,
    split: str | None,
    epoch: int | None,
    per_image: bool,
    out: str | Path | None,
) -> list[dict[str, Any]]:
    """See `blurtrain.evaluation.evaluate`. Raises SettingsError where a network that is no run has no `dataset` and
    `out`, or an ensemble no `out`."""
    wanted: dict[str, Any] = {"measures": list(measures), "per_image": per_image}
    wanted |= {} if split is None else {"split": split}
    if blurs is not None:
        numbers = [float(level) for level in blurs if isinstance(level, int | float)]
        others = [level for level in blurs if not isinstance(level, int | float)]
        shown = [level.model_dump(mode="json") if isinstance(level, Blur) else level for level in others]
        wanted |= {"sigmas": numbers, "blurs": shown}
    overrides = [f"evaluation.{name}={json.dumps(value)}" for name, value in wanted.items()]
    overrides += [] if data is None else [f"data.root={json.dumps(str(data))}"]

    def on_dataset(one: One) -> tuple[TrainedNetwork, Dataset, Evaluation]:
        evaluation: Evaluation = validate(wanted, "evaluate", Evaluation)
        check_levels(evaluation, BlurUnits(), "evaluate")
        if dataset is None or out is None:
            raise SettingsError("evaluate: a network that is no run needs dataset=NAME and out=FOLDER")
        trained = one if isinstance(one, TrainedNetwork) else network_named(str(one))
        return trained, open_dataset(Path(data or "data"), dataset), evaluation

    def plan(one: One) -> Plan:
        if (folder := _run(one)) and dataset is None:
            return run_plan(folder, overrides, epoch=epoch)
        return network_plan(*on_dataset(of_run(folder, epoch, data) if folder else one))

    if not isinstance(network, One):
        if out is None:
            raise SettingsError("evaluate: an ensemble needs out=FOLDER")
        documents = evaluate_ensemble([plan(one) for one in network], Path(out), group=alone())
    elif folder := _run(network):
        documents = evaluate_run(folder, overrides, epoch=epoch)
    else:
        documents = evaluate_network(*on_dataset(network), Path(out or "."), group=alone())
    return [{"measure": document["measure"], **row} for document in documents for row in document["rows"]]


def _run(network: One) -> Path | None:
    """The folder of a run; None of what is none."""
    if isinstance(network, TrainedNetwork) or not (Path(network) / "settings.yaml").exists():
        return None
    return Path(network)
