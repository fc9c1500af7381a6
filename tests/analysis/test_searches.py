"""What is read of the searches in a folder of runs, and how the best stands beside the base settings on test images."""

import json
import math
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from search_folder import SearchFolder

import analysis
from analysis.searches.chosen import Chosen, chosen
from analysis.searches.importance import importance
from analysis.searches.trials import Search, searches
from analysis.statistics.estimates import accuracy_difference, paired
from analysis.statistics.intervals import difference
from blurtrain.trials import Trial

MakeRun = Callable[..., str]
RATE, OPTIMISER, MOMENTUM = "optimisation.learning_rate", "optimisation.optimiser", "optimisation.momentum"


def the_one(runs: Path) -> Search:
    found, odd = searches(runs)
    assert not odd
    (search,) = found
    return search


def test_a_row_a_trial(runs: Path, make_run: MakeRun) -> None:
    folder = SearchFolder(runs, make_run, seeds=[0, 1], trials=6)
    folder.trial([[10, 20, 40], [10, 30, 50]], epochs=3)
    folder.trial([[5, 8], [5]], {RATE: 5e-3, OPTIMISER: "adam"}, ended="pruned", epochs=3)
    folder.trial([[20, 30, 60], [10, 40, 62]], {RATE: 2e-4, OPTIMISER: "sgd", MOMENTUM: 0.8}, epochs=3)
    folder.trial([[], []], {RATE: 1e-2, OPTIMISER: "adam"}, ended="failed", message="loss is not finite", epochs=3)
    folder.trial([[1], [2]], {RATE: 1e-3, OPTIMISER: "sgd", MOMENTUM: 0.5}, ended="", epochs=3)
    frame = analysis.trials(str(runs))
    assert frame["state"].tolist() == ["done", "pruned", "done", "failed", "running"]
    assert frame["objective"].tolist() == pytest.approx([45, 5, 61, math.nan, 1.5], nan_ok=True)
    assert frame["sd"].tolist()[2] == pytest.approx(statistics.stdev([60, 62]))
    assert frame["epoch"].tolist() == [3, 1, 3, 0, 1]  # of the pruned one: what both seeds have reached
    assert frame["best"].tolist() == [False, False, True, False, False]
    assert frame["base"].tolist() == [True, False, False, False, False]
    assert frame["n"].tolist() == [45, 45, 45, 0, 45] and set(frame["seeds"]) == {2}
    assert frame[MOMENTUM].tolist() == pytest.approx([math.nan, math.nan, 0.8, math.nan, 0.5], nan_ok=True)
    assert frame["ended_by"].tolist() == [
        "trained for all 3 epochs", "pruned after epoch 1 of 3: others promised more", "trained for all 3 epochs",
        "failed: loss is not finite", "running: epoch 1.5 of 3",
    ]  # fmt: skip
    assert the_one(runs).counts() == "6 trials: 2 done, 1 pruned, 1 failed, 1 running, 1 to begin"


def test_of_a_loss_the_least_is_the_best_and_a_pruned_trial_never_is(runs: Path, make_run: MakeRun) -> None:
    folder = SearchFolder(runs, make_run, objective={"metric": "loss"})
    folder.trial([[10, 20]], epochs=2)
    folder.trial([[10, 40]], {RATE: 1e-4}, epochs=2)
    folder.trial([[90]], {RATE: 2e-4}, ended="pruned", epochs=2)
    best = the_one(runs).best
    assert best and best.number == 1 and best.objective == pytest.approx(5 - 40 / 50)


@pytest.mark.parametrize(
    ("scheduler", "rungs"),
    [({"name": "asha", "grace_epochs": 2, "reduction_factor": 3}, [2, 6, 18, 54]),
     ({"name": "asha", "grace_epochs": 1, "reduction_factor": 4}, [1, 4, 16]), ({"name": "none"}, [])],
)  # fmt: skip
def test_rungs_are_those_of_ray(runs: Path, make_run: MakeRun, scheduler: dict[str, object], rungs: list[int]) -> None:
    SearchFolder(runs, make_run, scheduler=scheduler).trial([[1]], epochs=60)
    assert the_one(runs).rungs == rungs
    if rungs:
        schedulers = pytest.importorskip("ray.tune.schedulers.async_hyperband")
        bracket = schedulers._Bracket(scheduler["grace_epochs"], 60, scheduler["reduction_factor"], 0, False)
        assert sorted(milestone for milestone, _ in bracket._rungs if milestone < 60) == rungs


def test_of_a_population_none_is_stopped_early(runs: Path, make_run: MakeRun) -> None:
    population = {"every_epochs": 4, "quantile": 0.25}
    SearchFolder(runs, make_run, searcher={"name": "pbt"}, population=population).trial([[1]], epochs=60)
    search = the_one(runs)
    assert search.rungs == []
    assert "early stopping: none; every 4 epochs the lowest 25 % take over from the highest" in search.how


