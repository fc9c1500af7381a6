"""Grid files: the product of the axes, in order, and every mistake in one line."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from blurtrain.cli import main
from blurtrain.errors import BlurtrainError
from blurtrain.settings import PRESETS, compose, run_id
from jobs.grid import Member, expand, read_grid, shortfalls

NAMES = ("faces", "toys")
GRIDS = sorted((PRESETS / "grids").glob("*.yaml"))


def pretend(root: Path, *names: str) -> Path:
    """As much of prepared datasets as grids look at."""
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "manifest.json").write_text(json.dumps({"schema": 1, "data_id": f"id-of-{name}"}))
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return pretend(tmp_path / "data", *NAMES)


def expanded(data: Path, grid: dict[str, Any]) -> list[Member]:
    path = data.parent / "grid.yaml"
    path.write_text(yaml.safe_dump({"axes": {"dataset": ["faces"], "regime": ["clear"]}} | grid))
    return expand(read_grid(path), str(path), data)


def points(members: list[Member]) -> list[tuple[str, str, int]]:
    return [(m.settings.dataset, m.settings.regime, m.settings.seed) for m in members]


AXES = {"dataset": ["toys", "faces"], "regime": ["clear", "blurry"], "seed": [1, 0]}


def test_runs_are_the_product_of_the_axes_the_last_fastest(data: Path) -> None:
    assert points(expanded(data, {"axes": AXES})) == [
        (dataset, regime, seed) for dataset in ("toys", "faces") for regime in ("clear", "blurry") for seed in (1, 0)
    ]


def test_members_are_whole_runs_with_the_id_of_their_data(data: Path) -> None:
    (member,) = expanded(data, {"axes": {"dataset": ["toys"], "regime": ["blurry"], "optimisation.epochs": [7]}})
    alone = compose({"dataset": "toys", "regime": "blurry", "optimisation": {"epochs": 7}}, "test")
    assert member.run_id == run_id(alone, "id-of-toys")
    assert member.settings.data.root == str(data)
    assert member.settings.model_dump(exclude={"data"}) == alone.model_dump(exclude={"data"})


def test_settings_hold_for_all_and_where_for_some(data: Path) -> None:
    members = expanded(
        data,
        {
            "axes": AXES,
            "settings": {"optimisation": {"epochs": 10, "batch_size": 32}},
            "where": [
                {"match": {"dataset": "faces"}, "settings": {"optimisation": {"epochs": 20}}},
                {"match": {"dataset": "faces", "seed": 1}, "settings": {"optimisation": {"epochs": 30}}},
            ],
        },
    )
    epochs = {(m.settings.dataset, m.settings.seed): m.settings.optimisation.epochs for m in members}
    assert epochs == {("toys", 0): 10, ("toys", 1): 10, ("faces", 0): 20, ("faces", 1): 30}
    assert {m.settings.optimisation.batch_size for m in members} == {32}


def test_an_axis_wins_over_settings_and_where(data: Path) -> None:
    members = expanded(
        data,
        {
            "axes": {"dataset": ["faces"], "regime": ["clear"], "optimisation.epochs": [5, 6]},
            "settings": {"optimisation": {"epochs": 10}},
            "where": [{"match": {"dataset": "faces"}, "settings": {"optimisation": {"epochs": 20}}}],
        },
    )
    assert [m.settings.optimisation.epochs for m in members] == [5, 6]


def test_excluded_combinations_are_left_out(data: Path) -> None:
    members = expanded(data, {"axes": AXES, "exclude": [{"dataset": "faces", "regime": "blurry"}, {"seed": 1}]})
    assert points(members) == [("toys", "clear", 0), ("toys", "blurry", 0), ("faces", "clear", 0)]


def test_rules_of_a_grid_come_behind_those_of_the_one_that_it_extends(data: Path) -> None:
    def rule(epochs: int, **more: Any) -> dict[str, Any]:
        return {"match": {"dataset": "faces"}, "settings": {"optimisation": {"epochs": epochs, **more}}}

    base = {"axes": AXES, "where": [rule(10, batch_size=8)]}
    (data.parent / "base.yaml").write_text(yaml.safe_dump(base))
    for where, expected in (([rule(20)], (20, 8)), ([], (10, 8)), (None, (10, 8))):
        path = data.parent / "above.yaml"
        path.write_text(yaml.safe_dump({"extends": "base.yaml"} | ({} if where is None else {"where": where})))
        for member in expand(read_grid(path), str(path), data):
            o = member.settings.optimisation
            assert (o.epochs, o.batch_size) == (expected if member.settings.dataset == "faces" else (100, 256))


def test_the_runs_of_several_grids_in_one(data: Path) -> None:
    """In their order, each once, with what is said above of all of them."""
    toys = {"data": {"toys": {"images": "t"}}, "axes": {"dataset": ["toys"], "regime": ["clear"], "seed": [0, 1]}}
    both = {"data": {"faces": {"images": "f"}}, "axes": {"dataset": ["faces", "toys"], "regime": ["clear"]}}
    for name, grid in (("toys", toys), ("both", both)):
        (data.parent / f"{name}.yaml").write_text(yaml.safe_dump(grid))
    path = data.parent / "all.yaml"
    settings = {"optimisation": {"epochs": 9}}
    path.write_text(yaml.safe_dump({"extends": ["toys.yaml", "both.yaml"], "settings": settings}))
    file = read_grid(path)
    members = expand(file, str(path), data)
    assert points(members) == [("toys", "clear", 0), ("toys", "clear", 1), ("faces", "clear", 0)]
    assert {m.settings.optimisation.epochs for m in members} == {9}
    assert {name: recipe.images for name, recipe in file.data.items()} == {"toys": "t", "faces": "f"}
    (data.parent / "both.yaml").write_text(yaml.safe_dump(both | {"data": {"toys": {"images": "other"}}}))
    with pytest.raises(BlurtrainError, match=r"all.yaml: data.toys: the files that it extends make it differently"):
        read_grid(path)
    for wrong in ([], ["toys.yaml", 3], 3, ["all.yaml"]):
        path.write_text(yaml.safe_dump({"extends": wrong}))
        with pytest.raises(BlurtrainError, match=r"all.yaml: extends: must name another grid file, or several"):
            read_grid(path)


def test_runs_that_are_the_same_come_once(data: Path) -> None:
    axes = {
        "dataset": ["faces", "faces"],
        "regime": ["clear"],
        "curriculum.sigma": [8, 8.0, 4],
        "loader.workers": [1, 2],
    }
    members = expanded(data, {"axes": axes})
    assert [m.settings.curriculum.model_dump()["sigma"] for m in members] == [8, 4]
    assert len({m.run_id for m in members}) == 2


def test_an_axis_may_change_the_schedule(data: Path) -> None:
    curricula = [{"schedule": "constant", "sigma": 3}, {"schedule": "stepwise", "sigmas": [2, 1]}]
    members = expanded(data, {"axes": {"dataset": ["faces"], "regime": ["blurry"], "curriculum": curricula}})
    assert [m.settings.curriculum.schedule for m in members] == ["constant", "stepwise"]


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"exlude": []}, ": exlude: unknown setting; did you mean 'exclude'?"),
        ({"axes": {}}, ": axes: dictionary should have at least 1 item"),
        ({"axes": {"dataset": []}}, ": axes.dataset: has no values"),
        ({"axes": {"dataset": "faces"}}, ": axes.dataset: input should be a valid list (given: 'faces')"),
        (
            {"axes": {"dataset": ["faces"], "regim": ["clear"]}},
            " (dataset=faces, regim=clear): regime: missing; regim: unknown setting; did you mean 'regime'?",
        ),
        (
            {"axes": {"dataset": ["faces"], "regime": ["clear", "cleer"]}},
            " (dataset=faces, regime=cleer): regime 'cleer' has no preset",
        ),
        ({"settings": {"optimisation": {"epoch": 3}}}, " (dataset=faces, regime=clear): optimisation.epoch: unknown"),
        (
            {"settings": {"optimisation": {"epochs": 2, "warmup_epochs": 2}}},
            " (dataset=faces, regime=clear): optimisation: warmup_epochs",
        ),
        (
            {"where": [{"match": {}, "setings": {}}]},
            ": where.0.setings: unknown setting; did you mean 'settings'?",
        ),
        (
            {"where": [{"match": {"datset": "faces"}, "settings": {}}]},
            ": 'datset' is no axis of this grid; did you mean",
        ),
        ({"where": [{"match": {}}]}, ": where.0: gives neither settings nor resources"),
        ({"resources": {"gpu": 3}}, " (dataset=faces, regime=clear): resources: gpu: unknown setting; did you mean"),
        ({"resources": {"pack": 0}}, " (dataset=faces, regime=clear): resources: pack: input should be greater than"),
        ({"exclude": [{"regime": "blurry"}]}, ": regime=blurry matches no run; axes.regime is ['clear']"),
        ({"exclude": [{"regime": "clear"}]}, ": every run is excluded"),
        (
            {"axes": {"curriculum.probabilities": [[0.5, 0.4]], "dataset": ["faces"], "regime": ["sharp-d4"]}},
            " (curriculum.probabilities=[0.5, 0.4], dataset=faces, regime=sharp-d4): curriculum: probabilities add up "
            "to 0.9, not to 1",
        ),
        (
            {
                "settings": {
                    "curriculum": {"schedule": "mix", "blurs": ["sharp", "disc-4"], "probabilities": [0.5, 0.5]}
                }
            },
            " (dataset=faces, regime=clear): curriculum.blurs.1: blur 'disc-4' is unknown; did you mean 'disk'?",
        ),
        (
            {"data": {"faces": {"resolutoin": 64}}},
            ": data.faces.resolutoin: unknown setting; did you mean 'resolution'?",
        ),
        ({"data": {"faces": {"standin": "face"}}}, ": data.faces.standin: input should be 'faces', 'objects', "),
        ({"data": {"faces": {"label": 0}}}, ": data.faces.label: input should be greater than or equal to 1"),
    ],
)
def test_a_mistake_is_reported_in_one_line(data: Path, grid: dict[str, Any], message: str) -> None:
    with pytest.raises(BlurtrainError) as caught:
        expanded(data, grid)
    assert str(caught.value).startswith(f"{data.parent}/grid.yaml{message}")
    assert "\n" not in str(caught.value)


def test_one_invalid_run_stops_the_whole_grid(data: Path) -> None:
    with pytest.raises(BlurtrainError, match="seed=-1"):
        expanded(data, {"axes": {"dataset": ["faces"], "regime": ["clear"], "seed": [0, 1, -1]}})


def test_a_dataset_that_is_not_prepared_is_reported_with_the_command_to_give(data: Path) -> None:
    axes = {"dataset": ["faces", "face"], "regime": ["clear"]}
    with pytest.raises(BlurtrainError) as caught:
        expanded(data, {"axes": axes, "data": {"face": {"standin": "faces"}}})
    grid = f"{data.parent}/grid.yaml"
    assert str(caught.value) == (
        f"{grid}: dataset 'face' is not prepared in {data}: "
        f"`blurtrain data prepare --grid {grid} --data {data}` first; "
        "did you mean 'faces'? (known: faces, toys)"
    )
    with pytest.raises(BlurtrainError, match=r"'face' is not prepared in .*: `blurtrain data prepare` first"):
        expanded(data, {"axes": axes})


# --- the grids that come with the project ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_every_grid_of_the_project_can_be_planned(path: Path, tmp_path: Path) -> None:
    file = read_grid(path)
    names = {name for grid in file.grids for name in grid.axes["dataset"]}
    assert names <= set(file.data)
    members = expand(file, str(path), pretend(tmp_path / "data", *sorted(names)))
    assert len(members) == sum(
        all(any(point[axis] != value for axis, value in pattern.items()) for pattern in grid.exclude)
        for grid in file.grids
        for point in (dict(zip(grid.axes, v, strict=True)) for v in itertools.product(*grid.axes.values()))
    )
    for member in members:
        recipe = file.data[member.settings.dataset]
        assert recipe.size >= member.settings.data.resolution


def test_there_are_grids_to_plan() -> None:
    assert {"demo", "small"} <= {path.stem for path in GRIDS}


PAPER = ("faces", "toybox-instance", "toybox-category", "imagenet-12", "imagenet-100")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TOYBOX = ((0.5199, 0.4374, 0.3499), (0.1775, 0.1894, 0.1623))


def members_of(grid: str, data: Path) -> list[Member]:
    path = PRESETS / "grids" / f"{grid}.yaml"
    return expand(read_grid(path), str(path), data)


def test_the_studys_grid(tmp_path: Path) -> None:
    """As it was meant, by the constants in the authors' code."""
    path, names = PRESETS / "grids" / "paper.yaml", PAPER
    pretend(tmp_path, *names)
    members = members_of("paper", tmp_path)
    assert len(members) == 15
    decay = {m.settings.dataset: m.settings.optimisation.weight_decay for m in members}
    assert decay == dict(zip(names, (1e-5, 1e-5, 1e-4, 1e-5, 1e-4), strict=True))
    for m in members:
        o = m.settings.optimisation
        assert (o.optimiser, o.learning_rate, o.batch_size, o.epochs, o.warmup_epochs) == ("adam", 1e-3, 256, 100, 2)
        assert (o.warmup_factor, o.learning_rate_schedule) == (0.01, "cosine")
        assert (m.settings.data.resolution, m.settings.evaluation.sigmas) == (224, tuple(range(33)))
        assert (m.settings.network.architecture, m.settings.network.bias) == ("alexnet-sup", "uniform")
        assert (m.settings.blur.truncate, m.settings.evaluation.drop_last) == (4, False)
        a = m.settings.augmentation
        assert (a.crop_scale, a.interpolation, a.flip, a.colour, a.jitter) == ((0.5, 1), "bicubic", 0.5, 0.2, 0.2)
        assert a.erasing == (0 if m.settings.dataset == "faces" else 0.5)
        assert (a.erasing_area, a.erasing_ratio) == ((0.02, 0.33), (0.3, 3.3))
        assert m.settings.evaluation.split == ("val" if m.settings.dataset == "imagenet-100" else "test")
    normalisation = {m.settings.dataset: (m.settings.data.mean, m.settings.data.sd) for m in members}
    imagenet_12 = ((0.4980, 0.4845, 0.4541), (0.2756, 0.2738, 0.2928))
    assert normalisation == dict(zip(names, (IMAGENET, TOYBOX, TOYBOX, imagenet_12, IMAGENET), strict=True))
    assert {name: r.train_images for name, r in read_grid(path).data.items() if r.train_images} == {
        "toybox-category": 3000
    }
    more = PRESETS / "grids" / "paper-5-seeds.yaml"
    seeds = expand(read_grid(more), str(more), tmp_path)
    assert len(seeds) == 75
    assert {m.run_id for m in members} <= {m.run_id for m in seeds}


