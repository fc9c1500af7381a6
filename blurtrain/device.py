"""The device of this process, its cores, and arithmetic that gives the same bits each time.

On a processor: the same bits for the same number of threads. On a GPU as far as torch has deterministic kernels; it
warns of the others.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch

from blurtrain.errors import TrainingError


def cores() -> set[int]:
    """Processor cores this process may use."""
    return os.sched_getaffinity(0)


def fast_arithmetic(device: torch.device) -> Literal["bfloat16", "float32"]:
    """bfloat16 where the device has instructions for it, which is faster there; elsewhere it is slower than float32.

    Of processors Linux says so (x86: AVX-512 or AMX; ARM); where it does not, they are taken to have none.
    """
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        words = set()
    return "bfloat16" if words & {"avx512_bf16", "amx_bf16", "bf16"} else "float32"


def ask_for_determinism() -> None:
    """Ask torch for algorithms that give the same bits each time, where it has them, for the whole process."""
    os.environ.setdefault(_WORKSPACE, ":4096:8")  # what cuBLAS needs to be deterministic
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # to find faults by; costs a pass over every result
    torch.backends.cudnn.benchmark = False


@contextlib.contextmanager
def any_order() -> Iterator[None]:
    """For scatter and the like where the order changes no bit: each place is written once, or integers are summed, or
    nothing but zeros is added more than once.

    torch's deterministic ways sort what is scattered, and check every index, at a hundred times the cost on a GPU.
    """
    asked = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(asked[0], warn_only=asked[1])


@contextlib.contextmanager
def state_kept() -> Iterator[None]:
    """Put back afterwards what a training or an evaluation changes in torch for the whole process: deterministic
    algorithms, the number of threads, and the random state."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fills = torch.utils.deterministic.fill_uninitialized_memory
    benchmark, threads, workspace = torch.backends.cudnn.benchmark, torch.get_num_threads(), os.environ.get(_WORKSPACE)
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(gpus):
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.utils.deterministic.fill_uninitialized_memory = fills
        torch.backends.cudnn.benchmark = benchmark
        torch.set_num_threads(threads)
        if workspace is None:
            os.environ.pop(_WORKSPACE, None)


_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def claim_device(local_rank: int = 0) -> torch.device:
    """The GPU that belongs to this process, else the CPU; asks torch for deterministic algorithms.

    Raises TrainingError where there are fewer GPUs than processes on this machine.
    """
    ask_for_determinism()
    if not torch.cuda.is_available():
        return torch.device("cpu")
    # A scheduler may show a process only its own GPU: then that one is number 0, whatever the local rank.
    seen = torch.cuda.device_count()
    if 1 < seen <= local_rank:
        raise TrainingError(f"process {local_rank} of this machine finds {seen} GPUs: start one process a GPU")
    device = torch.device("cuda", local_rank if seen > 1 else 0)
    torch.cuda.set_device(device)
    return device


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether GPUs may use TF32 inside, in products and convolutions alike (torch's own default allows it in
    convolutions). By the older flags, as torch.compile reads these, which torch refuses where the newer ones differ."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = allowed
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before