def test_a_damaged_search_is_named_and_the_others_are_read(runs: Path, make_run: MakeRun) -> None:
    SearchFolder(runs, make_run, name="whole").trial([[1]])
    for name, file, content in (("no-json", "search.json", "{"), ("no-space", "search.json", '{"name": "x"}'),
                                ("no-trial", "trials/0000.json", "[1]")):  # fmt: skip
        damaged = SearchFolder(runs, make_run, name=name)
        (damaged.study.folder / file).write_text(content)
    found, odd = searches(runs)
    assert [search.record.name for search in found] == ["whole"]
    assert sorted(line.split()[1] for line in odd) == ["no-json-01234567", "no-space-01234567", "no-trial-01234567"]


def test_a_trial_that_went_on_from_another_has_the_values_of_both(runs: Path, make_run: MakeRun) -> None:
    folder = SearchFolder(runs, make_run)
    (first,) = folder.trial([[10, 20]], ended="pruned")
    (later,) = folder.trial([[5, 6, 40, 50]], {RATE: 2e-4})
    before = {"runs": [first], "epoch": 2, "from": 7, "active": {}, "flat": None}
    folder.study.write(Trial(0, {RATE: 2e-4}, {RATE: 2e-4}, (later,), "done", lineage=(before,)))
    (folder.study.folder / "trials" / "0001.json").unlink()
    search = the_one(runs)
    (trial,) = search.trials
    assert trial.standing.values == {1: 10, 2: 20, 3: 40, 4: 50}
    assert trial.ended_by.endswith("went on from trial 7 after epoch 2")
    assert search.base is None and search.runs() == {first, later}


def test_no_search_is_no_row(runs: Path, make_run: MakeRun) -> None:
    make_run(runs)
    assert searches(runs) == ([], []) and analysis.trials(runs).empty


def test_reading_searches_needs_neither_jobs_nor_ray_nor_optuna(runs: Path, make_run: MakeRun) -> None:
    SearchFolder(runs, make_run).trial([[1]])
    code = ("import sys, analysis; analysis.trials(sys.argv[1]); "
            "print(sorted({'jobs', 'ray', 'optuna', 'torch', 'matplotlib'} & set(sys.modules)))")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code, str(runs)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# --- the best beside the base settings ------------------------------------------------------------------------------


def compared(runs: Path) -> Chosen:
    return chosen(the_one(runs), analysis.load(runs), runs)


def test_one_seed_is_compared_over_images(runs: Path, make_run: MakeRun) -> None:
    folder = SearchFolder(runs, make_run)
    folder.trial([[10]], counts=[{0.0: 40, 8.0: 20}])
    folder.trial([[30]], {RATE: 2e-4}, counts=[{0.0: 50, 8.0: 10}])
    sharp, blurred = compared(runs).levels
    assert (sharp.name, sharp.n, sharp.seeds, sharp.difference.wide) == ("sharp", 86, 1, True)
    assert (sharp.difference.value, sharp.difference.low, sharp.difference.high) == difference(50, 86, 40, 86)
    assert (sharp.best.value, sharp.base.value) == (50 / 86, 40 / 86)
    assert blurred.name == "sigma 8" and blurred.difference.value == pytest.approx(-10 / 86)  # as it came


def test_several_seeds_are_compared_in_pairs(runs: Path, make_run: MakeRun) -> None:
    folder = SearchFolder(runs, make_run, seeds=[0, 1, 2])
    folder.trial([[10]] * 3, counts=[{0.0: c} for c in (40, 30, 20)])
    folder.trial([[30]] * 3, {RATE: 2e-4}, counts=[{0.0: c} for c in (43, 34, 25)])
    (level,) = compared(runs).levels
    assert level.difference == accuracy_difference([43, 34, 25], [86] * 3, [40, 30, 20], [86] * 3).difference
    assert level.difference.sd == pytest.approx(1 / 86)
    assert (level.difference.over, level.seeds, level.difference.wide) == ("seeds and images", 3, True)


def record(runs: Path, run_id: str, right: list[bool]) -> None:
    """Which images are right, as an evaluation with evaluation.per_image leaves it: a file in the form of rows."""
    path = runs / run_id / "evaluations" / "accuracy-0123abcd.json"
    document = json.loads(path.read_text())
    count = {"sigma": 0.0, "n": len(right), "blur": "sharp"}
    document.pop("levels")
    rows = [{**count, "metric": name, "count": sum(right)} for name in ("top1", "top5")]
    path.write_text(json.dumps({**document, "n": len(right), "largest_class": 2, "rows": rows}))
    frame = pd.DataFrame({"blur": "sharp", "index": range(len(right)), "top1": right})
    frame.astype({"blur": "category"}).sample(frac=1, random_state=sum(right)).to_parquet(path.with_suffix(".parquet"))


