"""Batch jobs: answered once each, in their order, page by page, whatever is killed when."""

import json
import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from photo_files import encoded, photo
from serving_process import BATCH, BOUNDARY, Answered, Serving, multipart
from test_requests import refused

from blurtrain.errors import RunError
from blurtrain.serving import Detector
from blurtrain.serving.job_folder import Incoming, Job, jobs_in
from blurtrain.serving.service import Service

FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def named(photos: Sequence[bytes]) -> list[tuple[str, bytes]]:
    return [(f"photo {k}.jpg", content) for k, content in enumerate(photos)]


def check(results: Sequence[Any], photos: Sequence[bytes], detector: Detector, blur_type: str | None) -> None:
    """One answer a photo, in their order, each as the detector gives it."""
    assert [one["photo"] for one in results] == list(range(len(photos)))
    assert [one["name"] for one in results] == [name for name, _ in named(photos)]
    for one, content in zip(results, photos, strict=True):
        expected = asdict(detector.classify(content, blur_type))
        given = {name: one[name] for name in expected}
        if blur_type is None:
            given, expected = given["probabilities"], expected["probabilities"]
        assert given == pytest.approx(expected, abs=1e-6) and one["model"] == detector.model


@pytest.mark.parametrize("blur_type", [None, "motion_blurred"])
def test_a_batch_is_answered_page_by_page(
    serving: Serving, detector: Detector, photos: list[bytes], blur_type: str | None
) -> None:
    query = f"?blur_type={blur_type}" if blur_type else ""
    accepted = serving.post(BATCH + query, named(photos))
    assert accepted.status == 202 and accepted.json["photos"] == 20
    whole = serving.finished(accepted.json["url"])
    check(whole["results"], photos, detector, blur_type)
    assert whole["answered"] == 20 and whole["blur_type"] == blur_type and whole["next"] is None
    paged, url = [], f"{accepted.json['url']}?count=7"
    while url:
        page = serving.ask("GET", url).json
        assert len(page["results"]) <= 7
        paged += page["results"]
        url = page["next"]
    assert paged == whole["results"]
    deadline = time.monotonic() + 30
    while (serving.jobs / accepted.json["job_id"] / "photos").exists():  # answered: not kept longer
        assert time.monotonic() < deadline


def test_photos_that_are_none_have_their_error_and_hold_nobody_up(
    serving: Serving, detector: Detector, photos: list[bytes]
) -> None:
    files = [("good.jpg", photos[0]), ("empty.jpg", b""), ("large.jpg", bytes(300_000)), ("text.jpg", b"hello"),
             ("../../etc/passwd", photos[1][:300]), ("last.jpg", photos[1])]  # fmt: skip
    results = serving.finished(serving.post(BATCH, files).json["url"])["results"]
    assert [one["name"] for one in results] == [name for name, _ in files]
    errors = [one.get("error", "") for one in results]
    assert errors[0] == errors[5] == "" and "probabilities" in results[5]
    assert errors[1] == "the file is empty" and errors[2] == "larger than 0.2 MB"
    assert "no photo, by its content" in errors[3] and "runcated" in errors[4]


def test_what_is_no_batch_is_refused_and_leaves_nothing(serving: Serving, photos: list[bytes]) -> None:
    def folders() -> set[str]:
        return {path.name for path in serving.jobs.iterdir()}

    before = folders()
    refused(serving.post(BATCH, []), 422, "no file among the fields")
    refused(serving.ask("POST", BATCH, b"x", {"Content-Type": "text/plain"}), 415, "multipart/form-data")
    refused(serving.ask("POST", BATCH, multipart(named(photos))[:-30], FORM), 400, "ends before its last boundary")
    refused(serving.post(BATCH, [("a.jpg", b"x")] * 51), 413, "more than 50 photos")
    assert folders() == before


def test_killed_in_the_middle_each_accepted_photo_is_answered_exactly_once(
    model: Path, tmp_path: Path, detector: Detector
) -> None:
    photos = [encoded(photo(seed, 900, 600)) for seed in range(60)]
    seen = list[int]()
    with Serving(model, tmp_path / "jobs") as one:
        urls = [one.post(BATCH, named(photos)).json["url"] for _ in range(2)]
        first = {}
        for at in (5, 20, 45):
            while (found := one.ask("GET", f"{urls[0]}?count=1000").json)["answered"] < at:
                time.sleep(0.002)
            seen.append(found["answered"])
            first[at] = found["results"]
            one.kill()
            one.start()
        for url in urls:
            results = one.finished(url)["results"]
            check(results, photos, detector, None)
        whole = one.finished(urls[0])["results"]
        assert all(whole[: len(results)] == results for results in first.values())  # what was answered stays so
    assert any(0 < answered < 60 for answered in seen), "killed when it was done: nothing was tried"


