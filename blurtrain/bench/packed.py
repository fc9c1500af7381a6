"""`blurtrain bench packed`: several trainings at a time on one device, which one alone may leave idle."""

import contextlib
import multiprocessing
import time
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

import torch

from blurtrain.bench import synchronise
from blurtrain.bench.train import SIGMA, Bench, Pipeline, opened
from blurtrain.data.dataset import Dataset
from blurtrain.errors import BlurtrainError
from blurtrain.settings import Settings

WARM_UP_STEPS = 3


def bench_packed(
    device: torch.device, bench: Bench, counts: Sequence[int] = (1, 2, 4, 8), seconds: float = 4.0
) -> Iterator[dict[str, Any]]:
    """Rows of {processes, images_per_second, each, of_one, ...}: of all processes together, of one of them, and the
    ratio of all together to the first row.

    Each process trains on images of its own at sigma 8, for `seconds` from the moment that all begin; none waits for
    another. They are started once, as many as the largest of `counts` (rising); those beyond the count of a row wait.
    Raises BlurtrainError where a process dies, after the rows that could be measured without it.
    """
    context = multiprocessing.get_context("spawn")
    with opened(bench) as (settings, dataset):
        pipes: list[Connection] = []
        processes: list[SpawnProcess] = []
        try:
            for _ in range(max(counts)):
                ours, theirs = context.Pipe()
                process = context.Process(target=_train, args=(theirs, settings, dataset, device, bench.deterministic))
                process.start()
                theirs.close()
                pipes.append(ours)
                processes.append(process)
            failures = [answer for pipe in pipes if isinstance(answer := _answer(pipe), str)]
            first = None
            for count in counts:
                if count > len(pipes) - len(failures):
                    raise BlurtrainError(f"bench packed: {count} at a time: {failures[0]}")
                ready = [pipe for pipe in pipes if not pipe.closed][:count]
                speed = sum(_speeds(ready, seconds))
                first = first or speed
                yield {
                    "architecture": bench.architecture,
                    "resolution": bench.resolution,
                    "batch": bench.batch,
                    "arithmetic": bench.arithmetic,
                    "device": str(device),
                    "loader": bench.loader,
                    "processes": count,
                    "images_per_second": round(speed, 1),
                    "each": round(speed / count, 1),
                    "of_one": round(speed / first, 3),
                }
        finally:
            for process in processes:
                process.kill()
                process.join()


def _speeds(pipes: Sequence[Connection], seconds: float) -> list[float]:
    """Images per second of each process behind `pipes`, all at work at once."""
    for pipe in pipes:
        pipe.send(seconds)
    speeds = [_answer(pipe) for pipe in pipes]
    for speed in speeds:
        if isinstance(speed, str):
            raise BlurtrainError(f"bench packed: {len(pipes)} at a time: {speed}")
    return [float(speed) for speed in speeds]


def _answer(pipe: Connection) -> float | str:
    """Images per second (0: ready), or what went wrong; then the pipe is closed."""
    try:
        answer: float | str = pipe.recv()
    except EOFError:
        answer = "a process died"
    if isinstance(answer, str):
        pipe.close()
    return answer


def _train(pipe: Connection, settings: Settings, dataset: Dataset, device: torch.device, deterministic: bool) -> None:
    try:
        with contextlib.closing(Pipeline(settings, dataset, device, deterministic)) as pipeline:
            for _ in range(WARM_UP_STEPS):
                pipeline.step(SIGMA)
            synchronise(device)
            pipe.send(0.0)
            while True:
                seconds, images = pipe.recv(), 0
                began = time.perf_counter()
                while time.perf_counter() - began < seconds:
                    pipeline.step(SIGMA)
                    images += settings.optimisation.batch_size
                synchronise(device)  # some steps may still be queued; their time counts
                pipe.send(images / (time.perf_counter() - began))
    except EOFError:
        pass
    except Exception as error:
        traceback.print_exc()
        pipe.send(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text."""
    about = "{architecture}, {resolution} px, batches of {batch}, {arithmetic}, {device}, loader {loader}"
    lines = [about.format(**rows[0])]
    lines += [f"{'at a time':>9} {'images/s':>10} {'each':>10} {'times one':>10}"]
    for row in rows:
        lines.append(
            f"{row['processes']:>9} {row['images_per_second']:>10.0f} {row['each']:>10.0f} {row['of_one']:>10.2f}"
        )
    return "\n".join(lines)
