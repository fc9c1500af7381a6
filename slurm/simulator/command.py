"""The command line of the simulator."""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

import cluster
from cluster import Cluster
from configuration import Settings, SimulatorError
from packages import install, obstacle, unsuitable

# Faults and repairs: what to do to which kind of thing.
ON_NODES: dict[str, tuple[Callable[[Cluster, str], None], str]] = {
    "node-kill": (Cluster.node_kill, "power a node off"),
    "node-up": (Cluster.node_up, "power a node on again"),
    "slurmd-kill": (Cluster.slurmd_kill, "kill -9 a node's slurmd; its jobs go on"),
    "slurmd-up": (Cluster.slurmd_up, "start a node's slurmd again"),
    "node-cut": (Cluster.node_cut, "pull a node's network cable; its jobs go on (needs up --network)"),
    "node-heal": (Cluster.node_heal, "plug it in again"),
}
ON_CONTROLLER: dict[str, tuple[Callable[[Cluster], None], str]] = {
    "ctld-kill": (Cluster.controller_kill, "kill -9 slurmctld"),
    "ctld-stop": (Cluster.controller_stop, "stop slurmctld in good order"),
    "ctld-up": (Cluster.controller_up, "start slurmctld again"),
}


def main() -> int:
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, _terminated)
    try:
        if arguments.run is not _check and (reason := unsuitable()):
            raise SimulatorError(reason)
        return arguments.run(arguments) or 0
    except SimulatorError as error:
        print(f"simulator: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("simulator: interrupted", file=sys.stderr)
    return 1


def _terminated(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


def _check(arguments: argparse.Namespace) -> int:
    reason = obstacle(arguments.network)
    print(reason or "the simulator can run here")
    return 1 if reason else 0


def _up(arguments: argparse.Namespace) -> None:
    settings = Settings(**{item.name: getattr(arguments, item.name) for item in fields(Settings)})
    if reason := obstacle(settings.network):
        raise SimulatorError(reason)
    created = cluster.prepare(arguments.dir)
    created.up(settings)
    print(created.directory)


def _down(arguments: argparse.Namespace) -> None:
    cluster.remove_leftovers()
    if arguments.dir:
        Cluster(Path(arguments.dir).resolve()).down()
    elif cluster.running():
        cluster.choose(None).down()


def _status(arguments: argparse.Namespace) -> None:
    print("\n".join(cluster.choose(arguments.dir).status()))


def _env(arguments: argparse.Namespace) -> None:
    for name, value in cluster.choose(arguments.dir).environment.items():
        print(f"export {name}={value}")


def _exec(arguments: argparse.Namespace) -> int:
    if not arguments.words:
        raise SimulatorError("exec: which command?")
    environment = os.environ | cluster.choose(arguments.dir).environment
    try:
        return subprocess.run(arguments.words, env=environment).returncode
    except OSError as error:
        raise SimulatorError(f"exec: {error.strerror}: {arguments.words[0]}") from None


def _node_exec(arguments: argparse.Namespace) -> int:
    chosen = cluster.choose(arguments.dir)
    command = chosen.node(arguments.node).command(*(arguments.words or ["bash"]))
    return subprocess.run(command, env=os.environ | chosen.environment).returncode


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="simulator", description="A SLURM cluster of pretend A100 nodes on this host."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, meaning: str, run: Callable[[argparse.Namespace], int | None]) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=meaning, description=meaning[0].upper() + meaning[1:] + ".")
        sub.set_defaults(run=run)
        return sub

    def add_on_cluster(*arguments: Any) -> argparse.ArgumentParser:
        sub = add(*arguments)
        sub.add_argument("--dir", help="the cluster's directory (default: $BLURTRAIN_SIMULATOR, else the only one up)")
        return sub

    add("install", "install the packages that are missing (apt); starts no service", lambda _: install())
    check = add("check", "say whether the simulator can run here, else why not (exit status 1)", _check)
    check.add_argument("--network", action="store_true", help="whether `up --network` can")
    up = add("up", "bring a cluster up; prints its directory", _up)
    up.add_argument("--dir", help="where all its files go: a new or empty directory (default: a fresh one in $TMPDIR)")
    for item in fields(Settings):
        flag, meaning = "--" + item.name.replace("_", "-"), item.metadata["meaning"]
        if item.type is bool:
            up.add_argument(flag, action="store_true", help=meaning)
        else:
            up.add_argument(flag, type=int, default=item.default, metavar="N", help=f"{meaning} (default: %(default)s)")
    add_on_cluster("down", "stop and remove everything; nothing to do is fine", _down)
    add_on_cluster("status", "show daemons and nodes (exit status 1 where nothing is up)", _status)
    add_on_cluster("env", "print what to `eval`, so that sbatch, sacct, submitit find the cluster", _env)
    add_on_cluster("exec", "run a command that finds the cluster", _exec).add_argument("words", nargs="...")
    on_node = add_on_cluster("node-exec", "run a command (default: a shell) on a node", _node_exec)
    on_node.add_argument("node", metavar="NODE")
    on_node.add_argument("words", nargs="...")
    for name, (act, meaning) in ON_NODES.items():
        sub = add_on_cluster(name, meaning, lambda a, act=act: act(cluster.choose(a.dir), a.node))
        sub.add_argument("node", metavar="NODE")
    for name, (act_on, meaning) in ON_CONTROLLER.items():
        add_on_cluster(name, meaning, lambda a, act=act_on: act(cluster.choose(a.dir)))
    return parser
