"""Speed, as ratios within one run: ours and the peers take turns, and the median of each is compared."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch

from blurtrain.errors import BlurtrainError


def medians(
    functions: Mapping[str, Callable[[], object]],
    device: torch.device,
    repeats: int = 5,
    enough: float = 4.0,
    report: Callable[[str], object] = lambda _: None,
) -> dict[str, float]:
    """Median milliseconds of each function: `times`."""
    return {name: statistics.median(t) for name, t in times(functions, device, repeats, enough, report).items()}


def times(
    functions: Mapping[str, Callable[[], object]],
    device: torch.device,
    repeats: int = 5,
    enough: float = 4.0,
    report: Callable[[str], object] = lambda _: None,
) -> dict[str, list[float]]:
    """Milliseconds of each function in each round, after one warm-up, all taking turns; synchronised on a GPU.

    A function that has taken more than `enough` seconds by itself drops out of the later rounds. `report` gets what
    is going on.
    """
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for name, function in functions.items():
        report(f"warming up: {name}")
        function()
    for turn in range(repeats):
        report(f"round {turn + 1} of {repeats}")
        for name, function in functions.items():
            if sum(taken[name]) > 1000 * enough:
                continue
            if not taken[name] or taken[name][-1] < 500:
                function()  # untimed: what ran before has left its threads spinning and its data in the caches
            synchronise(device)
            began = time.perf_counter()
            function()
            synchronise(device)
            taken[name].append(1000 * (time.perf_counter() - began))
    return taken


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_of(name: str) -> torch.device:
    """The device to measure on ("auto": a GPU if there is one); raises BlurtrainError where there is none such."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise BlurtrainError("bench: torch finds no CUDA device here; use --device cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise BlurtrainError(f"bench: {name!r} is no device; use cpu, cuda or auto") from None
    # With its number, as tensors on it have it, so that the two can be compared.
    return torch.device("cuda", torch.cuda.current_device()) if name == "cuda" else device
