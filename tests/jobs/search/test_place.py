"""A trial that does not fit this machine is refused before anything is started; and what accuracy reports."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from test_search_file import BASE, SPACE, pretend

from blurtrain.errors import SettingsError
from blurtrain.evaluation.measures.accuracy import Accuracy
from blurtrain.objective import Objective
from blurtrain.settings import compose
from jobs.search.driver import place_here
from jobs.search.file import checked

CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"resources": {"gpus": 3}}, "a trial of 1 seeds wants 3 GPUs; this machine has 2"),
        ({"resources": {"gpus": 1}, "seeds": [0, 1, 2]}, "a trial of 3 seeds wants 3 GPUs; this machine has 2"),
        ({"resources": {"gpus": 1, "cpus_per_gpu": CORES}, "seeds": [0, 1]}, f"{2 * CORES} cores side by side"),
    ],
)
def test_a_trial_that_does_not_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], why: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    pretend(tmp_path / "data" / "faces", "train", "val", "test")
    file = checked({"base": BASE, "space": SPACE, **said}, "mine", "mine.yaml", tmp_path / "data")
    with pytest.raises(SettingsError, match=rf"^mine.yaml: [^\n]*{why}[^\n]*$"):
        place_here(file)


def test_a_search_knows_what_accuracy_reports() -> None:
    reported = Accuracy().values(torch.eye(6), torch.arange(6))
    settings = compose({"dataset": "any", "regime": "clear"}, "test")
    for metric in reported:
        objective = Objective(of="accuracy", metric=metric)
        objective.check(settings, "here")
        assert objective.is_max(settings) == metric.startswith("top")
    with pytest.raises(SettingsError, match="nothing reports it; did you mean 'top1'"):
        Objective(of="accuracy", metric="top11").check(settings, "here")
