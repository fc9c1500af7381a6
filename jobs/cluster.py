"""Cluster profiles: what a cluster offers and how to ask it, and what a run asks for. One YAML file a cluster."""

import functools
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from blurtrain.documents import read_yaml
from blurtrain.errors import JobError, SettingsError, nearest
from blurtrain.schema import Section, validate
from blurtrain.settings import PRESETS


class Resources(Section):
    """What one run asks for. What is not said comes from the cluster's profile. Never part of a run's identity."""

    nodes: int = Field(1, ge=1)
    gpus: int = Field(1, ge=0)
    """On each node; one process a GPU. 0: one process a node, without one."""
    minutes: int | None = Field(None, ge=1)
    """Time limit of one job; a run that needs longer goes on in the next."""
    partition: str | None = None
    cpus_per_gpu: int | None = Field(None, ge=1)
    pack: int = Field(1, ge=1, le=32)
    """So many runs share one GPU, side by side; only on 1 node and 1 GPU."""

    @property
    def world(self) -> int:
        """Processes of a run."""
        return self.nodes * self.tasks

    @property
    def tasks(self) -> int:
        """Processes on each node."""
        return max(self.gpus, 1)


DEFAULT = Resources()


GRID = "blurtrain sets it"
OWN_OPTIONS = {
    "time": "say minutes",
    "partition": "say partition beside sbatch",
    "signal": "say signal_seconds",
    "array": "say at_a_time or max_array",
    "nodes": "say resources.nodes in the grid",
    "mem_per_gpu": "say memory_per_gpu",
    "cpus_per_gpu": "say cpus_per_gpu beside sbatch",
    **dict.fromkeys(("gpus", "gpus_per_node", "gres", "gpus_per_task"), "say resources.gpus in the grid"),
    **dict.fromkeys(("cpus_per_task", "ntasks", "ntasks_per_node", "job_name", "output", "error"), GRID),
    **dict.fromkeys(("requeue", "no_requeue", "hold", "open_mode", "wait", "parsable", "test_only", "wrap"), GRID),
}
"""Options of sbatch that a profile may not give under `sbatch`, and what to do instead."""


class Cluster(Section):
    """A profile. The defaults are those of a cluster of nodes with eight A100s each."""

    scheduler: Literal["slurm", "local"] = "slurm"
    partition: str | None = None
    """None: the cluster's default."""
    gpus_per_node: int = Field(8, ge=0)
    cpus_per_gpu: int = Field(8, ge=1)
    memory_per_gpu: str | None = Field(None, pattern=r"^\d+[KMGT]?$")
    """As `sbatch --mem-per-gpu` takes it, e.g. 100G; None: what the cluster gives."""
    minutes: int = Field(24 * 60, ge=1)
    signal_seconds: int = Field(120, ge=1)
    """So long before the time limit a run is asked to save and stop; it then waits in the queue to go on."""
    start_seconds: int = Field(300, ge=10)
    """So long the processes of a job may take to be started on its nodes; then it goes back into the queue."""
    at_a_time: int = Field(0, ge=0)
    """At most so many jobs of one array at the same time; 0: as many as the cluster lets in."""
    max_array: int = Field(0, ge=0)
    """At most so many jobs in one array; 0: SLURM's MaxArraySize."""
    failures: int = Field(2, ge=0)
    """How often a run that ended in an error is tried again by itself. Preemptions, time limits and dead nodes do not
    count: after those it always goes on."""
    setup: tuple[str, ...] = ()
    """Lines of shell for the start of each job, such as `module load cuda`."""
    sbatch: dict[str, str | int | bool] = Field(default_factory=dict)
    """Other options of sbatch, e.g. {account: vision, qos: long, constraint: a100}; true: an option without a value."""

    @field_validator("sbatch")
    @classmethod
    def _ours(cls, options: dict[str, str | int | bool]) -> dict[str, str | int | bool]:
        """Names as submitit writes them; what grids rest on cannot be said behind their back."""
        options = {name.replace("-", "_"): value for name, value in options.items()}
        for name, value in options.items():
            if instead := OWN_OPTIONS.get(name):
                raise ValueError(f"{name} cannot be set here: {instead}")
            if value is False:
                raise ValueError(f"{name}: false: leave it out instead")
        return options

    def complete(self, wanted: Resources) -> Resources:
        """`wanted`, with what it leaves open."""
        open_ = {"minutes": self.minutes, "partition": self.partition, "cpus_per_gpu": self.cpus_per_gpu}
        return wanted.model_copy(update={k: v for k, v in open_.items() if getattr(wanted, k) is None})


def check_resources(wanted: Resources, batch_size: int | None, cluster: Cluster, where: str) -> None:
    """Raise JobError where a run asks for what the cluster does not have, or for what does not fit together."""
    if wanted.gpus > cluster.gpus_per_node:
        raise JobError(f"{where}: resources.gpus={wanted.gpus} a node, but the cluster's have {cluster.gpus_per_node}")
    if wanted.pack > 1 and (wanted.nodes, wanted.gpus) != (1, 1):
        raise JobError(f"{where}: resources.pack={wanted.pack} is for runs of 1 node and 1 GPU only")
    if batch_size is not None and batch_size % wanted.world:
        raise JobError(
            f"{where}: optimisation.batch_size={batch_size} cannot be shared evenly by {wanted.world} processes "
            f"({wanted.nodes} nodes x {wanted.tasks}); change resources.nodes or resources.gpus"
        )


@functools.cache
def clusters() -> dict[str, Path]:
    """The profiles that come with the project, by name."""
    return {path.stem: path for path in sorted((PRESETS / "clusters").glob("*.yaml"))}


def read_cluster(name: str) -> Cluster:
    """A profile by its name, or by the path of a file of one's own; raises SettingsError."""
    path = clusters().get(name) or Path(name)
    if name not in clusters() and path.suffix not in (".yaml", ".yml"):
        raise SettingsError(f"--cluster {name}: no such profile; {nearest(name, clusters())}, or a file NAME.yaml")
    profile: Cluster = validate(read_yaml(path), str(path), Cluster)
    return profile