def test_records_of_each_image_pair_them(runs: Path, make_run: MakeRun) -> None:
    folder = SearchFolder(runs, make_run, seeds=[0, 1])
    base = folder.trial([[10]] * 2, counts=[{0.0: 1}] * 2)
    best = folder.trial([[30]] * 2, {RATE: 2e-4}, counts=[{0.0: 1}] * 2)
    right = dict(
        zip((*base, *best), np.random.default_rng(0).random((4, 40)) < [[0.3], [0.4], [0.6], [0.7]], strict=True)
    )
    for run_id, of_run in right.items():
        record(runs, run_id, of_run.tolist())
    (level,) = compared(runs).levels
    of_base, of_best = ([right[run_id] for run_id in ids] for ids in (base, best))
    assert level.difference == paired(of_best, of_base).difference
    assert (level.difference.over, level.difference.wide, level.n) == ("seeds and images", False, 40)
    (runs / best[1] / "evaluations" / "accuracy-0123abcd.parquet").unlink()
    assert compared(runs).levels[0].difference.wide


def test_objects_are_compared_as_wholes(runs: Path, make_run: MakeRun) -> None:
    folder = SearchFolder(runs, make_run)
    folder.trial([[10]], counts=[{0.0: 20}], objects=[[43, 43], [20, 0]])
    folder.trial([[30]], {RATE: 2e-4}, counts=[{0.0: 40}], objects=[[43, 43], [30, 10]])
    (level,) = compared(runs).levels
    assert level.difference.over == "objects" and level.difference.value == pytest.approx(20 / 86)
    assert (level.difference.low, level.difference.high) == (-1, 1)  # of two objects next to nothing is known of others


@pytest.mark.parametrize(
    ("base", "best", "why"),
    [("pruned", True, "The base settings are pruned, and so have no test accuracy"),
     ("done", False, "The base settings are the best of these trials")],
)  # fmt: skip
def test_where_there_is_nothing_to_compare_it_says_why(
    runs: Path, make_run: MakeRun, base: str, best: bool, why: str
) -> None:
    folder = SearchFolder(runs, make_run)
    folder.trial([[10]], ended=base)
    folder.trial([[30 if best else 5]], {RATE: 2e-4})
    assert why in compared(runs).why_not


def test_other_splits_are_no_test(runs: Path, make_run: MakeRun) -> None:
    folder = SearchFolder(runs, make_run)
    folder.trial([[10]], split="val")
    folder.trial([[30]], {RATE: 2e-4}, split="val")
    assert compared(runs) == Chosen(
        why_not="The best trial and the base settings were not both measured on test images."
    )


# --- importance -----------------------------------------------------------------------------------------------------


def of_rate_alone(runs: Path, make_run: MakeRun, count: int) -> Search:
    folder = SearchFolder(runs, make_run)
    for k in range(count):
        rate = 10 ** (-4 + 2 * k / count)
        active = {
            RATE: rate,
            OPTIMISER: ("adam", "sgd")[k % 2],
            **({MOMENTUM: 0.5 + 0.4 * (7 * k % 5) / 5} if k % 2 else {}),
        }
        folder.trial([[50 - abs(10 * math.log10(rate / 1e-3))]], active)
    return the_one(runs)


def test_what_matters_is_the_most_important(runs: Path, make_run: MakeRun) -> None:
    pytest.importorskip("optuna")
    found = importance(of_rate_alone(runs, make_run, 24))
    assert max(found.shares, key=lambda path: found.shares[path]) == RATE and found.shares[RATE] > 0.6
    assert sum(found.shares.values()) == pytest.approx(1) and found.trials == 24
    assert found == importance(the_one(runs))


def test_few_trials_say_nothing_of_importance(runs: Path, make_run: MakeRun) -> None:
    assert importance(of_rate_alone(runs, make_run, 9)).why_not.startswith("9 finished trials are too few")


def test_without_optuna_it_says_so(runs: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    found = importance(of_rate_alone(runs, make_run, 12))
    assert "Optuna is not installed" in found.why_not and not found.shares


def test_base_settings_outside_the_space_have_no_part(runs: Path, make_run: MakeRun) -> None:
    pytest.importorskip("optuna")
    search = of_rate_alone(runs, make_run, 12)
    folder = SearchFolder(runs, make_run)
    ids = folder.trial([[99]], {RATE: 0.5})
    folder.study.write(Trial(12, None, {RATE: 0.5, OPTIMISER: "adam"}, tuple(ids), "done"))
    again = importance(the_one(runs))
    assert (again.trials, again.shares) == (12, importance(search).shares)
