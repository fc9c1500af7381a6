"""Folders of jobs: what is the service's own in them, and what is not."""

from pathlib import Path

from test_batches import add

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
