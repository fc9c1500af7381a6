"""Search files: what a trial's runs are, and every mistake in one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from blurtrain.data.dataset import SPLITS
from blurtrain.errors import BlurtrainError
from blurtrain.settings import PRESETS, compose, run_id
from jobs.search.file import SearchFile, checked, read_search
from jobs.search.space import draw

BASE = {"dataset": "faces", "regime": "clear", "optimisation": {"epochs": 4}}
SPACE = {"optimisation.learning_rate": {"log_uniform": [1e-4, 1e-2]}}


def pretend(folder: Path, *splits: str) -> None:
    """As much of a prepared dataset as a search looks at: four images of each split."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"schema": 1, "data_id": f"id-of-{folder.name}", "counts": dict.fromkeys(splits, 4)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    split = np.repeat([SPLITS.index(name) for name in splits], 4)
    zeros = np.zeros_like(split)
    np.savez(folder / "view.npz", index=np.arange(len(split)), label=zeros, leaf=zeros, split=split)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("faces", "imagenette-train", "blur-whole"):
        pretend(tmp_path / "data" / name, "train", "val", "test")
    return tmp_path / "data"


def read(data: Path, **said: Any) -> SearchFile:
    return checked({"base": BASE, "space": SPACE, **said}, "mine", "mine.yaml", data)


def test_a_trial_is_one_ordinary_run_a_seed(data: Path) -> None:
    file = read(data, seeds=[3, 1])
    members = file.members({"optimisation.learning_rate": 0.005})
    document = {**BASE, "optimisation": {"epochs": 4, "learning_rate": 0.005}}
    expected = [run_id(compose({**document, "seed": seed}, "test"), "id-of-faces") for seed in (3, 1)]
    assert [member.run_id for member in members] == expected
    assert [member.settings.seed for member in members] == [3, 1]
    assert members[0].settings.validation.every_epochs == 1  # which is no part of an id


def test_the_base_settings_are_no_point(data: Path) -> None:
    file = read(data)
    assert file.members(None)[0].run_id == run_id(compose(BASE, "test"), "id-of-faces")
    assert file.active(None) == {"optimisation.learning_rate": 1e-3}


def test_a_preset_may_be_searched(data: Path) -> None:
    file = read(data, space={"regime": {"choice": ["clear", "blurry"]}})
    (member,) = file.members({"regime": "blurry"})
    assert member.run_id == run_id(compose({**BASE, "regime": "blurry"}, "test"), "id-of-faces")


def test_more_trials_are_the_same_search(data: Path) -> None:
    assert read(data, trials=3).id == read(data, trials=30, minutes=5, resources={"gpus": 2}).id
    others = [read(data, seeds=[0, 1]), read(data, searcher={"name": "random"}),
              read(data, space={"optimisation.learning_rate": {"log_uniform": [1e-4, 2e-2]}}),
              read(data, base={**BASE, "regime": "blurry"})]  # fmt: skip
    assert len({read(data).id, *(file.id for file in others)}) == 5


def test_points_of_a_grid_that_are_the_same_runs_are_one(data: Path) -> None:
    space = {
        "optimisation.optimiser": {"choice": ["adam", "sgd"]},
        "optimisation.momentum": {"choice": [0.5, 0.9], "when": {"optimisation.optimiser": "sgd"}},
    }
    points = read(data, space=space, searcher={"name": "grid"}).grid
    assert len(points) == 2  # adam is the base, whatever the momentum


REFUSED = [
    ({"space": {}}, "space"),
    ({"space": {"optimisation.learning_rat": {"uniform": [0, 1]}}}, "did you mean 'learning_rate'"),
    ({"space": {"optimisaton.learning_rate": {"uniform": [0, 1]}}}, "did you mean 'optimisation'"),
    ({"space": {"loader.workers": {"integer": [1, 4]}}}, "does not change what is trained"),
    ({"space": {"optimisation.learning_rate": {"uniform": [-1, 1]}}}, "greater than 0"),
    ({"space": {"seed": {"integer": [0, 4]}}}, "say seeds"),
    ({"space": {"dataset": {"choice": ["faces", "toys"]}}}, "trials on different data cannot be compared"),
    ({"space": {**SPACE, "optimisation.momentum": {"uniform": [0, 0.9], "when": {"optimisation.optimiser": "sgdd"}}}},
     "its `when` is never met by the base"),
    ({"objective": {"metric": "top2"}}, "nothing reports it; did you mean 'top1'"),
    ({"objective": {"split": "test"}}, "looks at the val split alone"),
    ({"objective": {"of": "accuracy"}}, "no trial can be stopped early"),
    ({"seeds": [1, 1]}, "names one twice"),
    ({"seeds": []}, "seeds"),
    ({"resources": {"nodes": 2}}, "stays on one node"),
    ({"searcher": {"name": "grid"}}, "the grid searcher needs choice or integer"),
    ({"searcher": {"name": "bohb"}}, "tpe"),
    ({"trials": 0}, "trials"),
    ({"trails": 9}, "did you mean 'trials'"),
    ({"base": {**BASE, "dataset": "face"}}, "did you mean 'faces'"),
    ({"base": {**BASE, "regime": "cler"}}, "did you mean 'clear'"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "why"), REFUSED, ids=[why[:24] for _, why in REFUSED])
def test_mistakes_are_one_line(data: Path, said: dict[str, Any], why: str) -> None:
    with pytest.raises(BlurtrainError) as error:
        read(data, **said)
    assert why in str(error.value)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("mine.yaml")


def test_without_a_val_split_there_is_nothing_to_search_by(data: Path) -> None:
    pretend(data / "faces", "train", "test")
    with pytest.raises(BlurtrainError, match=r"mine.yaml: objective.*no val split"):
        read(data)
    read(data, objective={"of": "training", "metric": "loss"})


@pytest.mark.parametrize("name", sorted(path.stem for path in (PRESETS / "searches").glob("*.yaml")))
def test_searches_that_come_with_the_project_are_valid(data: Path, name: str) -> None:
    document = yaml.safe_load((PRESETS / "searches" / f"{name}.yaml").read_text())
    file = checked(document, name, name, data)
    assert {len(file.members(draw(file.search.space, 0, n))) for n in range(20)} == {len(file.search.seeds)}


def test_a_search_of_the_project_goes_by_its_name(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    by_file = read_search(PRESETS / "searches" / "faces.yaml", data=data)
    assert read_search(Path("faces"), data=data).id == by_file.id
    with pytest.raises(BlurtrainError, match=r"no search 'face' comes with the project; did you mean 'faces'\?"):
        read_search(Path("face"), data=data)
