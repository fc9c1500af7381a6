"""A search on tiny images by a network of the user's own."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tunes import NETWORK, RATE, Searched, Tune

from blurtrain.data.dataset import Dataset
from blurtrain.documents import merge


@pytest.fixture
def searched(prepared: Dataset, tmp_path: Path) -> Iterator[Searched]:
    """`searched("a", space=..., trials=3)`: a search in a folder of its own, not started yet."""
    made: list[Tune] = []

    def make(name: str, base: Mapping[str, Any] | None = None, **said: Any) -> Tune:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "own.py").write_text(NETWORK)
        tiny = {
            "dataset": prepared.name,
            "regime": "clear",
            "data": {"root": str(prepared.folder.parent), "resolution": 64},
            "network": {"architecture": "own.py:Net", "arguments": {"how": ""}},
            "optimisation": {"epochs": 2, "batch_size": 8, "warmup_epochs": 0.5},
            "evaluation": {"sigmas": [0]},
            "loader": {"kind": "resident", "workers": 1, "threads": 1},
            "logging": {"tensorboard": False},
        }
        document = {
            "base": merge(tiny, base or {}),
            "space": RATE,
            "objective": {"metric": "loss"},
            "searcher": {"name": "random"},
            "scheduler": {"name": "none"},
            "resources": {"cpus_per_gpu": 1},
            **said,
        }
        file = folder / "search.yaml"
        file.write_text(yaml.safe_dump(document))
        made.append(Tune(folder, folder / "runs", file))
        return made[-1]

    yield make
    for one in made:
        one.end()
