"""Runs measured again, at the front door: one or many, and what comes of it in tables."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import analysis
from blurtrain.cli import main
from blurtrain.run import Run
from blurtrain.settings import Settings
from blurtrain.training.train import train

Tiny = Callable[..., Settings]


@pytest.fixture(scope="module")
def trained(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two done runs, and one that has only begun."""
    runs = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        train(tiny(seed=seed, optimisation={"epochs": 1, "warmup_epochs": 0}), runs)
    Run.begin(runs, "textures-clear-alexnet-sup-s9-000000000000", tiny(seed=9))
    return runs


def evaluated(*words: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", *(str(word) for word in words)])
    return int(caught.value.code or 0)


def done(runs: Path) -> list[Path]:
    return sorted(path.parent for path in runs.glob("*/result.json"))


def test_one_run_gives_one_outcome(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = done(trained)[0]
    assert evaluated(first, "evaluation.sigmas=[0,2]", "--json") == 0
    outcome = json.loads(capsys.readouterr().out)
    assert [row["sigma"] for row in outcome["rows"] if row["metric"] == "top1"] == [0, 2]
    assert evaluated(first, "evaluation.sigmas=[0,2]") == 0
    assert capsys.readouterr().out.startswith(
        f"{first}: accuracy, test split, epoch 1, n = 9, source pixels\n   sigma 0: top-1 "
    )


def test_many_runs_are_evaluated_and_a_bad_one_loses_none(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluated(*done(trained), "evaluation.sigmas=[4]") == 0
    out, err = capsys.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()[::2]] == [str(path) for path in done(trained)]
    assert err == "2 of 2 runs evaluated\n"
    assert evaluated(trained, "evaluation.sigmas=[4]", "--json") == 1  # the folder of them all
    out, err = capsys.readouterr()
    rows = json.loads(out)
    assert ["error" in row for row in rows] == [False, False, True]
    assert "has no weights.safetensors: the run has not been trained to its end" in rows[2]["error"]
    assert err.splitlines()[-1] == "2 of 3 runs evaluated" and "s9-000000000000" in err.splitlines()[0]


def test_later_evaluations_reach_the_tables(trained: Path) -> None:
    first, second = done(trained)
    assert evaluated(first, "evaluation.sigmas=[0.5,8]") == 0
    assert evaluated(second, "evaluation.sigmas=[0]", "evaluation.split=val") == 0
    frame = analysis.load(trained)
    test = frame[frame["split"] == "test"]
    assert {0.0, 0.5, 8.0} <= set(test[test["run_id"] == first.name]["sigma"])
    assert 0.5 not in set(test[test["run_id"] == second.name]["sigma"])
    assert frame[frame["split"] == "val"][["run_id", "sigma", "n"]].to_numpy().tolist() == [[second.name, 0.0, 3]]
    assert (frame["objects"] == 0).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluation.sigmas=[8]"], "evaluate: name run directories, or a folder of them"),
        (["RUN", "evaluation.sigmas=[8,8.0]"], "evaluate: evaluation.sigmas: sigma 8 is given twice"),
        (["RUN", "optimisation.epochs=9"], "it would be another run"),
        (["EMPTY"], "is no run directory, and holds none"),
    ],
)
def test_mistakes_are_one_line(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert evaluated(*[{"RUN": done(trained)[0], "EMPTY": tmp_path}.get(word, word) for word in words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and err.count("\n") == 1


def test_damaged_weights_are_named(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = done(trained)[1] / "weights.safetensors"
    whole = weights.read_bytes()
    try:
        weights.write_bytes(whole[:1000])
        assert evaluated(weights.parent, "evaluation.sigmas=[1]") == 2
    finally:
        weights.write_bytes(whole)
    assert f"blurtrain: {weights}: is damaged, or another file" in capsys.readouterr().err


def test_a_run_that_was_begun_under_the_defaults_name_goes_on_there(tiny: Tiny, tmp_path: Path) -> None:
    settings = tiny(network={"architecture": "resnet-18"}, optimisation={"epochs": 1, "warmup_epochs": 0})
    assert settings.model == "resnet-18"
    run = train(settings, tmp_path / "new")
    former = run.id.replace("resnet-18", "alexnet-sup")
    Run.begin(tmp_path / "old", former, settings.model_copy(update={"model": "alexnet-sup"}))
    old = train(settings, tmp_path / "old")
    assert old.id == former and old.result()
    assert old.weights.read_bytes() == run.weights.read_bytes()
    assert analysis.load(tmp_path / "old")["model"].unique().tolist() == ["resnet-18"]
