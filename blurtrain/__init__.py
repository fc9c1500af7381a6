"""blurtrain: train, tune and compare vision networks under blur.

    import blurtrain
    blurtrain.prepare("folder/of/images", "mine")
    run = blurtrain.train("train.yaml", "runs", optimisation={"epochs": 10})
    rows = blurtrain.evaluate(run, blurs=[0, 8, "disk-4"])
    trials = blurtrain.tune("search.yaml", runs="runs")

Nothing is imported before it is asked for, so `import blurtrain` takes no time and no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "Blur": "blurtrain.blur.blur",
    "Curriculum": "blurtrain.blur.curriculum",
    "Loss": "blurtrain.tasks",
    "Measure": "blurtrain.evaluation.measure",
    "RandomBlur": "blurtrain.blur.random_blur",
    "Task": "blurtrain.tasks",
    "TrainedNetwork": "blurtrain.models.trained",
    "evaluate": "blurtrain.api",
    "load_network": "blurtrain.api",
    "prepare": "blurtrain.api",
    "train": "blurtrain.api",
    "tune": "jobs",
}

if TYPE_CHECKING:
    from blurtrain.api import evaluate, load_network, prepare, train
    from blurtrain.blur.blur import Blur
    from blurtrain.blur.curriculum import Curriculum
    from blurtrain.blur.random_blur import RandomBlur
    from blurtrain.evaluation.measure import Measure
    from blurtrain.models.trained import TrainedNetwork
    from blurtrain.tasks import Loss, Task
    from jobs import tune

__all__ = [
    "Blur",
    "Curriculum",
    "Loss",
    "Measure",
    "RandomBlur",
    "Task",
    "TrainedNetwork",
    "__version__",
    "evaluate",
    "load_network",
    "prepare",
    "train",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'blurtrain' has no attribute {name!r}")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
