"""The device of this process, its threads, and arithmetic that gives the same bits each time.

On a processor: the same bits for the same number of threads. On a GPU as far as torch has deterministic kernels; it
warns of the others.
"""

import os

import torch

from blurtrain.settings import Loader


def available_cores() -> int:
    """Processor cores this process may use, shared among the processes of its node."""
    return max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def claim_device(settings: Loader) -> torch.device:
    """The GPU that belongs to this process, else the CPU; sets torch's threads and deterministic algorithms."""
    torch.set_num_threads(settings.threads or settings.workers or available_cores())
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs to be deterministic
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    if not torch.cuda.is_available():
        return torch.device("cpu")
    # A scheduler may show a process only its own GPU; then that one is number 0 whatever the local rank.
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device
