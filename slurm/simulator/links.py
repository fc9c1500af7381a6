"""The network of a cluster that was brought up with --network: a switch on the controller, a cable to each machine.

All of it lives in the controller's network namespace and goes down with it; the host keeps one end of one cable, so
that its own sbatch and srun reach the cluster. That end's name is also what keeps two clusters' subnets apart.
"""

import json
import subprocess
from pathlib import Path

from configuration import Layout, SimulatorError
from machine import Machine, wait

HOST_LINK = "blurslurm{}"  # as a link of the host, one for each of the 16 subnets


def take_subnet(controller: Machine) -> int:
    """Lay the cable from the host to the controller; the number of the subnet that thereby is this cluster's own."""
    problem = ""
    for subnet in range(16):
        add = f"link add {HOST_LINK.format(subnet)} type veth peer name host netns {controller.pid()}"
        try:
            _ip(None, add)
        except SimulatorError as error:
            problem = str(error)
            if "exists" not in problem:
                break
        else:
            return subnet
    raise SimulatorError(f"cannot make a network link: {problem}")


def connect_host(controller: Machine, layout: Layout, subnet: int) -> None:
    _ip(
        controller,
        "link set lo up",
        "link add switch type bridge",
        f"addr add {layout.controller}/{layout.prefix} dev switch",
        "link set switch up",
        "link set host master switch up",
    )
    link = HOST_LINK.format(subnet)
    _ip(None, f"addr add {layout.host}/{layout.prefix} dev {link}", f"link set {link} up")


def disconnect_host(controller: Machine) -> None:
    """Before the controller's machine goes: the kernel would drop the host's link too, but some time later."""
    own_network = Path(f"/proc/{controller.pid()}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()
    if own_network and "host" in links(controller):
        _ip(controller, "link del host")


def connect_node(controller: Machine, node: Machine, layout: Layout) -> None:
    disconnect_node(controller, node)
    _ip(
        controller,
        f"link add {node.name} type veth peer name eth0 netns {node.pid()}",
        f"link set {node.name} master switch up",
    )
    _ip(node, "link set lo up", f"addr add {layout.nodes[node.name]}/{layout.prefix} dev eth0", "link set eth0 up")


def disconnect_node(controller: Machine, node: Machine) -> None:
    """Take the cable of a machine that is off away. The kernel does so too, at a time of its own."""
    try:
        _ip(controller, f"link del {node.name}")
    except SimulatorError:
        if node.name in links(controller):
            raise


def set_link(controller: Machine, node: Machine, state: str) -> None:
    """Pull (`down`) or plug (`up`) the node's cable, at the switch."""
    _ip(controller, f"link set {node.name} {state}")
    wait(5, f"{node.name}'s link to be {state}", lambda: links(controller)[node.name] == (state == "up"))


def links(controller: Machine) -> dict[str, bool]:
    """Which cables are at the switch, and whether they are plugged."""
    shown = json.loads(_in(controller, "ip", "-json", "link", "show"))
    return {link["ifname"]: "UP" in link["flags"] for link in shown if "ifname" in link}


def _ip(machine: Machine | None, *commands: str) -> None:
    _in(machine, "ip", "-batch", "-", stdin="\n".join(commands) + "\n")


def _in(machine: Machine | None, *command: str, stdin: str = "") -> str:
    """Run a command of the host's (with the host's process ids) in a machine's network namespace."""
    enter = ["nsenter", f"--net=/proc/{machine.pid()}/ns/net", "--"] if machine else []
    done = subprocess.run([*enter, *command], input=stdin, capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise SimulatorError(" ".join(done.stderr.split()) or f"{command[0]} failed")
    return done.stdout
