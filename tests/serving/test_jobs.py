"""Batch jobs that cannot be worked off hold no other up; and answers are removed while nothing happens."""

import asyncio
import errno
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from photo_files import encoded, photo
from test_batches import add

from blurtrain.serving import Detector
from blurtrain.serving.app import application
from blurtrain.serving.job_folder import Incoming, Job
from blurtrain.serving.service import Service

PHOTO = encoded(photo(1))


def published(root: Path, damaged: bool = False) -> str:
    """The id of a job of two photos, which is there before the service is; damaged: without their names."""
    incoming = Incoming(root, None)
    add(incoming, "a", PHOTO)
    add(incoming, "b", PHOTO)
    job = incoming.publish()
    if damaged:
        (job.folder / "job.json").write_text(json.dumps({"blur_type": None, "created": 1.0, "photos": [1, 2]}))
    return job.id


@dataclass
class Running:
    """Services in this process, which are closed at the end."""

    detector: Detector
    root: Path
    services: list[Service]

    def start(self, **more: Any) -> Service:
        self.services.append(Service(self.detector, self.root, **more))
        return self.services[-1]


@pytest.fixture
def running(detector: Detector, tmp_path: Path) -> Iterator[Running]:
    found = Running(detector, tmp_path, [])
    yield found
    for service in found.services:
        service.close()


def until(reached: Callable[[], object]) -> None:
    deadline = time.monotonic() + 8
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def state(service: Service, name: str) -> str | None:
    job = service.jobs.get(name)
    return None if job is None else service.jobs.state(job)


def test_a_job_whose_folder_is_removed_while_it_is_worked_off(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = published(running.root), published(running.root)
    begun, go, classify = threading.Event(), threading.Event(), running.detector.classify

    def slow(*args: Any, **more: Any) -> Any:
        begun.set()
        go.wait(30)
        return classify(*args, **more)

    monkeypatch.setattr(running.detector, "classify", slow)
    service = running.start()
    assert begun.wait(30)
    shutil.rmtree(running.root / first)
    go.set()
    until(lambda: state(service, second) == "done")
    assert state(service, first) is None and service.jobs.unanswered == 0


def test_a_job_whose_folder_is_removed_when_it_is_done(running: Running) -> None:
    first = published(running.root)
    service = running.start()
    until(lambda: state(service, first) == "done" and not (running.root / first / "photos").exists())
    shutil.rmtree(running.root / first)
    for _ in range(2):
        incoming = service.jobs.incoming(None)
        add(incoming, "a", PHOTO)
        job = service.jobs.accept(incoming)
        until(lambda job=job: job.done)  # type: ignore[misc]
    assert state(service, first) is None and service.jobs.alive


def test_a_job_that_fails_is_set_aside(running: Running) -> None:
    first, second = published(running.root, damaged=True), published(running.root)
    service = running.start()
    until(lambda: state(service, second) == "done")
    assert state(service, first) == "failed"
    found = asked(service, f"/api/v1/blur/classify/batch/{first}")
    assert found["state"] == "failed" and "AttributeError" in found["error"] and found["results"] == []


def test_a_job_that_cannot_even_be_counted_anew_is_set_aside(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = published(running.root), published(running.root)
    append, recover = Job.append, Job.recover

    def failing(of: Callable[..., None]) -> Callable[..., None]:
        def call(job: Job, *args: Any) -> None:
            if job.id == first:
                raise OSError(errno.EIO, "Input/output error")
            of(job, *args)

        return call

    monkeypatch.setattr(Job, "append", failing(append))
    monkeypatch.setattr(Job, "recover", failing(recover))
    service = running.start()
    until(lambda: state(service, second) == "done")
    assert state(service, first) == "failed" and service.jobs.alive


def test_a_job_for_which_the_disk_was_full_is_tried_again(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blurtrain.serving.jobs.RETRY", 0.01)
    name, append, times = published(running.root), Job.append, list[int]()

    def full_at_first(job: Job, result: dict[str, Any]) -> None:
        times.append(1)
        if len(times) < 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(job, result)

    monkeypatch.setattr(Job, "append", full_at_first)
    service = running.start()
    until(lambda: state(service, name) == "done")


@pytest.mark.parametrize("with_model", [True, False])
def test_answers_are_removed_while_the_service_is_idle(
    running: Running, with_model: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blurtrain.serving.jobs.LOOK", 0.05)
    name = published(running.root)
    done = Job(running.root / name)
    for k in range(2):
        done.append({"photo": k})
    if not with_model:
        running.detector = None  # type: ignore[assignment]
    service = running.start(keep_days=2 / 86_400)
    assert state(service, name) == "done"
    until(lambda: state(service, name) is None and not (running.root / name).exists())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_health_says_when_nobody_works_on_batches(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(*_: Any, **__: Any) -> None:
        raise SystemExit

    service = running.start()
    assert asked(service, "/health")["status"] == "ok"
    monkeypatch.setattr(running.detector, "classify", ends)
    incoming = service.jobs.incoming(None)
    add(incoming, "a", PHOTO)
    service.jobs.accept(incoming)
    until(lambda: not service.jobs.alive)
    assert asked(service, "/health")["status"] == "batches stopped"


def asked(service: Service, path: str) -> Any:
    """What a GET answers, without a socket."""
    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
    parts = list[bytes]()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: dict[str, Any]) -> None:
        parts.append(message.get("body", b""))

    asyncio.run(application(service)(scope, receive, send))
    return json.loads(b"".join(parts))
