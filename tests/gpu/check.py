"""All that needs a GPU, in one command of at most eight minutes: `make gpu`, see README.md beside this file.

Each part of `parts.py` runs in a process of its own, with a time limit of its own, so that one that fails or hangs
loses nothing but itself. After each, gpu.json (all rows) and gpu.md (tables) are written anew; gpu.log has what the
parts print. This file knows nothing of what they measure, but that the first row of the first describes the machine.
"""

import argparse
import contextlib
import datetime
import importlib.metadata
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from page import page
from part import UNFIT, Context, Part, execute

ROOT = Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 460.0
PATIENCE = {"cuda": 1, "cpu": 10}  # how fast a processor is says nothing of a GPU; by these factors it may be slower
LEAST_SECONDS = 5.0  # with less time left a part is not begun
TAIL_LINES = 15
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """A signal has come."""


def main() -> int:
    options = _options()
    parts = _load(options.parts)
    if options.run:
        part = next(part for part in parts if part.name == options.run)
        return execute(part, Context(options.device, options.work), options.report)
    if unknown := set(options.only or ()) - {part.name for part in parts}:
        names = ", ".join(part.name for part in parts)
        raise SystemExit(f"make gpu: no part {', '.join(sorted(unknown))}; there are {names}")
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    options.out.mkdir(parents=True, exist_ok=True)
    chosen = [part for part in parts if not options.only or part.name in options.only]
    return Check(chosen, options).run()


