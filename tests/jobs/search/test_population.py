"""Population based training: lineages, what goes on after an interruption, and that it makes no difference."""

from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("ray.tune", reason="needs ray[tune]")

from test_search_file import BASE, pretend
from tunes import Searched

from blurtrain.errors import SettingsError
from blurtrain.files import read_json
from blurtrain.run import Run
from blurtrain.trials import Trial
from jobs.search.file import SearchFile, checked
from jobs.search.lineage import before, chain, members_at, starts_of, taken_over
from jobs.search.population import Population

RATE = "optimisation.learning_rate"
SPACE = {RATE: {"log_uniform": [1e-4, 1e-2]}}
PBT = {"searcher": {"name": "pbt"}, "population": {"every_epochs": 2}, "trials": 3}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    pretend(tmp_path / "data" / "faces", "train", "val", "test")
    return tmp_path / "data"


def read(data: Path, **said: Any) -> SearchFile:
    base = {**BASE, "optimisation": {"epochs": 6}}
    return checked({"base": base, "space": SPACE, **PBT, **said}, "mine", "mine.yaml", data)


def trial(file: SearchFile, number: int, rate: float) -> Trial:
    flat = {RATE: rate}
    return Trial(number, flat, flat, tuple(m.run_id for m in file.members(flat)))


def reach(file: SearchFile, runs: Path, one: Trial, *epochs: int) -> None:
    """Let the runs of a trial have looked at the val split after these epochs."""
    for member in members_at(file, one.flat, starts_of(one)):
        run = Run.begin(runs, member.run_id, member.settings)
        attempt = run.new_attempt(member.settings, file.data_id)
        for epoch in epochs:
            attempt.record("validation", at=epoch, epoch=epoch, levels=[{"blur": "sharp", "top1": 50.0}])
            run.epoch_checkpoint(epoch).write_bytes(b"")
        attempt.close()


def start(one: Trial, epoch: int, digit: str) -> list[dict[str, Any]]:
    return [{"run": run_id, "epoch": epoch, "sha256": digit * 64} for run_id in one.runs]


def test_a_take_over_makes_new_runs_one_a_seed_and_notes_where_they_come_from(data: Path) -> None:
    file = read(data, seeds=[0, 1])
    bottom, top = trial(file, 0, 1e-4), trial(file, 1, 1e-3)
    new = taken_over(file, bottom, top, start(top, 2, "a"), {RATE: 2e-3})
    assert new.active == {RATE: 2e-3} and not {*new.runs} & {*bottom.runs, *top.runs}
    assert [r.split("-s")[-1][0] for r in new.runs] == ["0", "1"]
    (entry,) = new.lineage
    assert (entry["from"], entry["epoch"], entry["changed"]) == (1, 2, {RATE: [1e-3, 2e-3]})
    settings = members_at(file, new.flat, starts_of(new))[1].settings
    assert settings.start and settings.start.run == top.runs[1] and settings.optimisation.learning_rate == 2e-3
    assert taken_over(file, new, top, start(top, 2, "a"), {RATE: 2e-3}) is new, "noted before an interruption"
    assert before(new, 2) == bottom and before(new, 3) == new
    other = taken_over(file, new, top, start(top, 2, "b"), {RATE: 2e-3})
    assert other.runs != new.runs, "another checkpoint makes other runs"


def test_the_chain_follows_the_weights_and_not_the_member(data: Path) -> None:
    file = read(data)
    a, b, c = (trial(file, k, rate) for k, rate in enumerate([1e-4, 1e-3, 5e-3]))
    b2 = taken_over(file, b, c, start(c, 2, "c"), {RATE: 4e-3})
    a2 = taken_over(file, a, b2, start(b2, 4, "d"), {RATE: 3e-3})
    stages = chain(a2, [a2, b2, c], 6)
    assert [(s["trial"], s["from_epoch"], s["until_epoch"], s["settings"][RATE]) for s in stages] == [
        (2, 0, 2, 5e-3), (1, 2, 4, 4e-3), (0, 4, 6, 3e-3),
    ]  # fmt: skip
    assert [s["runs"] for s in stages] == [list(c.runs), list(b2.runs), list(a2.runs)]
    assert [s["sha256"] for s in stages] == [[], ["c" * 64], ["d" * 64]]


def test_a_value_that_leaves_the_space_is_clipped_and_the_runs_that_were_left_are_marked(
    data: Path, tmp_path: Path
) -> None:
    file = read(data)
    trials = {k: trial(file, k, rate) for k, rate in enumerate([1e-4, 9e-3, 1e-3])}
    old = trials[0]
    for one in trials.values():
        reach(file, tmp_path / "runs", one, 2)
    noted: list[Trial] = []
    population = Population(file, tmp_path / "runs", trials, noted.append)
    config = population.take_over(0, 1, 2, ["a" * 64], {RATE: 2e-2})
    assert config["flat"] == {RATE: 1e-2} and config["reported"] == 2
    assert noted == [trials[0]] and trials[0].active == {RATE: 1e-2}
    mark = Run(tmp_path / "runs" / old.runs[0]).pruned()
    assert mark and mark["message"] == "left at epoch 2: goes on from trial 1"
    assert Run(tmp_path / "runs" / trials[1].runs[0]).pruned() is None


def test_a_run_that_another_member_is_at_is_not_left(data: Path, tmp_path: Path) -> None:
    file = read(data)
    trials = {k: trial(file, k, rate) for k, rate in enumerate([1e-4, 9e-3, 1e-4])}
    for one in trials.values():
        reach(file, tmp_path / "runs", one, 2)
    (shared,) = trials[0].runs
    population = Population(file, tmp_path / "runs", trials, lambda _: None)
    population.take_over(0, 1, 2, ["a" * 64], {RATE: 5e-3})
    assert shared not in trials[0].runs and Run(tmp_path / "runs" / shared).pruned() is None


