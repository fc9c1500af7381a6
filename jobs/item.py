"""What waits in a queue: a command of blurtrain for one run, or for several."""

from dataclasses import dataclass
from pathlib import Path

from blurtrain.files import publish, read_json
from blurtrain.run import Run
from blurtrain.settings import part_names
from jobs.cluster import DEFAULT, Resources
from jobs.grid import Member

SETTINGS = "{settings}"
"""Stands in a command for the path of its settings file."""


@dataclass(frozen=True)
class Item:
    """`blurtrain COMMAND` as a job runs it."""

    id: str
    """Names its lock, its log, and what is counted of it. A training has its run's id."""
    command: tuple[str, ...]
    resources: Resources = DEFAULT
    settings: str = ""
    """Content of the file that SETTINGS stands for."""
    parts: tuple[str, ...] = ()
    """Names of users' own code that the command imports; it travels with the job."""
    batch_size: int | None = None
    """What its processes have to share evenly; None where that does not matter."""
    process_per_node: bool = False
    """One process on each node, with all its GPUs and cores, instead of one a GPU."""
    progress: str = ""
    """A file below the folder of runs that holds how far it is, as {"at": number}; empty: it is a run, whose newest
    checkpoint says so."""

    def reached(self, runs: Path) -> int:
        """A number that grows as it gets further."""
        if self.progress:
            return int((read_json(runs / self.progress) or {}).get("at", 0))
        return Run(runs / self.id).saved_step()

    def words(self, folder: Path) -> list[str]:
        """The command for `python -m`, with its settings file written into `folder`."""
        file = folder / f"{self.id}.yaml"
        if self.settings:
            publish(file, self.settings)
        return ["blurtrain", *(str(file) if word == SETTINGS else word for word in self.command)]


def training(member: Member, runs: Path) -> Item:
    """`blurtrain train` for a run of a grid, which refuses to train anything else under its name."""
    settings = member.settings
    return Item(
        member.run_id,
        ("train", SETTINGS, "--runs", str(runs), "--run-id", member.run_id),
        member.resources,
        settings.model_dump_json(),  # JSON is YAML
        part_names(settings),
        settings.optimisation.batch_size,
    )
