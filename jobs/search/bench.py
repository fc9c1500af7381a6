"""`blurtrain bench tune`: what a search costs beside the training itself. Two rows, each a ratio within one run:

- trials that do nothing (their runs are done already) against Ray Tune's own, with a function that returns a number;
- the trainings of a search against the same trainings as a grid on this machine.
"""

import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from blurtrain.documents import merge, read_yaml
from blurtrain.run import Run
from blurtrain.trials import Study
from jobs.search.driver import Place, Session, alone, drive, local_ray, place_here, search
from jobs.search.file import SearchFile, checked
from jobs.search.space import draw

Report = Callable[[str], Any]


def bench_empty(trials: int, repeats: int, report: Report) -> dict[str, Any]:
    """{what, ours_s, theirs_s (slot seconds a trial, medians), n, slots}: `repeats` times so many trials, in turns, in
    one Ray."""
    with tempfile.TemporaryDirectory(prefix="blurtrain-bench-") as name:
        folder = Path(name)
        file = _nothing(folder, trials)
        place = place_here(file)
        ours, theirs = list[float](), list[float]()
        with local_ray(place.total_cpus, place.total_gpus) as scratch:
            _bare(place, scratch, 2 * place.slots(file), "warm")
            for k in range(repeats):
                runs = folder / str(k)
                _finish_all(file, runs)
                theirs.append(_bare(place, scratch, trials, str(k)) * place.slots(file) / trials)
                session = Session(file, runs, lambda _: None)
                session.study.begin(file.record)
                began = time.perf_counter()
                with alone(session):
                    drive(session, place, scratch / f"ours-{k}", ({}, []))
                ours.append((time.perf_counter() - began) * place.slots(file) / trials)
                if (ended := sum(t.ended == "done" for t in session.trials.values())) < trials:
                    raise RuntimeError(f"bench tune: only {ended} of {trials} trials came to their end")
                report(f"ours {ours[-1]:.3f} s a trial and slot, Ray Tune's {theirs[-1]:.3f} s")
    return {"what": "trials that do nothing", "n": trials, "slots": place.slots(file),
            "ours_s": statistics.median(ours), "theirs_s": statistics.median(theirs)}  # fmt: skip


def _nothing(folder: Path, trials: int) -> SearchFile:
    data = folder / "data" / "none"
    data.mkdir(parents=True)
    (data / "manifest.json").write_text(json.dumps({"schema": 1, "data_id": "none", "counts": {"train": 0}}))
    document = {
        "base": {"dataset": "none", "regime": "clear", "optimisation": {"epochs": 1, "warmup_epochs": 0}},
        "space": {"optimisation.learning_rate": {"log_uniform": [1e-5, 1e-1]}},
        "objective": {"metric": "loss", "of": "training"},
        "searcher": {"name": "random"},
        "scheduler": {"name": "none"},
        "trials": trials,
    }
    return checked(document, "nothing", "bench", folder / "data")


def _finish_all(file: SearchFile, runs: Path) -> None:
    """Run directories of all trials, as if they had been trained."""
    runs.mkdir()
    for number in range(file.search.trials):
        (member,) = file.members(draw(file.search.space, file.search.searcher.seed, number) if number else None)
        run = Run.begin(runs, member.run_id, member.settings)
        attempt = run.new_attempt(member.settings, file.data_id)
        attempt.record("epoch", at=1, epoch=1, loss=1 / (1 + number))
        run.finish({"run_id": run.id, "epochs": 1})
        attempt.close()


def _bare(place: Place, folder: Path, trials: int, name: str) -> float:
    """Seconds that Ray Tune takes for so many trials of a function that returns at once."""
    from ray import tune

    def nothing(config: dict[str, float]) -> dict[str, float]:
        return {"objective": config["x"]}

    tuner = tune.Tuner(
        tune.with_resources(nothing, {"cpu": place.cpus}),
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(
            metric="objective", mode="max", num_samples=trials, max_concurrent_trials=place.total_cpus // place.cpus
        ),
        run_config=tune.RunConfig(name=name, storage_path=str(folder / "bare"), verbose=0),
    )
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # it misses the files of loggers that are switched off
    began = time.perf_counter()
    tuner.fit()
    return time.perf_counter() - began


def bench_against_grid(
    path: Path, data: Path | None, trials: int, repeats: int, report: Report
) -> Iterator[dict[str, Any]]:
    """{what, search_s, grid_s}: the trainings of the first `trials` trials of a search file, none stopped early, as a
    search and as a grid, in turns; one row a turn."""
    import jobs

    document = merge(read_yaml(path), {"searcher": {"name": "random"}, "scheduler": {"name": "none"}, "trials": trials})
    file = checked(document, path.stem, str(path), data)
    points = [None, *(draw(file.search.space, file.search.searcher.seed, n) for n in range(1, trials))]
    members = [member for flat in points for member in file.members(flat)]
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(prefix="blurtrain-bench-") as name:
            began = time.perf_counter()
            jobs.submit(members, runs=Path(name) / "grid", cluster="local", wait=True)
            between = time.perf_counter()
            study: Study = search(file, Path(name) / "search", report=report)
            ended = time.perf_counter()
            if any(trial.ended != "done" for trial in study.trials()):
                raise RuntimeError(f"{study.folder}: not all trials are done")
        row = {"what": "the same trainings", "n": len(members), "grid_s": between - began, "search_s": ended - between}
        report(f"{len(members)} runs: as a grid {row['grid_s']:.1f} s, as a search {row['search_s']:.1f} s")
        yield row


def table(rows: list[dict[str, Any]]) -> str:
    """The rows for a terminal."""
    lines = []
    for row in rows:
        if "ours_s" in row:
            lines.append(
                f"{row['what']}, {row['n']} on {row['slots']} slots: {row['ours_s']:.3f} s a trial and slot, Ray "
                f"Tune's own {row['theirs_s']:.3f} s: {row['ours_s'] - row['theirs_s']:+.3f} s"
            )
    grids = [row for row in rows if "grid_s" in row]
    if grids:
        ratio = statistics.median(row["grid_s"] / row["search_s"] for row in grids)
        lines.append(f"the same {grids[0]['n']} trainings as a grid take {ratio:.2f} of the search's time "
                     f"(median of {len(grids)})")  # fmt: skip
    return "\n".join(lines)
