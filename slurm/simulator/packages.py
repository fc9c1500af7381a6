"""Whether the simulator can run on this host, and the packages that it needs."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from configuration import SimulatorError
from machine import PATH

PACKAGES = ("slurm-wlm", "slurmdbd", "munge", "mariadb-server", "iproute2")
COMMANDS = ("slurmctld", "slurmd", "sbatch", "slurmdbd", "munged", "mariadbd", "mariadb-install-db", "ip")
NO_SERVICES = Path("/usr/sbin/policy-rc.d")  # Debian's packages ask it before they start a service


def obstacle(network: bool) -> str | None:
    """Why no cluster can come up here, in one line; None where one can."""
    if reason := unsuitable():
        return reason
    if missing := missing_commands():
        return f"not installed: {', '.join(missing)} (simulator install)"
    try:
        with tempfile.TemporaryDirectory(prefix="blurtrain-check-") as folder:
            os.mknod(Path(folder) / "gpu0", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except OSError as error:
        return f"this host does not permit device files: {error.strerror}"
    if refusal := _try_namespaces(network):
        return f"this host does not permit {'network ' if network else ''}namespaces: {refusal}"
    return None


def unsuitable() -> str | None:
    """Why no command of the simulator can work here, whatever is installed."""
    if sys.platform != "linux":
        return "the simulator needs Linux"
    if os.geteuid() != 0:
        return "the simulator needs root (for namespaces and device files)"
    return None


def missing_commands() -> list[str]:
    return [command for command in COMMANDS if shutil.which(command, path=PATH) is None]


def _try_namespaces(network: bool) -> str:
    """Do once, and undo, what `up` will do with namespaces; what was said where that failed."""
    namespaces = ["--pid", "--mount", "--uts", "--ipc", "--mount-proc", *(["--net"] if network else [])]
    trial = "echo trial > /proc/sys/kernel/hostname; mount -t tmpfs none /dev/shm"
    if network:
        trial += "; ip link add trial type bridge; ip link add one type veth peer name two"
    command = ["unshare", "--fork", *namespaces, "sh", "-e", "-c", trial]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": PATH})
    return " ".join(done.stderr.split()) or f"exit status {done.returncode}" if done.returncode else ""


def install() -> None:
    """Install what is missing, by apt, without starting any service."""
    if not missing_commands():
        return
    if shutil.which("apt-get") is None:
        raise SimulatorError(f"no apt-get here: install {', '.join(PACKAGES)} as this system does, services stopped")
    own_policy = not NO_SERVICES.exists()
    if own_policy:
        NO_SERVICES.write_text("#!/bin/sh\nexit 101\n")
        NO_SERVICES.chmod(0o755)
    try:
        apt = ("apt-get", "-oDPkg::Lock::Timeout=60", "install", "--yes", "--no-install-recommends", *PACKAGES)
        if not _apt(*apt) and not (_apt("apt-get", "update") and _apt(*apt)):
            raise SimulatorError("apt-get could not install the packages (its own output is above)")
    finally:
        if own_policy:
            NO_SERVICES.unlink()


def _apt(*command: str) -> bool:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, stdout=sys.stderr, env=environment).returncode == 0
