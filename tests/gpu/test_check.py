"""`make gpu`: what fails, hangs, or cannot be had loses nothing but itself; on a processor all of it is rehearsed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from page import page
from wheels import NAMES, ROOT, pins

CHECK = Path(__file__).with_name("check.py")

PARTS = """
import os, subprocess, sys, time
from pathlib import Path
from part import Part, Skipped

def good(c):
    yield {"what": c.device, "ms": 1.25}

def half(c):
    yield {"what": "the first", "ms": 1.0}
    raise ValueError("the second\\nin more lines")

def out_of_memory(c):
    class OutOfMemoryError(RuntimeError): pass
    yield from ()
    raise OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")

def hang(c):
    yield {"what": "begun", "ms": 2.0}
    # Of a session of its own, as torchrun's workers are.
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    Path(os.environ["NOTES"]).write_text(str(sleeper.pid))
    time.sleep(600)

def crash(c):
    yield {"what": "crash", "ms": 3.0}
    os.kill(os.getpid(), 11)

def unable(c):
    raise Skipped("too small")
    yield

PARTS = (
    Part("good", "Good", 60, good),
    Part("half", "Half", 60, half),
    Part("out", "Out", 60, out_of_memory),
    Part("hang", "Hang", SECONDS, hang),
    Part("crash", "Crash", 60, crash),
    Part("unable", "Unable", 60, unable),
    Part("absent", "Absent", 60, good, ("no_such_package", "json")),
    Part("cuda", "Cuda", 60, good, gpu=True),
    Part("last", "Last", 60, good),
)
"""


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    (tmp_path / "parts.py").write_text(PARTS.replace("SECONDS", "0.6"))  # ten times that on a processor
    return tmp_path / "parts.py"


def check(out: Path, *options: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(CHECK), "--device", "cpu", "--out", str(out), *options]
    return subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def outcomes(out: Path) -> dict[str, Mapping[str, Any]]:
    return {part["name"]: part for part in json.loads((out / "gpu.json").read_text())["parts"]}


def is_gone(pid: int) -> bool:
    for _ in range(100):
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return True
        time.sleep(0.1)
    return False


def test_parts_that_fail_or_hang_lose_nothing_but_themselves(parts: Path, tmp_path: Path) -> None:
    process = check(tmp_path / "out", "--parts", str(parts), NOTES=str(tmp_path / "notes"))
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 1, printed
    ended = outcomes(tmp_path / "out")
    assert {name: (part["state"], part["reason"], len(part["rows"])) for name, part in ended.items()} == {
        "good": ("ok", "", 1),
        "half": ("failed", "ValueError: the second", 1),
        "out": ("failed", "out of GPU memory: CUDA out of memory. Tried to allocate 1 GiB", 0),
        "hang": ("failed", "took more than 6 s", 1),
        "crash": ("failed", "ended by SIGSEGV", 1),
        "unable": ("skipped", "too small", 0),
        "absent": ("skipped", "needs no_such_package", 0),
        "cuda": ("skipped", "needs a GPU", 0),
        "last": ("ok", "", 1),
    }
    assert is_gone(int((tmp_path / "notes").read_text()))
    log, tables = ((tmp_path / "out" / name).read_text() for name in ("gpu.log", "gpu.md"))
    assert "Traceback" in log and "=== last" in log
    assert "| half | failed: ValueError: the second |" in tables and "| cpu | 1.25 |" in tables
    assert printed.endswith("failed or not run: half, out, hang, crash\n") and "in more lines" in printed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_was_found_before_a_signal_is_kept(parts: Path, tmp_path: Path, number: signal.Signals) -> None:
    parts.write_text(PARTS.replace("SECONDS", "600"))
    notes = tmp_path / "notes"
    process = check(tmp_path / "out", "--parts", str(parts), "--only", "good", "hang", "last", NOTES=str(notes))
    while not notes.exists() or not notes.read_text():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 128 + number
    ended = {name: (part["state"], part["reason"], part["rows"]) for name, part in outcomes(tmp_path / "out").items()}
    assert ended == {
        "good": ("ok", "", [{"what": "cpu", "ms": 1.25}]),
        "hang": ("failed", f"stopped by {number.name}", [{"what": "begun", "ms": 2.0}]),
        "last": ("not run", f"stopped by {number.name}", []),
    }
    assert is_gone(int(notes.read_text()))


def test_a_part_that_does_not_exist_is_refused(parts: Path, tmp_path: Path) -> None:
    process = check(tmp_path / "out", "--parts", str(parts), "--only", "goods")
    assert "make gpu: no part goods; there are good, half" in process.communicate(timeout=60)[0]
    assert process.returncode == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_a_machine_without_a_gpu_is_said_to_be_one_at_once(tmp_path: Path) -> None:
    process = subprocess.run([sys.executable, CHECK, "--out", tmp_path], capture_output=True, text=True, timeout=120)
    assert process.returncode == 1
    assert "machine: failed: torch finds no CUDA device here; `make gpu DEVICE=cpu` rehearses" in process.stdout
    ended = outcomes(tmp_path)
    assert {part["state"] for name, part in ended.items() if name != "machine"} == {"not run"}
    assert len({part["reason"] for part in ended.values()}) == 1


def test_no_part_is_begun_when_no_time_is_left(parts: Path, tmp_path: Path) -> None:
    process = check(tmp_path / "out", "--parts", str(parts), "--limit", "0.1")
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert {part["reason"] for part in outcomes(tmp_path / "out").values()} == {"no time left"}


def test_the_page_says_once_what_is_the_same_in_all_rows() -> None:
    rows = [{"batch": 256, "what": "a|b", "ms": 0.12345, "none": None}, {"batch": 256, "what": "c", "ms": 12345.6}]
    part = {"name": "p", "title": "Title", "state": "ok", "reason": "", "seconds": 1.0, "rows": rows}
    machine = {"card": "NVIDIA X", "torch": "2.11.0", "CUDA": None}
    text = page({"date": "2026-01-02 03:04 UTC", "device": "cuda", "machine": machine, "parts": [part]})
    assert text.startswith("Measured by `make gpu` on 2026-01-02 03:04 UTC: NVIDIA X, torch 2.11.0.\n")
    assert text.endswith(
        "**Title**\n\nbatch 256.\n\n| what | ms |\n|---|---|\n| a\\|b | 0.1235 |\n| c | 12346 |"
    ) and "processor" not in text  # fmt: skip


def test_every_wheel_to_send_along_is_pinned() -> None:
    versions = pins((ROOT / "constraints.txt").read_text())
    assert all(versions[name.replace("_", "-")] for name in NAMES)


# --- the whole, on a processor --------------------------------------------------------------------------------------

NEEDS_A_GPU = {"fused", "train-fused"}
FFCV = {"train-ffcv"}


@pytest.mark.slow
def test_a_rehearsal_is_green(tmp_path: Path) -> None:
    process = check(tmp_path)
    printed, _ = process.communicate(timeout=3000)
    assert process.returncode == 0, printed + (tmp_path / "gpu.log").read_text()
    ended = outcomes(tmp_path)
    assert {name for name, part in ended.items() if part["reason"] == "needs a GPU"} == NEEDS_A_GPU
    assert {part["state"] for part in ended.values()} == {"ok", "skipped"}
    for name, part in ended.items():
        assert bool(part["rows"]) == (part["state"] == "ok"), name
    (bits,) = ended["determinism"]["rows"]
    assert (bits["two runs"], bits["resumed"], bits["not deterministic"]) == ("the same bits",) * 2 + ("nothing",)
    assert isinstance(bits["killed after step"], int)


@pytest.mark.long
def test_what_is_not_installed_is_skipped_by_name(tmp_path: Path) -> None:
    """As on a machine where FFCV, ray and kornia are missing."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('ffcv', 'fastargs', 'numba', 'ray', 'kornia', 'submitit', 'nbclient',"
        " 'nbformat'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
    )
    chosen = ("machine", "data", "tests", "train-resident", "train-pytorch", "group")
    process = check(tmp_path / "out", "--only", *chosen, *FFCV, "blur-peers", PYTHONPATH=str(tmp_path))
    printed, _ = process.communicate(timeout=3000)
    assert process.returncode == 0, printed + (tmp_path / "out" / "gpu.log").read_text()
    ended = {name: (part["state"], part["reason"]) for name, part in outcomes(tmp_path / "out").items()}
    assert ended == {
        **dict.fromkeys(chosen, ("ok", "")),
        **dict.fromkeys(FFCV, ("skipped", "needs ffcv")),
        "blur-peers": ("skipped", "needs kornia"),
    }
