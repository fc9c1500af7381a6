"""A search as a job: one allocation a study, submitted, put back and counted as every other job is."""

import json
from pathlib import Path

from blurtrain.documents import read_yaml
from blurtrain.errors import JobError, SettingsError
from blurtrain.run import Run
from blurtrain.trials import FOLDER, Study
from jobs.backend import Backend, backends
from jobs.backend import submit as submit_items
from jobs.cluster import Cluster, check_resources
from jobs.item import SETTINGS, Item
from jobs.record import Record
from jobs.search.code import parts_of
from jobs.search.driver import left
from jobs.search.file import SearchFile, checked

INSIDE = "--inside"
"""The option by which `blurtrain tune` is started in a job, with the id of the study."""


def submit(file: SearchFile, backend: Backend, cluster: Cluster, retry: bool = False) -> bool:
    """Start a job that searches, or goes on; False where there is one, or nothing is left to do. retry: trials that
    failed are tried again. Raises JobError where the cluster has not what a trial needs."""
    check(file, cluster)
    study = Study.of(file, backend.runs)
    trials = study.trials()
    open_ = sum(not trial.ended or (retry and trial.ended == "failed") for trial in trials)
    if job_line(study) or not open_ + left(file, len(trials)):
        return False
    if retry:
        study.reopen(trials)
    return bool(submit_items([item(file, backend.runs, cluster)], backend, cluster))


def check(file: SearchFile, cluster: Cluster) -> None:
    """Raise JobError where a trial does not fit on one node of the allocation, or that not on the cluster's."""
    search, k = file.search, len(file.search.seeds)
    node, run = cluster.complete(search.allocation), cluster.complete(search.resources)
    if node.gpus > cluster.gpus_per_node:
        raise JobError(
            f"{file.where}: allocation.gpus={node.gpus} a node, but the cluster's have {cluster.gpus_per_node}"
        )
    gpus = k * run.gpus
    if gpus > node.gpus:
        raise JobError(
            f"{file.where}: a trial of {k} seeds wants {gpus} GPUs ({run.gpus} a run), on one node; allocation.gpus is "
            f"{node.gpus}"
        )
    cpus, cores = k * run.tasks * (run.cpus_per_gpu or 1), node.tasks * (node.cpus_per_gpu or 1)
    if cpus > cores:
        raise JobError(
            f"{file.where}: a trial of {k} seeds wants {cpus} cores, on one node; allocation.gpus={node.gpus} with "
            f"cpus_per_gpu={node.cpus_per_gpu} are {cores}"
        )
    check_resources(run, file.base.optimisation.batch_size, cluster, file.where)


def item(file: SearchFile, runs: Path, cluster: Cluster) -> Item:
    """The job: `blurtrain tune` on each of its nodes."""
    study, data = Study.of(file, runs), dict(file.written.get("data", {}))
    root = {**data, "root": str(Path(file.base.data.root).resolve())}
    document = {
        **file.record,
        "base": {**file.written, "data": root},
        "resources": cluster.complete(file.search.resources).model_dump(mode="json"),
    }
    return Item(
        study.id,
        ("tune", SETTINGS, INSIDE, study.id, "--runs", str(runs.resolve())),
        file.search.allocation,
        json.dumps(document),  # JSON is YAML
        tuple(sorted(parts_of(file))),
        process_per_node=True,
        progress=f"{FOLDER}/{study.id}/{study.progress.name}",
    )


def submitted(path: Path, study: str) -> SearchFile:
    """The search of a job, from its settings file. Raises SettingsError where it is not the one that was submitted."""
    document = read_yaml(path)
    file = checked(document, document.pop("name"), str(path))
    if file.id != study:
        raise SettingsError(f"{path}: was submitted as {study}, and is {file.id} by now: has its data changed?")
    return file


def job_line(study: Study) -> str:
    """How the study's job stands, as a line; empty where none waits or runs."""
    for backend in backends(study.runs):
        look = backend.look([study.id])
        if look.holds(study.id):
            row = look.row(Record(Run(study.folder)))
            waits = row["state"] in ("queued", "held", "preempted")
            return f"{study.id}: job {row.get('job_id', '')} {row['message'] if waits else 'is running'}".rstrip()
    return ""


def cancel(study: Study) -> bool:
    """Stop the study's job, in the queue or at work; whether there was one."""
    return bool([item for backend in backends(study.runs) for item in backend.cancel([study.id])])
