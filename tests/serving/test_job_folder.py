"""Folders of jobs: what is the service's own in them, and what is not."""

import errno
import resource
from pathlib import Path
from typing import Any

import pytest
from test_batches import add

from blurtrain.errors import RunError
from blurtrain.serving.job_folder import Incoming, jobs_in


def test_nothing_but_the_services_own_is_removed_or_taken_for_a_job(tmp_path: Path) -> None:
    kept = [tmp_path / name / "config" for name in (".git", ".ssh", f".{'1' * 20}-notes", "photos", f"{'1' * 20}-a")]
    for file in kept:
        file.parent.mkdir()
        file.write_text("mine")
    published, never = Incoming(tmp_path, None), Incoming(tmp_path, None)
    for incoming in (published, never):
        add(incoming, "x", b"x")
    published.publish()
    found, damaged = jobs_in(tmp_path)
    assert [job.id for job in found] == [published.id] and not damaged
    assert [file.read_text() for file in kept] == ["mine"] * 5
    assert not (tmp_path / f".{never.id}").exists()


def test_nothing_is_left_of_a_job_that_did_not_fit_on_the_disk(tmp_path: Path) -> None:
    incoming = Incoming(tmp_path, None)
    incoming.begin("a.jpg")
    incoming.write(b"x" * 100)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        incoming.abandon()  # what is still to be written is refused
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["mkdir", "fsync"])
def test_nothing_is_left_where_the_disk_is_full_at_first_or_at_last(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    mkdir = Path.mkdir

    def full_below(path: Path, *args: Any, **more: Any) -> None:
        if path.name == "photos" and path.parent.exists():
            full()
        mkdir(path, *args, **more)

    if call == "mkdir":
        monkeypatch.setattr(Path, "mkdir", full_below)
        with pytest.raises(OSError, match="No space left"):
            Incoming(tmp_path, None)
    else:
        incoming = Incoming(tmp_path, None)
        add(incoming, "x", b"x")
        monkeypatch.setattr("blurtrain.serving.job_folder.sync_folder", lambda path: path == tmp_path and full())
        with pytest.raises(RunError, match="No space left"):
            incoming.publish()
        incoming.abandon()
    assert list(tmp_path.iterdir()) == []