def test_killed_while_photos_arrive_nothing_of_them_stays(model: Path, tmp_path: Path, photos: list[bytes]) -> None:

    body = multipart(named(photos))
    with Serving(model, tmp_path / "jobs") as one:
        with socket.create_connection(("127.0.0.1", one.port)) as sock:
            sock.sendall(f"POST {BATCH} HTTP/1.1\r\nHost: here\r\nContent-Type: {FORM['Content-Type']}\r\n"
                         f"Content-Length: {len(body)}\r\n\r\n".encode() + body[: len(body) // 2])  # fmt: skip
            while not any(one.jobs.glob(".*/photos/000003")):
                time.sleep(0.01)
            one.kill()
        one.start()
        assert [path.name for path in one.jobs.iterdir()] == [".lock"]


def test_a_service_that_is_stopped_goes_on_when_it_is_started_again(
    model: Path, tmp_path: Path, detector: Detector
) -> None:
    photos = [encoded(photo(seed, 900, 600)) for seed in range(40)]
    with Serving(model, tmp_path / "jobs") as one:
        url = one.post(BATCH, named(photos)).json["url"]
        one.kill(signal.SIGTERM)
        one.start()
        check(one.finished(url)["results"], photos, detector, None)


def test_without_a_model_jobs_wait_for_one(model: Path, tmp_path: Path, photos: list[bytes]) -> None:
    (tmp_path / "jobs").mkdir()
    incoming = Incoming(tmp_path / "jobs", None)
    for name, content in named(photos[:3]):
        add(incoming, name, content)
    job = incoming.publish()
    with Serving(None, tmp_path / "jobs") as one:
        found = one.ask("GET", f"{BATCH}/{job.id}").json
        assert (found["state"], found["answered"], found["results"]) == ("waiting", 0, [])
    with Serving(model, tmp_path / "jobs") as one:
        assert len(one.finished(f"{BATCH}/{job.id}")["results"]) == 3


def test_two_services_do_not_share_a_folder_of_jobs(tmp_path: Path) -> None:
    one = Service(None, tmp_path / "jobs")
    with pytest.raises(RunError, match="another service works on these jobs; choose another --jobs"):
        Service(None, tmp_path / "jobs")
    one.close()
    Service(None, tmp_path / "jobs").close()


def test_too_many_photos_waiting_are_refused_with_a_time_to_come_back(
    tmp_path: Path, model: Path, photos: list[bytes]
) -> None:
    with Serving(model, tmp_path / "jobs", {"batch_waiting": 0}) as one:
        answered: Answered = one.post(BATCH, named(photos[:1]))
        refused(answered, 503, "photos of batch jobs wait already")
        assert answered.headers["retry-after"] == "60"


def test_photos_that_wait_are_counted_again_when_a_batch_has_arrived(
    tmp_path: Path, model: Path, photos: list[bytes]
) -> None:
    with Serving(model, tmp_path / "jobs", {"batch_waiting": 5}) as one:
        refused(one.post(BATCH, named(photos[:6])), 503, "photos of batch jobs wait already")
        assert [path.name for path in one.jobs.iterdir()] == [".lock"]
        one.finished(one.post(BATCH, named(photos[:5])).json["url"])


# --- one job on the disk ----------------------------------------------------------------------------------------------


def add(incoming: Incoming, name: str, content: bytes) -> None:
    incoming.begin(name)
    incoming.write(content)
    incoming.end()


@pytest.fixture
def job(tmp_path: Path) -> Job:
    incoming = Incoming(tmp_path, "motion_blurred")
    for k in range(3):
        add(incoming, f"{k}.jpg", bytes([k]))
    assert not (tmp_path / incoming.id).exists()
    return incoming.publish()


def test_a_job_is_what_was_sent(job: Job, tmp_path: Path) -> None:
    again = Job(job.folder)
    assert (again.total, again.answered, again.blur_type) == (3, 0, "motion_blurred")
    assert [again.content(k) for k in range(3)] == [b"\0", b"\1", b"\2"]
    assert [entry["name"] for entry in again.entries()] == ["0.jpg", "1.jpg", "2.jpg"]


@pytest.mark.parametrize("torn", [b"", b'{"photo": 1, "na', b"{", b"\0" * 9])
def test_a_line_that_is_not_whole_was_never_written(job: Job, torn: bytes) -> None:
    job.append({"photo": 0})
    with (job.folder / "results.jsonl").open("ab") as file:
        file.write(torn)
    again = Job(job.folder)
    assert again.answered == 1 and not again.done
    again.append({"photo": 1})
    again.append({"photo": 2})
    assert Job(job.folder).done and again.page(0, 9) == [{"photo": 0}, {"photo": 1}, {"photo": 2}]
    assert again.page(1, 1) == [{"photo": 1}] and again.page(3, 5) == []


def test_a_damaged_job_is_said_and_leaves_the_others(job: Job, tmp_path: Path) -> None:
    other = Incoming(tmp_path, None)
    add(other, "x", b"x")
    other.publish()
    (job.folder / "job.json").write_text(json.dumps({"photos": 3}))
    found, damaged = jobs_in(tmp_path)
    assert [one.id for one in found] == [other.id] and len(damaged) == 1 and job.id in damaged[0]


def test_jobs_are_removed_some_time_after_they_were_done(job: Job, tmp_path: Path) -> None:
    for k in range(3):
        job.append({"photo": k})
    waiting = Incoming(tmp_path, None)
    add(waiting, "x", b"x")
    waiting.publish()
    Service(None, tmp_path, keep_days=1).close()
    assert job.folder.exists()
    long_ago = time.time() - 2 * 86_400
    os.utime(job.folder / "results.jsonl", (long_ago, long_ago))
    service = Service(None, tmp_path, keep_days=1)
    assert service.jobs.get(job.id) is None and service.jobs.get(waiting.id) is not None
    service.close()
    assert not job.folder.exists()
