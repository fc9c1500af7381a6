"""What the process on each node of a search's job keeps together, and what it leaves behind: nothing."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from blurtrain.errors import JobError
from jobs.search import own_ray
from jobs.search.lifeline import Invitation, Lifeline, connected
from jobs.search.own_ray import environment, node_folder, signals_blocked

KEEPER = """
import ctypes, subprocess, sys, time
from jobs.search.node import end_descendants
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
subprocess.run([sys.executable, "parent.py"])  # it ends, its children live on
for name in ("training", "other"):
    while not open(name, "a+").tell():
        time.sleep(0.05)
end_descendants(60)
print("over")
"""
PARENT = """
import subprocess, sys
subprocess.Popen([sys.executable, "-m", "blurtrain", "train"])
subprocess.Popen([sys.executable, "other.py"])
"""
TRAINING = """
import os, signal, sys, time
def save(*_):
    time.sleep(0.5)
    open("saved", "w").write("all")
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
open("training", "w").write(str(os.getpid()))
time.sleep(600)
"""
OTHER = """
import os, signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
open("other", "w").write(str(os.getpid()))
time.sleep(600)
"""


def test_what_is_below_is_ended_and_trainings_save(tmp_path: Path) -> None:
    (tmp_path / "blurtrain").mkdir()
    sources = {"keeper.py": KEEPER, "parent.py": PARENT, "other.py": OTHER, "blurtrain/__main__.py": TRAINING}
    for name, source in sources.items():
        (tmp_path / name).write_text(source)
    (tmp_path / "blurtrain" / "__init__.py").touch()
    repository = str(Path(own_ray.__file__).parents[2])
    keeper = KEEPER.replace(
        "import ctypes", f"import sys; sys.path[:] = [{repository!r}, *sys.path[1:]]\nimport ctypes", 1
    )
    (tmp_path / "keeper.py").write_text(keeper)
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "keeper.py"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "over\n", done.stderr
    assert (tmp_path / "saved").read_text() == "all"
    for name in ("training", "other"):
        assert not Path(f"/proc/{(tmp_path / name).read_text()}").exists()


def test_a_folder_whose_owner_was_killed_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_ray, "TEMPORARY", tmp_path)
    code = (
        "import os, signal, sys; from pathlib import Path; from jobs.search import own_ray\n"
        "own_ray.TEMPORARY = Path(sys.argv[1])\n"
        "with own_ray.node_folder(): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    (left,) = tmp_path.glob("bt-*")
    (tmp_path / "bt-of-others").mkdir()
    with node_folder() as first, node_folder() as second:
        assert {path.name for path in tmp_path.iterdir()} == {first.name, second.name, "bt-of-others"}
        assert left not in (first, second)
    assert [path.name for path in tmp_path.iterdir()] == ["bt-of-others"]


def test_a_process_of_ray_that_had_only_begun_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_ray, "TEMPORARY", tmp_path / "tmp")
    (tmp_path / "tmp").mkdir()
    (tmp_path / "ray").mkdir()
    for script in (tmp_path / "ray" / "agent.py", tmp_path / "training.py"):
        script.write_text("import time; print(flush=True); time.sleep(600)")

    def start(script: str, folder: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, tmp_path / script]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(folder, ""))
        assert process.stdout and process.stdout.readline()
        return process

    with node_folder() as another:
        with node_folder() as folder:
            agent, training = start("ray/agent.py", folder), start("training.py", folder)
            of_another = start("ray/agent.py", another)
            # Whose title has taken the place of its environment: it still has its log.
            with (folder / "agent.log").open("w") as log:
                titled = subprocess.Popen([sys.executable, tmp_path / "ray" / "agent.py"], stdout=log, env={})
        assert agent.wait(10) == -signal.SIGKILL and titled.wait(10) == -signal.SIGKILL
        assert (training.poll(), of_another.poll()) == (None, None)
        for process in (training, of_another):
            process.kill()
            process.wait()


def test_ray_is_deaf_to_slurms_signals_and_trainings_are_not(tmp_path: Path) -> None:
    from jobs import leash

    show = "print(next(line for line in open('/proc/self/status') if line.startswith('SigBlk')).split()[1])"
    with signals_blocked():
        deaf = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True).stdout
        words = [sys.executable, "-c", show]
        hears = subprocess.run(
            [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), "0", *words],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    wanted = sum(1 << (number - 1) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2))
    assert int(deaf, 16) & wanted == wanted
    assert int(hears, 16) == 0


def test_the_environment_of_a_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "somebody:6379")
    monkeypatch.setenv("TMPDIR", "/a/long/way")
    env = environment(tmp_path, "secret")
    assert "RAY_ADDRESS" not in env
    assert (env["RAY_AUTH_MODE"], env["RAY_AUTH_TOKEN"], env["TMPDIR"]) == ("token", "secret", str(tmp_path))


# --- the line between nodes -----------------------------------------------------------------------------------------


def test_all_that_is_said_is_heard_also_by_who_comes_late(tmp_path: Path) -> None:
    line = Lifeline("127.0.0.1")
    line.invitation.publish(tmp_path / "nodes" / "w.json")
    assert (tmp_path / "nodes" / "w.json").stat().st_mode & 0o777 == 0o600
    found = Invitation.found(tmp_path / "nodes" / "w.json")
    assert found == line.invitation
    with connected(found) as (early, address):
        assert address == "127.0.0.1"
        line.say("ray", "10.0.0.1:99")
        assert early.readline() == b"ray 10.0.0.1:99\n"
        with connected(found) as (late, _):
            assert late.readline() == b"ray 10.0.0.1:99\n"
            line.say("end", 75)
            assert early.readline() == late.readline() == b"end 75\n"


def test_the_line_ends_with_the_process_that_made_it() -> None:
    code = (
        "import sys; from jobs.search.lifeline import Lifeline\n"
        "line = Lifeline('127.0.0.1'); print(line.invitation.port, flush=True); sys.stdin.read()"
    )
    first = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdout
    with connected(Invitation("127.0.0.1", int(first.stdout.readline()), "")) as (lines, _):
        threading.Timer(0.2, first.kill).start()
        assert lines.readline() == b""
    first.communicate()


def test_a_first_node_that_is_gone_or_never_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.search import lifeline

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    gone = Invitation("127.0.0.1", port, "")
    with pytest.raises(JobError, match=r"the first process of this job does not answer"), connected(gone):
        pass
    monkeypatch.setattr(lifeline, "PATIENCE_SECONDS", 0.2)
    began = time.monotonic()
    with pytest.raises(JobError, match=r"w\.json: did not come within 0\.2 s"):
        Invitation.found(tmp_path / "w.json")
    assert time.monotonic() > began
