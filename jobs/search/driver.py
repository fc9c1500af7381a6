"""The process that drives a search: it asks Ray Tune for trials, and notes how each ends."""

import contextlib
import functools
import importlib.util
import logging
import os
import shutil
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blurtrain.errors import JobError, SettingsError
from blurtrain.files import held, read_json, write_json
from blurtrain.run import slurm_job
from blurtrain.trials import Study, Trial, values
from jobs.search.code import environment_of
from jobs.search.file import SearchFile
from jobs.search.known import Known, of_others, of_trials
from jobs.search.own_ray import local_ray
from jobs.search.space import Flat

Report = Callable[[str], Any]
DRIVER = "driver.json"
CRASHES = 3
"""So often an actor that was lost (its node, or its process) is started again."""


@dataclass(frozen=True)
class Place:
    """Where trials run."""

    cpus: int
    """Of a run."""
    gpus: int
    """Of a run."""
    total_cpus: int
    """Of a node."""
    total_gpus: int
    """Of a node."""
    nodes: int = 1

    def slots(self, file: SearchFile) -> int:
        """Trials at a time."""
        k = len(file.search.seeds)
        by_gpu = self.total_gpus // (k * self.gpus) if self.gpus else self.total_cpus
        return self.nodes * min(self.total_cpus // (k * self.cpus), by_gpu)


def check_installed() -> None:
    """Raise JobError where Ray or Optuna are not there. Neither is imported: Ray reads its environment then, which is
    not what a search needs yet."""
    for name, package in (("ray", "ray[tune]"), ("optuna", "optuna")):
        if importlib.util.find_spec(name) is None:
            raise JobError(f"tune: needs {package}: pip install 'blurtrain[tune]'")


def place_here(file: SearchFile, at_a_time: int = 0) -> Place:
    """This machine. Raises SettingsError where a trial does not fit."""
    from jobs.local import gpus_here

    cores, gpus = len(os.sched_getaffinity(0)), len(gpus_here())
    wanted, k = file.search.resources, len(file.search.seeds)
    each = wanted.gpus if gpus or wanted.gpus > 1 else 0  # without GPUs, a run of one takes the processor
    cpus = max(1, each) * (wanted.cpus_per_gpu or 1)
    if each * k > gpus:
        raise SettingsError(f"{file.where}: a trial of {k} seeds wants {each * k} GPUs; this machine has {gpus}")
    if cpus * k > cores:
        raise SettingsError(
            f"{file.where}: a trial of {k} seeds wants {cpus * k} cores side by side; this machine has {cores}: name "
            "fewer seeds, or a smaller resources.cpus_per_gpu"
        )
    place = Place(cpus, each, cores, gpus)
    return Place(cpus, each, min(cores, at_a_time * k * cpus), gpus) if at_a_time else place


class Session:
    """One start of a search, until nothing is left or it is asked to stop."""

    def __init__(self, file: SearchFile, runs: Path, report: Report):
        self.file, self.runs, self.report = file, runs.resolve(), report
        self.study = Study.of(file, self.runs)
        self.trials = {trial.number: trial for trial in self.study.trials()}
        self.stop = threading.Event()
        self.epochs = dict[int, int]()
        """The last epoch of each trial that its objective is known of."""
        self.word = uuid.uuid4().hex
        """By which the driver knows whether the study is still its own."""
        self.deadline = time.monotonic() + 60 * file.search.minutes if file.search.minutes else None

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray writes down whatever it is given, and would go on from that; a search goes on from its runs."""
        return {}

    @property
    def open(self) -> list[Trial]:
        """Trials that were begun, and have not come to their end."""
        return [trial for trial in self.trials.values() if not trial.ended]

    def retry(self) -> None:
        """Let trials that failed go on."""
        self.trials |= {trial.number: trial for trial in self.study.reopen(self.trials.values())}

    @property
    def new(self) -> int:
        """Trials that are still to be begun."""
        return left(self.file, len(self.trials))

    def owns(self) -> bool:
        """Whether no other driver has taken the study over; else this one is to write nothing more, and to stop."""
        ours = (read_json(self.study.folder / DRIVER) or {}).get("word") == self.word
        if not ours:
            self.stop.set()
        return ours

    def write(self, trial: Trial) -> Trial:
        """Note a trial, or how it stands by now, unless another driver does."""
        return self.study.write(trial) if self.owns() else trial

    def begin(self, flat: Flat | None) -> Trial:
        """Note a new trial at a point."""
        ids = tuple(m.run_id for m in self.file.members(flat))
        trial = Trial(len(self.trials), flat, self.file.active(flat), ids)
        self.trials[trial.number] = self.write(trial)
        return trial

    def reached(self, trial: Trial) -> dict[int, float]:
        """The objective of a trial by epoch."""
        return values(self.file.search.objective, self.runs, trial.runs)

    def mark_stopping(self) -> None:
        """Let the trials know that what is stopped now is not pruned."""
        if self.owns():
            self.study.stopping.touch()

    def progress(self) -> None:
        """Note how far the study is, for its SLURM job to see that it gets further."""
        if slurm_job() and self.owns():
            write_json(self.study.progress, {"at": sum(self.epochs.values())})

    def end(self, number: int, ended: str, message: str = "") -> None:
        """Note how a trial has ended, and report it."""
        self.trials[number] = self.write(replace(self.trials[number], ended=ended, message=message))
        over = sum(bool(t.ended) for t in self.trials.values())
        self.report(
            f"[{over}/{max(len(self.trials), self.file.search.trials)}] {ended:7} trial {number}  {message}".rstrip()
        )


def left(file: SearchFile, begun: int) -> int:
    """So many trials are still to be begun."""
    s = file.search
    wanted = min(s.trials, 1 + len(file.grid)) if s.searcher.name == "grid" else s.trials
    return max(0, wanted - begun)


@contextlib.contextmanager
def alone(session: Session) -> Iterator[None]:
    """Be the one process that drives this search; raises JobError where another one does.

    A former start of the same SLURM job is taken over from: it may go on, and hold its lock, on a node that SLURM has
    lost sight of.
    """
    study, job = session.study, slurm_job()
    with held(study.driver, patience=1.0) as lock:
        who = read_json(study.folder / DRIVER) or {}
        if lock is None and not (job and who.get("job") == job):
            raise JobError(f"{study.folder}: process {who.get('pid')} on {who.get('host')} is at this search; "
                           "`blurtrain tune status` shows how far it is")  # fmt: skip
        own = {"pid": os.getpid(), "host": os.uname().nodename, "job": job, "word": session.word}
        write_json(study.folder / DRIVER, own)
        for mark in (study.stopping, study.cancelled):
            mark.unlink(missing_ok=True)
        yield


def drive(session: Session, place: Place, folder: Path, known: tuple[dict[int, Known], list[Known]]) -> None:
    """Run what is open and what is new, in the Ray that this process is connected to."""
    from ray import tune

    from jobs.search.member import MemberAtWork
    from jobs.search.population import Pbt, Population
    from jobs.search.prune import Asha, scheduler
    from jobs.search.suggest import Suggestions
    from jobs.search.trial import TrialAtWork, Work

    file, k = session.file, len(session.file.search.seeds)
    work = Work(file, session.runs, place.cpus, place.gpus)
    reached = {t.number: session.reached(t) for t in session.trials.values()}

    def config(trial: Trial) -> dict[str, Any]:
        if isinstance(pruner, Pbt):
            return {"work": work, **pruner.population.config(trial)}
        last = max(reached.get(trial.number) or {0: 0.0})
        return {"work": work, "number": trial.number, "flat": trial.flat, "reported": last}

    pruner, trainable, at_a_time, storage = scheduler(file), TrialAtWork, place.slots(file), folder
    if file.search.searcher.name == "pbt":
        shutil.rmtree(session.study.ray, ignore_errors=True)
        warnings.filterwarnings("ignore", "Consider boosting PBT performance")
        population = Population(file, session.runs, session.trials, session.write)
        # All members are there at a time, though few of them train; where a member goes on, its checkpoint is at hand.
        pruner, trainable, at_a_time, storage = Pbt(population), MemberAtWork, file.search.trials, session.study.ray
    if isinstance(pruner, Asha):
        for number in sorted(reached):
            if reached[number]:
                pruner.remember(number, reached[number])
    session.epochs |= {number: max(found, default=0) for number, found in reached.items()}
    open_ = session.open
    suggestions = Suggestions(file, *known, open_, session.new, len(session.trials), session.begin, config)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    bundle = {"CPU": float(k * place.cpus), "GPU": float(k * place.gpus)}
    tuner = tune.Tuner(
        tune.with_resources(trainable, tune.PlacementGroupFactory([{n: v for n, v in bundle.items() if v}])),
        tune_config=tune.TuneConfig(
            search_alg=suggestions,
            scheduler=pruner,
            num_samples=len(open_) + session.new,
            max_concurrent_trials=at_a_time,
            reuse_actors=trainable is TrialAtWork,
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=str(storage / "tune"),
            stop=_stopper(session),
            failure_config=tune.FailureConfig(max_failures=CRASHES),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[_callback(session)],
            verbose=0,
        ),
    )
    problems: list[BaseException] = []

    def fit() -> None:
        try:
            tuner.fit()
        except BaseException as error:
            problems.append(error)

    # Not in the main thread, where it would take over Ctrl-C.
    thread = threading.Thread(target=fit, name="tune")
    thread.start()
    while thread.is_alive():
        thread.join(0.2)
        if session.study.is_marked(session.study.cancelled):
            session.stop.set()
        if session.stop.is_set():
            session.mark_stopping()
    shutil.rmtree(session.study.ray, ignore_errors=True)
    if problems:
        raise problems[0]


def _stopper(session: Session) -> Any:
    from ray.tune import Stopper

    class WhenAsked(Stopper):
        """Ends all trials where the search is asked to stop, or its time is over."""

        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            if session.deadline is not None and time.monotonic() > session.deadline and not session.stop.is_set():
                session.report("the time of this search is over; the same command goes on")
                session.stop.set()
            if session.stop.is_set():
                session.mark_stopping()
            return session.stop.is_set()

    return WhenAsked()


def _callback(session: Session) -> Any:
    from ray.tune import Callback

    class Noting(Callback):
        """Notes how each trial ends."""

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            number, result = trial.config["number"], trial.last_result or {}
            if "failed" in result:
                session.end(number, "failed", result["failed"])
            elif result.get("finished"):
                session.end(number, "done", f"{result['objective']:.4g}")
            elif not session.stop.is_set():
                epochs = session.file.base.optimisation.epochs
                session.end(number, "pruned", f"{result['objective']:.4g} after epoch {result['epoch']} of {epochs}")

        def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
            session.epochs[trial.config["number"]] = result["epoch"]
            session.progress()

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            session.report(f"trial {trial.config['number']}: its process was lost {CRASHES + 1} times; it stays open")
            if session.file.search.searcher.name == "pbt":
                session.stop.set()  # the others would wait for it

    return Noting()


def search(file: SearchFile, runs: Path, at_a_time: int = 0, report: Report = print,
           stop: threading.Event | None = None, retry: bool = False) -> Study:  # fmt: skip
    """Search on this machine until every trial has ended, or one is asked to stop (`stop`, `tune cancel`). retry:
    trials that failed are tried again."""
    place = place_here(file, at_a_time)
    ray = functools.partial(local_ray, place.total_cpus, place.total_gpus)
    return search_at(place, ray, Session(file, runs, report), stop, retry)


def search_at(place: Place, ray: Callable[[], AbstractContextManager[Path]], session: Session,
              stop: threading.Event | None = None, retry: bool = False) -> Study:  # fmt: skip
    """Search in a Ray, which is started only where something is left to do; it yields a folder on this node's disk."""
    check_installed()
    if stop is not None:
        session.stop = stop
    session.study.begin(session.file.record)
    with alone(session):
        if retry:
            session.retry()
        if session.open or session.new:
            with environment_of(session.file, session.study.folder / "code"), ray() as folder:
                drive(session, place, folder, what_is_known(session))
    return session.study


def what_is_known(session: Session) -> tuple[dict[int, Known], list[Known]]:
    """Points and what they have reached: of trials that have ended, by number, and of runs that others have trained."""
    trials = list(session.trials.values())
    if session.file.search.searcher.name != "tpe":  # the others learn nothing
        return {}, []
    others = of_others(session.file, session.runs, trials)
    if others:
        session.report(f"{len(others)} points of this space have been trained before: the searcher knows them")
    return of_trials(session.file, session.runs, trials), others
