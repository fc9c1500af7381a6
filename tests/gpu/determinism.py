"""Whether a training gives the same bits twice, and after a kill; and which operations are to blame if not."""

import itertools
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from part import Context, Row

ROOT = Path(__file__).resolve().parents[2]
# As torch warns, or raises: "upsample_bilinear2d_backward_out_cuda does not have a deterministic implementation".
_BLAMED = re.compile(r"([\w:.]+) does not have a deterministic implementation")


def rows(c: Context, short: Mapping[str, Any]) -> Iterator[Row]:
    """A row a network and arithmetic. `short`: settings of a short run."""
    networks, arithmetics = ("alexnet-sup", "resnet-18"), ("float32", "bfloat16")
    kinds = [("alexnet-sup", "bfloat16")] if c.rehearsal else list(itertools.product(networks, arithmetics))
    with ThreadPoolExecutor(len(kinds)) as pool:
        yield from pool.map(lambda kind: _compared(c, short, *kind), kinds)


def _compared(c: Context, short: Mapping[str, Any], architecture: str, arithmetic: str) -> Row:
    folder = c.work / "determinism" / f"{architecture}-{arithmetic}"
    folder.mkdir(parents=True)
    settings = {
        **short,
        "model": architecture,
        "network": {"architecture": architecture},
        "precision": {"arithmetic": arithmetic},
    }
    file, saving = folder / "settings.json", folder / "saving.json"
    file.write_text(json.dumps(settings))
    # The same run, saved after every step, so that there is always one to go on from.
    saving.write_text(json.dumps({**settings, "checkpoints": {"every_minutes": 0}}))
    logs = [_trained(file, folder / name) for name in ("one", "two")]
    killed_at = _killed(saving, folder / "killed")
    logs.append(_trained(file, folder / "killed"))
    one, two, resumed = (_weights(folder / name) for name in ("one", "two", "killed"))
    return {
        "network": architecture,
        "arithmetic": arithmetic,
        "two runs": _difference(one, two),
        "killed after step": killed_at,
        "resumed": _difference(one, resumed),
        "not deterministic": ", ".join(sorted(set(_BLAMED.findall("".join(logs))))) or "nothing",
    }


def _command(settings: Path, runs: Path) -> list[str]:
    return [sys.executable, "-m", "blurtrain", "train", str(settings), "--runs", str(runs)]


def _trained(settings: Path, runs: Path) -> str:
    """Train to the end; returns what was printed."""
    done = subprocess.run(_command(settings, runs), cwd=ROOT, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr, flush=True)
    if done.returncode:
        raise RuntimeError(f"{runs}: a training ended with code {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stderr


def _killed(settings: Path, runs: Path) -> int | str:
    """Begin to train, and kill it (SIGKILL) once it has saved a few steps; the step of its newest checkpoint."""
    process = subprocess.Popen(_command(settings, runs), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            steps = [int(path.name.split("-")[1]) for path in runs.glob("*/checkpoints/step-*.pt")]
            if max(steps, default=0) >= 3:
                process.send_signal(signal.SIGKILL)
                process.wait()
                return max(steps)
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    return "ended too soon"


def _weights(runs: Path) -> dict[str, Any]:
    import safetensors.torch

    return safetensors.torch.load_file(next(runs.glob("*/weights.safetensors")))


def _difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    import torch

    apart = [name for name in one if not torch.equal(one[name], other[name])]
    if not apart:
        return "the same bits"
    most = max(float((one[name].double() - other[name].double()).abs().max()) for name in apart)
    return f"{len(apart)} of {len(one)} tensors differ, by {most:.2g} at most"
