"""All processes of a run agree on it before anything is written, and a job trains only what it was submitted for."""

from collections.abc import Callable
from pathlib import Path

import pytest
from processes import Training, codes, run

from blurtrain.data.dataset import Dataset
from blurtrain.data.preparation import Recipe, prepare
from blurtrain.errors import RunError
from blurtrain.settings import Settings
from blurtrain.training.train import train

Tiny = Callable[..., Settings]


def refused(tmp_path: Path, first: Settings, second: Settings, what: str) -> None:
    ended = run(Training(first, tmp_path / "runs"), Training(second, tmp_path / "runs"))
    assert codes(ended) == [2, 2]
    for _, words in ended:
        lines = [line for line in words.splitlines() if line.startswith("blurtrain: ")]
        assert len(lines) == 1 and f"the processes of this run have different {what}: rank 0 has " in lines[0]
    assert not list((tmp_path / "runs").glob("*-*"))


@pytest.mark.slow
def test_processes_with_other_seeds_or_other_settings_end_with_one_line_each(tiny: Tiny, tmp_path: Path) -> None:
    threads = {"threads": 1}
    refused(tmp_path, tiny(loader=threads), tiny(loader=threads, seed=1), "run")
    # These change neither the id nor the weights, but how many batches the processes meet at.
    refused(tmp_path, tiny(loader=threads), tiny(loader=threads, evaluation={"sigmas": [0]}), "settings")


@pytest.mark.slow
def test_processes_with_another_preparation_of_the_data_end_with_one_line_each(
    tiny: Tiny, prepared: Dataset, tmp_path: Path
) -> None:
    source = prepared.manifest["request"]["source"]
    anew, _ = prepare(tmp_path / "data", prepared.name, Recipe(images=source, resolution=64, split_seed=1))
    other = {"root": str(anew.folder.parent)}
    refused(tmp_path, tiny(loader={"threads": 1}), tiny(loader={"threads": 1}, data=other), "run")


def test_a_job_does_not_train_what_it_was_not_submitted_for(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match=r"faces-x: since this run was submitted, dataset 'textures' in .* it would be textures-clear-"
    ):
        train(tiny(), tmp_path / "runs", expected_id="faces-x")
    assert not (tmp_path / "runs").exists()
    done = train(tiny(), tmp_path / "runs")
    assert train(tiny(), tmp_path / "runs", expected_id=done.id) == done
