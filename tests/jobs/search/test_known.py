"""Runs that others have trained: which points they are, and that a trial takes them over."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("ray.tune", reason="needs ray[tune]")

from test_search_file import BASE, SPACE, pretend
from tunes import Searched

from blurtrain.run import Run
from blurtrain.settings import Settings, dump, run_ids
from jobs.search.file import SearchFile, checked, read_search
from jobs.search.known import of_others, points
from jobs.search.space import draw

RATE = "optimisation.learning_rate"


@pytest.fixture
def file(tmp_path: Path) -> SearchFile:
    pretend(tmp_path / "data" / "faces", "train", "val", "test")
    return checked({"base": BASE, "space": SPACE, "seeds": [0, 1]}, "mine", "mine.yaml", tmp_path / "data")


def train(runs: Path, settings: Settings, file: SearchFile, epochs: tuple[int, ...] = (4,), top1: float = 50.0) -> str:
    """A run as it lies there: done, with its looks at the val split after these epochs."""
    folder = runs / run_ids(settings, file.data_id)(settings.seed)
    (folder / "attempts" / "0001").mkdir(parents=True)
    (folder / "settings.yaml").write_text(dump(settings))
    (folder / "result.json").write_text(json.dumps({"epochs": 4}))
    looks = [{"event": "validation", "epoch": e, "levels": [{"blur": "sharp", "top1": top1}]} for e in epochs]
    (folder / "attempts" / "0001" / "journal.jsonl").write_text("".join(json.dumps(look) + "\n" for look in looks))
    return folder.name


def test_points_of_which_all_seeds_are_done_are_known(file: SearchFile, tmp_path: Path) -> None:
    flats = [draw(file.search.space, 7, number) for number in range(4)]
    for flat, top1 in zip(flats[:3], (40.0, 50.0, 60.0), strict=True):
        for member in file.members(flat)[: 1 if top1 == 60 else 2]:
            train(tmp_path, member.settings, file, top1=top1 + 10 * member.settings.seed)
    known = sorted(of_others(file, tmp_path, []), key=lambda one: one[1] or 0)
    assert known == [(flats[0], 45.0), (flats[1], 55.0)], "the third has one seed of two"


OTHERS: dict[str, Callable[[Settings], Settings]] = {
    "outside": lambda s: s.model_copy(
        update={"optimisation": s.optimisation.model_copy(update={"learning_rate": 0.5})}
    ),
    "other settings": lambda s: s.model_copy(update={"augmentation": s.augmentation.model_copy(update={"flip": 0.1})}),
    "other regime": lambda s: s.model_copy(update={"regime": "mine"}),
    "other seed": lambda s: s.model_copy(update={"seed": 7}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_runs_that_do_not_fit_are_none(file: SearchFile, tmp_path: Path, name: str) -> None:
    one = checked({"base": BASE, "space": SPACE}, "mine", "mine.yaml", tmp_path / "data")
    train(tmp_path, OTHERS[name](one.members(draw(one.search.space, 7, 0))[0].settings), one)
    assert list(points(one, tmp_path)) == []


def test_what_is_not_done_or_does_not_say_its_objective_does_not_count(file: SearchFile, tmp_path: Path) -> None:
    first, second = (file.members(draw(file.search.space, 7, number)) for number in range(2))
    for member in first:
        train(tmp_path, member.settings, file)
        train(tmp_path, file.members(None)[member.settings.seed].settings, file, epochs=(2,))
    for member in second:
        Run.begin(tmp_path, member.run_id, member.settings)
    assert len(of_others(file, tmp_path, [])) == 1
    (tmp_path / first[0].run_id / "result.json").unlink()
    assert of_others(file, tmp_path, []) == []


def test_a_conditional_point_is_found(tmp_path: Path) -> None:
    pretend(tmp_path / "data" / "faces", "train", "val", "test")
    space: dict[str, Any] = {
        "optimisation.optimiser": {"choice": ["adam", "sgd"]},
        "optimisation.momentum": {"uniform": [0, 0.8], "when": {"optimisation.optimiser": "sgd"}},
    }
    file = checked({"base": BASE, "space": space}, "mine", "mine.yaml", tmp_path / "data")
    adam, sgd = ({"optimisation.optimiser": o, "optimisation.momentum": 0.25} for o in ("adam", "sgd"))
    for flat in (adam, sgd):
        train(tmp_path / "runs", file.members(flat)[0].settings, file)
    found = {ids: flat for flat, ids in points(file, tmp_path / "runs")}
    assert found == {
        (file.members(adam)[0].run_id,): {"optimisation.optimiser": "adam", "optimisation.momentum": 0},
        (file.members(sgd)[0].run_id,): sgd,
    }


@pytest.mark.long
def test_a_run_that_a_grid_has_trained_is_measured_and_not_trained_again(searched: Searched) -> None:
    """By the number that it would have reported, had it looked at the val split itself."""
    said: dict[str, Any] = {"objective": {"metric": "top1", "blurs": ["sharp", "gaussian-4", "disk-2"]}, "trials": 1}
    tune, looking = searched("a", **said), searched("b", **said)
    settings = read_search(tune.file).members(None)[0].settings.model_dump(mode="json")
    by_hand = tune.folder / "by-hand.yaml"
    by_hand.write_text(yaml.safe_dump({**settings, "validation": {"every_epochs": 0}}))
    processes = [tune.start("train", str(by_hand), "--runs", str(tune.runs)), looking.tune("--json")]
    for process in processes:
        assert process.wait(120) == 0
    (run_id,) = tune.ids()
    weights = Run(tune.runs / run_id).weights.read_bytes()
    assert weights == looking.weights()[run_id]
    assert not any(e["event"] == "validation" for e in Run(tune.runs / run_id).journal())

    (row,) = tune.rows()
    objective = read_search(looking.file).search.objective
    assert row["state"] == "done" and row["objective"] == objective.values(Run(looking.runs / run_id))[2]
    assert tune.attempts() == {run_id: 1} and Run(tune.runs / run_id).weights.read_bytes() == weights
