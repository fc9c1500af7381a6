"""What a simulated cluster is, and the configuration files that make SLURM run it."""

import ipaddress
import json
import os
import random
import re
import shutil
import socket
import stat
import subprocess
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from string import Template
from typing import Any

TEMPLATES = Path(__file__).parent / "conf"


class SimulatorError(Exception):
    """A user's mistake, or a failure, in one line."""


def option(default: int, low: int, high: int, meaning: str) -> Any:
    """A whole number in [low, high], settable as an option of `up`."""
    return field(default=default, metadata={"low": low, "high": high, "meaning": meaning})


@dataclass(frozen=True)
class Settings:
    """The options of `up`."""

    nodes: int = option(4, 1, 1000, "nodes, named node1, node2, ...")
    gpus: int = option(8, 1, 64, "pretend A100s in each node")
    cpus: int = option(64, 2, 1024, "CPUs each node claims to have (even)")
    memory: int = option(512_000, 1000, 100_000_000, "MB of memory each node claims to have")
    max_array_size: int = option(1001, 2, 4_000_001, "SLURM's MaxArraySize: indices of an array stay below it")
    grace: int = option(10, 0, 3600, "seconds from a preempted job's signal to its end")
    kill_wait: int = option(5, 1, 3600, "seconds from SIGTERM to SIGKILL at a time limit or scancel")
    requeue_delay: int = option(5, 5, 3600, "seconds before a requeued job may start again")
    node_timeout: int = option(5, 2, 3600, "seconds without an answer until a node counts as down (SlurmdTimeout)")
    submit_limit: int = option(4, 0, 1_000_000, 'jobs a user may have in the partition "quota"')
    network: bool = field(default=False, metadata={"meaning": "a network namespace for each node, so links can be cut"})

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if "low" in item.metadata and not item.metadata["low"] <= value <= item.metadata["high"]:
                flag, low, high = item.name.replace("_", "-"), item.metadata["low"], item.metadata["high"]
                raise SimulatorError(f"--{flag} {value}: must be from {low} to {high}")
        if self.cpus % 2:
            raise SimulatorError(f"--cpus {self.cpus}: must be even (two sockets)")

    def node_names(self) -> list[str]:
        return [f"node{i}" for i in range(1, self.nodes + 1)]


@dataclass(frozen=True)
class Layout:
    """The addresses of one cluster: the controller, the host's own end (network only), the nodes; and its ports."""

    controller: str
    host: str
    nodes: dict[str, str]
    prefix: int
    port: int

    @classmethod
    def plan(cls, settings: Settings, subnet: int) -> "Layout":
        """With --network the `subnet`-th of the 16 in 198.19.0.0/16 (RFC 2544, never routed), else the loopback's."""
        if settings.network:
            net = list(ipaddress.IPv4Network("198.19.0.0/16").subnets(new_prefix=20))[subnet]
            controller, host = str(net[-2]), str(net[-3])
        else:
            net = ipaddress.IPv4Network("127.64.0.0/16")
            controller = host = "127.0.0.1"
        nodes = {name: str(net[i]) for i, name in enumerate(settings.node_names(), start=1)}
        return cls(controller, host, nodes, net.prefixlen, free_ports(2 + settings.nodes))


def free_ports(count: int) -> int:
    """The first of `count` consecutive ports that are free, below those that Linux hands out itself."""
    for _ in range(100):
        first = random.randrange(20_000, 32_000 - count)
        if all(_is_free(port) for port in range(first, first + count)):
            return first
    raise SimulatorError(f"found no {count} free ports in a row between 20000 and 32000")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


def write(directory: Path, settings: Settings, layout: Layout) -> None:
    """Everything SLURM, munge and MariaDB read, into `directory`."""
    for name in ("state", "spool", "log", "run", "munge", "mysql", "devices", *(f"spool/{n}" for n in layout.nodes)):
        (directory / name).mkdir(parents=True, exist_ok=True)
    (directory / "munge").chmod(0o755)
    key = directory / "munge" / "key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(1024))
    for gpu in range(settings.gpus):  # /dev/null by another name: SLURM wants a device file to each GPU
        os.mknod(directory / "devices" / f"gpu{gpu}", stat.S_IFCHR | 0o666, os.makedev(1, 3))

    addresses = {"localhost": "127.0.0.1", "controller": layout.controller, **layout.nodes}
    etc = directory / "etc"
    (etc / "hosts").write_text("".join(f"{address} {name}\n" for name, address in addresses.items()))
    (etc / "gres.conf").write_text(
        f"AutoDetect=off\nNodeName=node[1-{settings.nodes}] Name=gpu Type=a100"
        f" File={directory}/devices/gpu[0-{settings.gpus - 1}]\n"
    )
    names = asdict(settings) | {
        "directory": directory,
        "controller": layout.controller,
        "port": layout.port,
        "accounting_port": layout.port + 1,
        "cores_per_socket": settings.cpus // 2,
        "first_job": int(time.time()) % 600_000 * 100 + 1,
        "nodes": "\n".join(
            f"NodeName={name} NodeAddr={address} Port={layout.port + 2 + i}"
            for i, (name, address) in enumerate(layout.nodes.items())
        ),
    }
    for template in TEMPLATES.iterdir():
        (etc / template.name).write_text(Template(template.read_text()).substitute(names))
    (etc / "slurmdbd.conf").chmod(0o600)
    if slurm_version() >= (23, 11):  # older ones do not know the word and do without cgroups anyway
        (etc / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
    (directory / "settings.json").write_text(json.dumps({"settings": asdict(settings), "layout": asdict(layout)}))


def read(directory: Path) -> tuple[Settings, Layout]:
    document = json.loads((directory / "settings.json").read_text())
    return Settings(**document["settings"]), Layout(**document["layout"])


def slurm_version() -> tuple[int, int]:
    text = subprocess.run([shutil.which("slurmd") or "slurmd", "-V"], capture_output=True, text=True).stdout
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)
