"""One image after the other, each on one core: how a processor treats a batch of images that differ in what they need.

Two images on two cores take half the time, where two cores on one small product gain little; an image stays in the
caches of its core from its crop to its normalised pixels; and what becomes of it cannot depend on the images beside it
or on the number of cores.
"""

import contextlib
import ctypes
import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch


def image_by_image(function: Callable[[int], None], n: int) -> None:
    """`function(0)` ... `function(n - 1)`, shared among as many cores as torch has threads, each call on one of them.

    The calls run as this one does where gradients are concerned, without autocast, and raise what they raise.
    """
    keep_freed_memory()
    threads = torch.get_num_threads()
    if threads == 1:
        # To leave autocast takes as long as some images: only where it is on.
        with torch.autocast("cpu", enabled=False) if torch.is_autocast_enabled("cpu") else contextlib.nullcontext():
            for k in range(n):
                function(k)
        return
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
    at_a_time = max(1, n // (4 * threads))  # a core that others keep busy takes fewer of these

    def few(start: int) -> None:
        with torch.inference_mode(inference), torch.set_grad_enabled(gradients):
            for k in range(start, min(start + at_a_time, n)):
                function(k)

    list(_pool(threads, os.getpid()).map(few, range(0, n, at_a_time)))


@functools.lru_cache(maxsize=1)
def _pool(threads: int, _process: int) -> ThreadPoolExecutor:
    """Threads in which torch computes on one core. (A forked process has none of its parent's, and needs its own.)"""
    pool, all_there = ThreadPoolExecutor(threads, "image-by-image"), threading.Barrier(threads)

    def begin() -> None:
        torch.get_num_threads()  # takes up the number for all, which would else undo this thread's own later
        torch.set_num_threads(1)
        all_there.wait()

    for started in [pool.submit(begin) for _ in range(threads)]:
        started.result()
    torch.set_num_threads(threads)  # what threads still to come begin with; those above keep their one
    return pool


@functools.cache
def keep_freed_memory() -> None:
    """Let the C library keep what is freed, up to half a gigabyte, for what is asked for next.

    By default glibc returns a few hundred kilobytes at once, and takes them again, page by page, for the next image:
    that took more time than all arithmetic. Where there is another C library, nothing happens.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        for option, megabytes in ((-1, 512), (-3, 256)):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
            mallopt(option, megabytes * 2**20)
