"""One cluster: how it comes up, how it goes down, and what can happen to it in between."""

import fcntl
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import links
from configuration import Layout, Settings, SimulatorError, read, write
from machine import Machine, inits, wait

LOCK = "simulator.lock"  # its presence says that the directory is a simulator's; locked while `up` works
DEFAULT_PREFIX = "blurtrain-simulator-"


@dataclass(frozen=True)
class Cluster:
    """The cluster in `directory` (absolute), up or not."""

    directory: Path

    @property
    def controller(self) -> Machine:
        return Machine(self.directory, "controller")

    @property
    def environment(self) -> dict[str, str]:
        """What SLURM's commands need to find this cluster, and the simulator's too."""
        return {"SLURM_CONF": f"{self.directory}/etc/slurm.conf", "BLURTRAIN_SIMULATOR": str(self.directory)}

    @property
    def settings(self) -> Settings:
        return self._read()[0]

    def _read(self) -> tuple[Settings, Layout]:
        try:
            return read(self.directory)
        except FileNotFoundError:
            raise SimulatorError(f"no simulator in {self.directory}") from None

    def is_up(self) -> bool:
        return (self.directory / "up").exists() and self.controller.pid() is not None

    def node(self, name: str) -> Machine:
        names = self.settings.node_names()
        if name not in names:
            raise SimulatorError(f"no node {name!r}; there are {names[0]} to {names[-1]}")
        return Machine(self.directory, name)

    # Up and down

    def up(self, settings: Settings) -> None:
        """Start everything; returns when all nodes are idle. Whatever stops it on the way, nothing is left behind."""
        with _claimed(self.directory):
            self._clear()
            try:
                self._up(settings)
            except BaseException:
                self.down()
                raise

    def _up(self, settings: Settings) -> None:
        started = time.monotonic()
        for folder in ("etc", "log", "run"):
            (self.directory / folder).mkdir()
        (self.directory / "etc" / "hosts").touch()  # bound over /etc/hosts of the machines before it is written
        self.controller.power_on(network=settings.network)
        subnet = links.take_subnet(self.controller) if settings.network else 0
        layout = Layout.plan(settings, subnet)
        write(self.directory, settings, layout)
        if settings.network:
            links.connect_host(self.controller, layout, subnet)
        self._accounting_up(settings)
        self.controller_up()
        for name in settings.node_names():
            self.node_up(name)
        wait(60 + settings.nodes / 5, "all nodes to be idle", lambda: self._idle() == settings.nodes)
        (self.directory / "up").touch()
        print(f"{settings.nodes} nodes up in {time.monotonic() - started:.1f} s", file=sys.stderr)

    def _accounting_up(self, settings: Settings) -> None:
        """Munge, the database, and SLURM's accounting with the quota that the partition of that name has."""
        here, controller = self.directory, self.controller
        munge = here / "munge"
        # --force: the folders above may be closed to other users, munge would like its socket to be open to all.
        controller.run(
            *("munged", "--force", f"--key-file={munge}/key", f"--socket={munge}/socket", f"--seed-file={munge}/seed"),
            *(f"--pid-file={here}/run/munged.pid", f"--log-file={here}/log/munged.log"),
            log=controller.log,
        )
        mine = f"--defaults-file={here}/etc/my.cnf"
        install = ("mariadb-install-db", mine, "--auth-root-authentication-method=socket", "--skip-test-db")
        controller.run(*install, log=here / "log" / "mariadb-install.log")
        controller.run("setsid", "--fork", "mariadbd", mine, log=controller.log)
        wait(60, "MariaDB", (here / "run" / "mysql.socket").exists, here / "log" / "mariadbd.log")

        controller.run("slurmdbd", log=controller.log, MYSQL_UNIX_PORT=f"{here}/run/mysql.socket")
        wait(60, "slurmdbd", lambda: self._answers("sacctmgr", "show", "cluster"), here / "log" / "slurmdbd.log")
        limit = f"MaxSubmitJobsPerUser={settings.submit_limit}"
        controller.run("sacctmgr", "--immediate", "add", "cluster", "simulator")
        controller.run("sacctmgr", "--immediate", "add", "qos", "quota", limit, "Flags=DenyOnLimit")

    def _answers(self, *command: str) -> str:
        """What SLURM's `command` prints; nothing where it fails or takes longer than 10 s."""
        try:
            return self.controller.run("timeout", "10", *command)
        except SimulatorError:
            return ""

    def _idle(self) -> int:
        """How many nodes SLURM could use."""
        shown = self._answers("sinfo", "--noheader", "--Node", "--format=%N %T", "--partition=gpu")
        return sum(line.endswith((" idle", " mixed", " allocated", " completing")) for line in shown.splitlines())

    def down(self) -> None:
        """Stop and remove everything, whatever state it is in. Nothing to do is fine."""
        if self.controller.pid() is not None:
            links.disconnect_host(self.controller)
            self.controller.power_off()
        if (self.directory / LOCK).exists():
            shutil.rmtree(self.directory)

    def _clear(self) -> None:
        """Make way for `up`: what an interrupted `up` or `down` left in the directory goes, a living cluster stays."""
        if self.is_up():
            raise SimulatorError(f"a simulator is up in {self.directory} already")
        self.controller.power_off()
        for entry in self.directory.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != LOCK:
                entry.unlink()

    # Faults and repairs

    def node_up(self, name: str) -> None:
        """Power a node on where it is off, and start its slurmd where it is not running."""
        node, (settings, layout) = self.node(name), self._read()
        if node.pid() is None:
            (self.directory / "run" / f"slurmd.{name}.pid").unlink(missing_ok=True)
            node.power_on(inside=self.controller, network=settings.network)
            if settings.network:
                links.connect_node(self.controller, node, layout)
        if node.daemon("slurmd", f"slurmd.{name}.pid") is None:
            node.run("slurmd", "-N", name, log=node.log)

    def node_kill(self, name: str) -> None:
        """Power a node off: all its processes end at once, its network is gone, no other machine is notified."""
        node = self.node(name)
        if node.pid() is None:
            raise SimulatorError(f"{name} is powered off already")
        node.power_off()
        if self.settings.network:
            links.disconnect_node(self.controller, node)

    def slurmd_kill(self, name: str) -> None:
        """Kill -9 a node's slurmd; its jobs go on."""
        self.node(name).stop("slurmd", f"slurmd.{name}.pid", "KILL")

    def slurmd_up(self, name: str) -> None:
        if self.node(name).pid() is None:
            raise SimulatorError(f"{name} is powered off; use node-up")
        self.node_up(name)

    def node_cut(self, name: str) -> None:
        """Pull a node's network cable: it works on, but neither SLURM nor the other nodes hear from it."""
        self._set_link(name, "down")

    def node_heal(self, name: str) -> None:
        self._set_link(name, "up")

    def _set_link(self, name: str, state: str) -> None:
        node = self.node(name)
        if not self.settings.network:
            raise SimulatorError("links can be cut only in a cluster brought up with --network")
        if node.pid() is None:
            raise SimulatorError(f"{name} is powered off")
        links.set_link(self.controller, node, state)

    def controller_kill(self) -> None:
        """Kill -9 slurmctld: what it had not yet saved is forgotten."""
        self.controller.stop("slurmctld", "slurmctld.pid", "KILL")

    def controller_stop(self) -> None:
        """Stop slurmctld in good order: it saves its state."""
        self.controller.stop("slurmctld", "slurmctld.pid", "TERM")

    def controller_up(self) -> None:
        """Start slurmctld where it is not running; returns when it answers."""
        if self.controller.daemon("slurmctld", "slurmctld.pid") is None:
            self.controller.run("slurmctld", log=self.controller.log)
        log = self.directory / "log" / "slurmctld.log"
        wait(60, "slurmctld", lambda: "is UP" in self._answers("scontrol", "ping"), log)

    # What is

    def status(self) -> Iterator[str]:
        """One line for the cluster, one for each daemon of the controller, one for each node."""
        settings = self.settings
        network = "a network namespace each" if settings.network else "the host's loopback"
        yield f"{self.directory}: {settings.nodes} nodes, {settings.gpus} pretend GPUs each, {network}"
        daemons = {n: self.controller.daemon(n, f"{n}.pid") for n in ("munged", "mariadbd", "slurmdbd", "slurmctld")}
        yield from (f"{name:10} {'running' if number else 'DOWN'}" for name, number in daemons.items())
        states = {}
        if daemons["slurmctld"]:
            shown = self._answers("sinfo", "--noheader", "--Node", "--format=%N|%T|%E", "--partition=gpu")
            states = {line.split("|")[0]: line.split("|") for line in shown.splitlines()}
        plugged = links.links(self.controller) if settings.network else {}
        for name in settings.node_names():
            node = self.node(name)
            if node.pid() is None:
                machine = "powered OFF"
            else:
                machine = f"slurmd {'running' if node.daemon('slurmd', f'slurmd.{name}.pid') else 'DOWN'}"
                machine += ", link CUT" if settings.network and not plugged.get(name) else ""
            _, state, reason = states.get(name, (name, "unknown", "none"))
            yield f"{name:10} {machine}; for SLURM {state}" + ("" if reason == "none" else f" ({reason})")