@pytest.mark.parametrize(
    ("reached", "passed"),
    [([(), (), ()], 0), ([(2,), (), ()], 0), ([(2,), (2,), (2,)], 0), ([(2, 4), (2,), (2,)], 2), ([(2, 4)] * 3, 2)],
)
def test_a_population_goes_on_from_the_last_comparison_that_all_have_passed(
    data: Path, tmp_path: Path, reached: list[tuple[int, ...]], passed: int
) -> None:
    """Where nobody has gone on from a comparison, it may not be complete, and is made once more."""
    file = read(data)
    trials = {k: trial(file, k, rate) for k, rate in enumerate([1e-4, 1e-3, 5e-3])}
    for one, epochs in zip(trials.values(), reached, strict=True):
        reach(file, tmp_path / "runs", one, *epochs)
    population = Population(file, tmp_path / "runs", trials, lambda _: None)
    assert {population.config(one)["reported"] for one in trials.values()} == {passed}


def test_checkpoints_that_nobody_goes_on_from_are_removed(data: Path, tmp_path: Path) -> None:
    file, runs = read(data), tmp_path / "runs"
    trials = {k: trial(file, k, rate) for k, rate in enumerate([1e-4, 1e-3, 5e-3])}
    for one in trials.values():
        reach(file, runs, one, 2, 4)
    population = Population(file, runs, trials, lambda _: None)
    population.take_over(0, 1, 2, ["a" * 64], {RATE: 2e-3})
    reach(file, runs, trials[0], 4)
    population.drop_checkpoints()
    kept = {k: [p.name for p in sorted(Run(runs / t.runs[0]).checkpoints.glob("*.pt"))] for k, t in trials.items()}
    assert kept == {0: ["epoch-0004.pt"], 1: ["epoch-0002.pt", "epoch-0004.pt"], 2: ["epoch-0004.pt"]}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            {"space": {"optimisation.optimiser": {"choice": ["adam", "sgd"]}}},
            "optimiser: cannot be changed in the middle",
        ),
        ({"space": {"model": {"choice": ["alexnet-sup", "resnet-18"]}}}, "cannot be changed in the middle"),
        (
            {"space": {"optimisation.epochs": {"choice": [6, 8]}}},
            "optimisation.epochs: cannot be changed in the middle",
        ),
        ({"space": {"optimisation.ema": {"choice": [0, 0.9]}}}, "optimisation.ema: cannot be changed in the middle"),
        ({"population": {"every_epochs": 6}}, "members are never compared"),
        ({"objective": {"every_epochs": 4}}, "must be a multiple of objective.every_epochs=4"),
        ({"trials": 1}, "a population has 2 members at least"),
    ],
)
def test_what_a_population_cannot_do_is_refused(data: Path, said: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        read(data, **said)


@pytest.mark.long
@pytest.mark.long
def test_killed_in_the_middle_a_population_ends_as_if_undisturbed(searched: Searched) -> None:
    said: dict[str, Any] = {
        "base": {"optimisation": {"epochs": 2}},
        "searcher": {"name": "pbt"},
        "population": {"every_epochs": 1, "quantile": 0.34},
        "trials": 3,
    }
    undisturbed, killed = searched("undisturbed", **said), searched("killed", **said)
    rows = undisturbed.rows("--at-a-time", "1")
    assert [row["state"] for row in rows] == ["done"] * 3
    members = undisturbed.trials()
    (left,) = [member for member in members if member["lineage"]]
    (entry,) = left["lineage"]
    parent = Run(undisturbed.runs / entry["parents"][0]["run"])
    started = Run(undisturbed.runs / left["runs"][0])
    assert started.settings.start and started.settings.start.sha256 == parent.keep_epoch(1)
    mark = Run(undisturbed.runs / entry["runs"][0]).pruned()
    assert mark and mark["message"] == f"left at epoch 1: goes on from trial {entry['from']}"
    document = yaml.safe_load((undisturbed.study / "lineage.yaml").read_text())
    top = min(rows, key=lambda row: row["objective"])
    assert document["weights"] == top["runs"] and not (undisturbed.study / "best.yaml").exists()

    process = killed.tune()
    killed.wait_until(
        lambda: killed.runs.exists()
        and any(Run(killed.runs / run_id).epoch_checkpoint(1).exists() for run_id in killed.ids()), 240
    )  # fmt: skip
    process.kill()
    process.wait()
    killed.wait_until(lambda: not killed.at_work())
    trained = {run_id for run_id in killed.ids() if Run(killed.runs / run_id).epoch_checkpoint(1).exists()}
    assert [row["runs"] for row in killed.rows()] == [row["runs"] for row in rows], "on other slots, and interrupted"
    done = {run_id for member in members for run_id in member["runs"]}
    for run_id in done:
        assert Run(killed.runs / run_id).weights.read_bytes() == Run(undisturbed.runs / run_id).weights.read_bytes()
    for run_id in trained:
        epochs = [e["epoch"] for a in Run(killed.runs / run_id).attempts() for e in _epochs(a)]
        assert len(epochs) == len(set(epochs)), "no epoch is trained twice"
    killed.leaves_nothing()
    assert read_json(killed.study / "trials" / "0000.json") == read_json(undisturbed.study / "trials" / "0000.json")


def _epochs(attempt: Path) -> list[dict[str, Any]]:
    lines = (attempt / "journal.jsonl").read_text().splitlines()
    return [event for event in map(yaml.safe_load, lines) if event["event"] == "epoch"]
