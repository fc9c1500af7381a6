"""Machines made of namespaces: each has its own name, mounts, shared memory and processes; the files are the host's.

A machine is a process tree below a PID 1 of its own. It needs no PID file: PID 1 carries the cluster's directory and
the machine's name on its command line, and when it is killed the kernel kills every process of the machine, unmounts
what was mounted in it and drops its network. The nodes are machines inside the controller's machine, so killing the
controller's PID 1 leaves nothing of a cluster but its directory.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configuration import SimulatorError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TAG = "blurtrain-simulator"

# $1 directory, $2 name. PID 1 is a bash that reaps orphans; the last exec makes it findable, so found means ready.
BOOT = f"""set -e
echo "$2" > /proc/sys/kernel/hostname
mount --bind "$1/etc/hosts" /etc/hosts
mount -t tmpfs none /dev/shm
exec bash -c 'while :; do sleep infinity & wait $!; done' {TAG} "$1" "$2"
"""


@dataclass(frozen=True)
class Machine:
    """The machine `name` of the cluster in `directory`, running or not."""

    directory: Path
    name: str

    @property
    def log(self) -> Path:
        return self.directory / "log" / f"{self.name}.out"

    def pid(self) -> int | None:
        """The host's process id of this machine's PID 1; None while it is off."""
        return next((pid for pid, directory, name in inits() if (directory, name) == (self.directory, self.name)), None)

    def power_on(self, inside: "Machine | None" = None, network: bool = False) -> None:
        """Start it, with `network` in a network namespace of its own. It goes down with the machine `inside`."""
        namespaces = ["--pid", "--mount", "--uts", "--ipc", "--mount-proc", *(["--net"] if network else [])]
        boot = ["bash", "-c", BOOT, f"{TAG}-boot", str(self.directory), self.name]
        command = ["setsid", "--fork", "unshare", "--fork", "--kill-child", *namespaces, *boot]
        if inside:
            inside.run(*command, log=self.log)
        else:
            _run("unshare", command, self.log)
        wait(10, f"{self.name}'s namespaces", self.pid, self.log)

    def power_off(self) -> None:
        """Kill every process of it, as if the plug was pulled. Returns when the last one is gone."""
        if (pid := self.pid()) is None:
            return
        _, unshare = _state(pid)  # its parent, outside
        os.kill(pid, signal.SIGKILL)
        wait(60, f"the end of {self.name}", lambda: _state(pid)[0] in "ZX" and _state(unshare)[0] in "ZX")

    def command(self, *command: str) -> list[str]:
        """`command` as a command of the host that runs on this machine."""
        if (pid := self.pid()) is None:
            raise SimulatorError(f"{self.name} is powered off")
        return ["nsenter", f"--target={pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--", *command]

    def run(self, *command: str, log: Path | None = None, **environment: str) -> str:
        """Run `command` on it, in a clean environment. Its output; into `log` for what stays in the background."""
        conf = f"{self.directory}/etc/slurm.conf"
        return _run(command[0], self.command(*command), log, SLURM_CONF=conf, **environment)

    def daemon(self, name: str, pid_file: str) -> int | None:
        """The process id, on this machine, of the daemon with PID file run/`pid_file`; None if it is not running."""
        try:
            number = int((self.directory / "run" / pid_file).read_text())
            running = Path(f"/proc/{self.pid()}/root/proc/{number}/comm").read_text().strip() == name
        except (OSError, ValueError):
            return None
        return number if running else None

    def stop(self, name: str, pid_file: str, how: str) -> None:
        """Send a daemon the signal `how` (TERM, KILL) and wait for its end."""
        if (number := self.daemon(name, pid_file)) is None:
            raise SimulatorError(f"{name} is not running on {self.name}")
        self.run("bash", "-c", f"kill -{how} {number}")
        wait(30, f"the end of {name}", lambda: self.daemon(name, pid_file) is None)


def inits() -> Iterator[tuple[int, Path, str]]:
    """(process id, cluster's directory, machine's name) of every machine that is on, of all clusters of this host."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if words[0] == "bash" and words[3:4] == [TAG]:
                yield int(entry.name), Path(words[4]), words[5]


def _state(pid: int) -> tuple[str, int]:
    """A process's state and parent: Z (a zombie) or X (gone) once all is over, for a PID 1 with all its processes."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "X", 0
    return words[0], int(words[1])


def wait(seconds: float, what: str, ready: Callable[[], Any], log: Path | None = None) -> None:
    """Poll until `ready()`; SimulatorError with the end of `log` when it is not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise SimulatorError(f"waited {seconds:.0f} s in vain for {what}; {_last_words(log)}".removesuffix("; "))
        time.sleep(0.03)


def _last_words(log: Path | None) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log and log.exists() else []
    return lines[-1] if lines else ""


def _run(what: str, command: list[str], log: Path | None = None, **environment: str) -> str:
    env = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": "/root", **environment}
    with (log or Path(os.devnull)).open("a") as output:
        into = output if log else subprocess.PIPE
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT, "text": True}
        try:
            done = subprocess.run(command, env=env, stdout=into, timeout=300, **options)
        except subprocess.TimeoutExpired:
            raise SimulatorError(f"{what}: no end after 300 s") from None
    if done.returncode:
        said = (done.stdout or "").strip().splitlines()[-1:] or [_last_words(log) or f"exit status {done.returncode}"]
        raise SimulatorError(f"{what}: {said[0]}")
    return done.stdout or ""