# Which cluster is meant


def running() -> list[Path]:
    """The directories of all clusters on this host, half started ones included."""
    return sorted({directory for _, directory, name in inits() if name == "controller"})


def choose(directory: str | None) -> Cluster:
    """The cluster in `directory`; without one that of BLURTRAIN_SIMULATOR if it is up, else the only one that is."""
    found = running()
    if directory:
        if Path(directory).resolve() not in found:
            raise SimulatorError(f"no simulator is up in {directory}")
        return Cluster(Path(directory).resolve())
    mine = Path(os.environ.get("BLURTRAIN_SIMULATOR", ""))
    if mine in found or len(found) == 1:
        return Cluster(mine if mine in found else found[0])
    several = f"several simulators are up, name one by --dir: {', '.join(map(str, found))}"
    raise SimulatorError(several if found else "no simulator is up; start one with: simulator up")


def prepare(directory: str | None) -> Cluster:
    """Where `up` builds: `directory`, else a fresh one below the temporary directory unless a cluster is up already."""
    remove_leftovers()
    if directory:
        return Cluster(Path(directory).resolve())
    if found := running():
        raise SimulatorError(f"a simulator is up in {found[0]} already (--dir DIR brings up another one beside it)")
    return Cluster(Path(tempfile.mkdtemp(prefix=DEFAULT_PREFIX)).resolve())


def remove_leftovers() -> None:
    """Take down what an `up` left that was killed half way, wherever it was at work."""
    default = Path(tempfile.gettempdir()).resolve()
    for directory in {*running(), *default.glob(f"{DEFAULT_PREFIX}*")}:
        if not Cluster(directory).is_up():
            # Not ours to touch where another `up` is at work.
            with suppress(SimulatorError), _claimed(directory):
                Cluster(directory).down()


@contextmanager
def _claimed(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory that is a simulator's, or is new, or empty; never touch any other."""
    if len(str(directory)) > 80:
        raise SimulatorError(f"{directory}: too long, a socket's path may have about 100 characters")
    lock = directory / LOCK
    if directory.exists() and not directory.is_dir():
        raise SimulatorError(f"{directory} is not a directory")
    if directory.exists() and not lock.exists() and any(directory.iterdir()):
        raise SimulatorError(f"{directory} is neither empty nor a simulator's; choose another --dir")
    directory.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SimulatorError(f"another `simulator up` is at work in {directory}") from None
        yield
