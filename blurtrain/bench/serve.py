"""What the service adds: a single request beside the bare detector, a batch beside all cores without a service."""

import http.client
import json
import multiprocessing
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from blurtrain.data.image_files import image_files
from blurtrain.errors import BlurtrainError
from blurtrain.serving.detector import Detector
from blurtrain.serving.photos import photo
from blurtrain.serving.pool import cores

BOUNDARY = "--------------------blurtrain"
PATH = "/api/v1/blur/classify"
Row = dict[str, Any]


class Running(NamedTuple):
    """A service in a process of its own."""

    port: int
    pid: int


def bench_serve(model: Path, folder: Path, singles: int, batch: int, rounds: int) -> Iterator[Row]:
    """Rows of milliseconds a photo, medians of interleaved rounds; photos of the folder, again from the beginning where
    there are fewer than are asked for. Raises DataError where there are none."""
    paths = [folder / path for path in image_files(folder)]
    with _service(model) as running:
        yield _single(model, running, [path.read_bytes() for path in _some(paths, singles)], rounds)
        yield _batch(model, running, _some(paths, batch), rounds)


def _some(paths: Sequence[Path], count: int) -> list[Path]:
    """So many of them, spread over all."""
    if count <= len(paths):
        return [paths[k * len(paths) // count] for k in range(count)]
    return [paths[k % len(paths)] for k in range(count)]


def _single(model: Path, running: Running, contents: Sequence[bytes], rounds: int) -> Row:
    detector = Detector(model)
    connection = http.client.HTTPConnection("127.0.0.1", running.port)
    shown = [detector.preprocessing.input(photo(content))[None] for content in contents[:1]]
    ways: dict[str, Callable[[bytes], Any]] = {
        "network alone": lambda _: detector.probabilities(shown[0]),
        "bare": detector.classify,
        "request": lambda content: _answer(connection, "POST", PATH, form([("photo", content)])),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for content in contents:
            for name, way in ways.items():
                started = time.perf_counter()
                way(content)
                if number:  # the first round warms up
                    times[name].append(1000 * (time.perf_counter() - started))
    connection.close()
    medians = {f"{name}_ms": statistics.median(found) for name, found in times.items()}
    return {"what": "single", "photos": len(contents), **medians, "ratio": medians["request_ms"] / medians["bare_ms"]}


def _batch(model: Path, running: Running, paths: Sequence[Path], rounds: int) -> Row:
    times: dict[str, list[float]] = {"bare": [], "batch": [], "upload": []}
    with multiprocessing.get_context("spawn").Pool(cores(), _begin, (str(model),)) as processes:
        processes.map(_look, paths[: 4 * cores()], chunksize=1)
        for _ in range(rounds):
            started = time.perf_counter()
            for _ in processes.imap_unordered(_look, paths, chunksize=4):
                pass
            times["bare"].append(time.perf_counter() - started)
            uploaded, done = _submitted(running, paths)
            times["upload"].append(uploaded)
            times["batch"].append(done)
    medians = {f"{name}_ms": 1000 * statistics.median(found) / len(paths) for name, found in times.items()}
    status = Path(f"/proc/{running.pid}/status").read_text()
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    return {"what": "batch", "photos": len(paths), **medians, "ratio": medians["batch_ms"] / medians["bare_ms"],
            "ratio_with_upload": (medians["batch_ms"] + medians["upload_ms"]) / medians["bare_ms"],
            "service_peak_mb": int(peak[1]) / 1000 if peak else None}  # fmt: skip


_detector: Detector


def _begin(model: str) -> None:
    global _detector
    _detector = Detector(model)


def _look(path: Path) -> None:
    _detector.classify(path.read_bytes(), one_core=True)


def _submitted(running: Running, paths: Sequence[Path]) -> tuple[float, float]:
    """Seconds until a batch was accepted, and from then until it was done."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port)
    body = form([(path.name, path.read_bytes()) for path in paths])
    started = time.perf_counter()
    url = _answer(connection, "POST", f"{PATH}/batch", body)["url"]
    accepted = time.perf_counter()
    while (found := _answer(connection, "GET", f"{url}?count=0"))["state"] != "done":
        if found["state"] == "failed":
            raise BlurtrainError(f"bench serve: the batch has failed: {found['error']}")
        time.sleep(0.02)
    return accepted - started, time.perf_counter() - accepted


def form(files: Sequence[tuple[str, bytes]]) -> bytes:
    """A body of multipart/form-data with these files, by name."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n'
    parts = [(head % name).encode() + content + b"\r\n" for name, content in files]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def _answer(connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None) -> Any:
    headers = {} if body is None else {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    content = response.read()
    if response.status >= 300:
        raise BlurtrainError(f"bench serve: {method} {path}: {response.status}: {content[:200]!r}")
    return json.loads(content)


@contextmanager
def _service(model: Path) -> Iterator[Running]:
    with tempfile.TemporaryDirectory() as jobs:
        words = [sys.executable, "-m", "blurtrain", "serve", str(model), "--port", "0", "--jobs", jobs]
        process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
            if found is None:
                raise BlurtrainError(f"bench serve: the service does not start: {line.strip()}")
            yield Running(int(found[1]), process.pid)
        finally:
            process.terminate()
            process.communicate()


def table(rows: Sequence[Row]) -> str:
    """The rows as text."""
    lines = []
    for row in rows:
        values = [f"{name.removesuffix('_ms').replace('_', ' ')} {value:.3g}{' ms' if name.endswith('_ms') else ''}"
                  for name, value in row.items() if isinstance(value, float)]  # fmt: skip
        lines.append(f"{row['what']}, {row['photos']} photos: {', '.join(values)}")
    return "\n".join(lines)