def test_curricula_that_runs_are_too_short_for_are_reported_once_each(data: Path) -> None:
    axes = {"dataset": ["toys", "faces"], "regime": ["multi-step", "single-step"], "optimisation.epochs": [15, 60]}
    assert shortfalls(expanded(data, {"axes": axes})) == [
        "multi-step: too few epochs (15) for the stepwise curriculum, which never gets to level 3 (sigma 2), "
        "level 4 (sigma 1), level 5 (sigma 0) (2 runs)"
    ]


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_the_plan_warns_of_them(data: Path, capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    path = data.parent / "grid.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "settings": {"optimisation": {"epochs": 9}},
                "axes": {"dataset": ["toys"], "regime": ["geometric", "multi-step"]},
            }
        )
    )
    arguments = ["grid", "plan", str(path), "--data", str(data), "--runs", str(data.parent / "runs"), *options]
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert not caught.value.code
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("warning: multi-step: too few epochs (9)") and "too few" not in captured.out


def test_the_study_as_it_was_run_differs_in_its_accidents_alone(tmp_path: Path) -> None:
    pretend(tmp_path, *PAPER)
    intended, as_run = members_of("paper", tmp_path), members_of("paper-as-run", tmp_path)
    assert len(as_run) == 15 and not {m.run_id for m in intended} & {m.run_id for m in as_run}
    for was, is_ in zip(intended, as_run, strict=True):
        expected = was.settings.model_dump()
        expected["blur"]["truncate"] = 2
        expected["evaluation"]["drop_last"] = True
        if was.settings.dataset == "toybox-category":
            expected["optimisation"]["warmup_epochs"] = 0
            if was.settings.regime != "blurry":
                expected["optimisation"] |= {"learning_rate": 1e-4, "learning_rate_schedule": "constant"}
        assert is_.settings.model_dump() == expected


@pytest.mark.parametrize("grid", ["small", "demo"])
def test_stand_ins_do_not_get_the_constants_of_the_sets_that_they_stand_for(grid: str, tmp_path: Path) -> None:
    pretend(tmp_path, *PAPER)
    for m in members_of(grid, tmp_path):
        assert (m.settings.data.mean, m.settings.data.sd, m.settings.network.bias) == (None, None, "zero")
        assert m.settings.augmentation.erasing == 0