class Check:
    """One run of all parts, and what has come of them so far."""

    def __init__(self, parts: Sequence[Part], options: argparse.Namespace):
        self.parts, self.options = parts, options
        self.began, self.deadline = (
            datetime.datetime.now(datetime.UTC),
            time.monotonic() + options.limit * PATIENCE[options.device],
        )
        self.outcomes: list[dict[str, Any]] = [
            {"name": part.name, "title": part.title, "state": "not run", "reason": "", "seconds": 0.0, "rows": []}
            for part in parts
        ]

    def run(self) -> int:
        """Run the parts one after the other; returns the exit code."""
        reason, stopped = "no time left", 0
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="blurtrain-gpu-")))
            log = stack.enter_context((self.options.out / "gpu.log").open("w"))
            try:
                environment = _environment(folder, log)
                for part, outcome in zip(self.parts, self.outcomes, strict=True):
                    if self.deadline - time.monotonic() < LEAST_SECONDS:
                        break
                    code = self._run_part(part, outcome, folder, environment, log)
                    print(_line(outcome), flush=True)
                    self._write()
                    if code == UNFIT:
                        reason = outcome["reason"]
                        break
            except Interrupted as error:
                reason, stopped = f"stopped by {error}", 128 + signal.Signals[str(error)]
            finally:
                for outcome in self.outcomes:
                    if outcome["state"] == "not run" and not outcome["reason"]:
                        outcome["reason"] = reason
                self._write()
        print(f"{self.options.out / 'gpu.md'}, gpu.json, gpu.log")
        bad = [outcome["name"] for outcome in self.outcomes if outcome["state"] in ("failed", "not run")]
        if bad:
            print(f"failed or not run: {', '.join(bad)}")
        return stopped or int(bool(bad))

    def _run_part(
        self, part: Part, outcome: dict[str, Any], folder: Path, environment: dict[str, str], log: Any
    ) -> int | None:
        """Returns its exit code, None if it was ended."""
        seconds = min(part.seconds * PATIENCE[self.options.device], self.deadline - time.monotonic())
        report = folder / f"{part.name}.jsonl"
        print(f"\n=== {part.name} (at most {seconds:.0f} s)", file=log, flush=True)
        arguments = [sys.executable, __file__, "--run", part.name, "--device", self.options.device]
        arguments += ["--parts", str(self.options.parts.resolve()), "--work", str(folder), "--report", str(report)]
        began, start = time.monotonic(), log.tell()
        process = subprocess.Popen(
            arguments, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        outcome["state"], ended, code = "failed", "", None
        try:
            code = process.wait(seconds)
            ended = "" if code == 0 else f"ended with code {code}" if code > 0 else _signalled(-code)
        except subprocess.TimeoutExpired:
            ended = f"took more than {seconds:.0f} s"
        except Interrupted as error:
            ended = f"stopped by {error}"
            raise
        finally:
            kill_all(process)
            outcome["seconds"] = round(time.monotonic() - began, 1)
            _read_report(report, outcome, ended)
        if outcome["state"] == "failed":
            with (self.options.out / "gpu.log").open(errors="replace") as lines:
                lines.seek(start)
                print("".join(lines.readlines()[-TAIL_LINES:]), end="")
        return code

    def _write(self) -> None:
        machine = next(iter(self.outcomes[0]["rows"]), {})
        document = {"date": self.began.strftime("%Y-%m-%d %H:%M UTC"), "device": self.options.device}
        document |= {"machine": machine, "parts": self.outcomes}
        for name, content in (("gpu.json", json.dumps(document, indent=1)), ("gpu.md", page(document))):
            beside = self.options.out / f".{name}"
            beside.write_text(content + "\n")
            beside.replace(self.options.out / name)


def _read_report(report: Path, outcome: dict[str, Any], ended: str) -> None:
    """What the part has reported, and how it ended by its exit code ("": well)."""
    outcome["state"], outcome["reason"] = ("failed", ended) if ended else ("ok", "")
    for line in report.read_text().splitlines() if report.exists() else ():
        with contextlib.suppress(ValueError):  # half a line, of a part that was killed
            for kind, value in json.loads(line).items():
                if kind == "row":
                    outcome["rows"].append(value)
                else:
                    outcome["state"], outcome["reason"] = kind, value


def _line(outcome: dict[str, Any]) -> str:
    reason = f": {outcome['reason']}" if outcome["reason"] else f", {len(outcome['rows'])} rows"
    return f"{outcome['seconds']:6.1f} s  {outcome['name']}: {outcome['state']}{reason}"


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """End a process, its group, and its descendants that have left the group."""
    if process.poll() is None:
        for pid in (*_descendants(process.pid), process.pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _descendants(pid: int) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for above in found:
        found += children.get(above, [])
    yield from found[1:]


def _signalled(number: int) -> str:
    return f"ended by {signal.Signals(number).name}{' (out of memory?)' * (number == signal.SIGKILL)}"


def _interrupt(number: int, _: FrameType | None) -> None:
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)  # what is left to do takes a moment, and is to be done
    raise Interrupted(signal.Signals(number).name)


def _environment(folder: Path, log: Any) -> dict[str, str]:
    """What parts see: this repository, the wheels that were sent along, and nothing of a launcher around them."""
    launcher = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    environment = {k: v for k, v in os.environ.items() if k not in launcher and not k.startswith("SLURM_")}
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    if wheels := _wheels_to_install():
        site = folder / "site"
        arguments = ["-q", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--target", str(site)]
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", *arguments, *map(str, wheels)],
            stdout=log, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        print(f"{len(wheels)} wheels of {wheels[0].parent}: {'installed' if not done.returncode else 'FAILED'}")
        paths.insert(0, str(site))
    temporary = folder / "tmp"
    temporary.mkdir()
    environment |= {"TMPDIR": str(temporary), "TRITON_CACHE_DIR": str(folder / "triton")}  # nothing is left behind
    return environment | {"PYTHONPATH": ":".join(paths), "PYTHONUNBUFFERED": "1"}


def _wheels_to_install() -> list[Path]:
    """All that lie in .whl, if this Python lacks any of them."""
    wheels = sorted((ROOT / ".whl").glob("*.whl"))
    for wheel in wheels:
        try:
            importlib.metadata.version(wheel.name.split("-")[0])
        except importlib.metadata.PackageNotFoundError:
            return wheels
    return []


def _load(path: Path) -> tuple[Part, ...]:
    spec = importlib.util.spec_from_file_location("parts", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["parts"] = module
    spec.loader.exec_module(module)
    return module.PARTS


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="All that needs a GPU, in one command; --device cpu rehearses it.")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: a rehearsal, all small")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT") or ROOT / "build" / "gpu"),
                        help="folder for gpu.json, gpu.md and gpu.log (default: $OUT, else build/gpu)")  # fmt: skip
    parser.add_argument("--only", nargs="+", metavar="PART", help="these parts only")
    parser.add_argument(
        "--limit",
        type=float,
        default=LIMIT_SECONDS,
        help="seconds for all of them (460; ten times that on a processor)",
    )
    parser.add_argument("--parts", type=Path, default=Path(__file__).with_name("parts.py"), help=argparse.SUPPRESS)
    for name, kind in (("--run", str), ("--work", Path), ("--report", Path)):
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
