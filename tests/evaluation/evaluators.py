"""`blurtrain evaluate` in processes of their own, alone or as the ranks of one evaluation."""

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from processes import SERVER


def start(words: Sequence[object], log: Path, ranks: int = 1) -> list["SERVER.Process"]:  # type: ignore[name-defined]
    """As many processes; rank k says in `log`-k what it prints."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = []
    for rank in range(ranks):
        environment = {}
        if ranks > 1:
            environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks)}
            environment |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        arguments = (list(map(str, words)), environment, log.with_name(f"{log.name}-{rank}"))
        processes.append(SERVER.Process(target=_evaluate, args=arguments))
        processes[-1].start()
    return processes


def run(words: Sequence[object], log: Path, ranks: int = 1) -> list[tuple[int | None, str]]:
    """Exit code and output of each rank."""
    started = start(words, log, ranks)
    for process in started:
        process.join(120)
    return [(process.exitcode, log.with_name(f"{log.name}-{k}").read_text()) for k, process in enumerate(started)]


def _evaluate(words: list[str], environment: Mapping[str, str], log: Path) -> None:
    from blurtrain.cli import main

    descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ.update(environment)
    main(["evaluate", *words])
    sys.exit(1)
