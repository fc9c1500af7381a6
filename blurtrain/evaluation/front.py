"""`blurtrain.evaluation.evaluate`: a run or a network, by what a notebook has at hand."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blurtrain.blur.blurs import Blur
from blurtrain.data.dataset import open_dataset
from blurtrain.errors import SettingsError
from blurtrain.evaluation.networks import evaluate_network
from blurtrain.evaluation.runs import alone, evaluate_run
from blurtrain.models.published import network_named
from blurtrain.models.trained import TrainedNetwork
from blurtrain.schema import validate
from blurtrain.settings import BlurUnits, Evaluation, check_levels

Level = Blur | str | float


def evaluate_any(
    network: TrainedNetwork | str | Path,
    measures: Sequence[str],
    blurs: Sequence[Level] | None,
    data: str | Path | None,
    dataset: str | None,
    split: str | None,
    epoch: int | None,
    per_image: bool,
    out: str | Path | None,
) -> list[dict[str, Any]]:
    """See `blurtrain.evaluation.evaluate`."""
    wanted: dict[str, Any] = {"measures": list(measures), "per_image": per_image}
    wanted |= {} if split is None else {"split": split}
    if blurs is not None:
        numbers = [float(level) for level in blurs if isinstance(level, int | float)]
        others = [level for level in blurs if not isinstance(level, int | float)]
        shown = [level.model_dump(mode="json") if isinstance(level, Blur) else level for level in others]
        wanted |= {"sigmas": numbers, "blurs": shown}
    if isinstance(network, str | Path) and (Path(network) / "settings.yaml").exists():
        overrides = [f"evaluation.{name}={json.dumps(value)}" for name, value in wanted.items()]
        overrides += [] if data is None else [f"data.root={json.dumps(str(data))}"]
        documents = evaluate_run(Path(network), overrides, epoch=epoch)
    else:
        evaluation: Evaluation = validate(wanted, "evaluate", Evaluation)
        check_levels(evaluation, BlurUnits(), "evaluate")
        if dataset is None or out is None:
            raise SettingsError("evaluate: a network that is no run needs dataset=NAME and out=FOLDER")
        trained = network if isinstance(network, TrainedNetwork) else network_named(str(network))
        images = open_dataset(Path(data or "data"), dataset)
        documents = evaluate_network(trained, images, evaluation, Path(out), group=alone())
    return [{"measure": document["measure"], **row} for document in documents for row in document["rows"]]
