"""The parts of `make gpu`: what is checked and measured on a GPU, small where there is only a processor.

A part yields rows as it goes. Everything heavy is imported inside, so that check.py can look at the list. Data are
drawn here, as nothing but the repository is at hand; images/s do not depend on what is in the pictures.
"""

import datetime
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from determinism import rows as determinism
from part import Context, Part, Row, Skipped, Unfit

ROOT = Path(__file__).resolve().parents[2]

# Training images of the five datasets of the blurry-to-clear study (Jenkins et al. 2025), each trained in three regimes
# for 100 epochs: the fifteen models of configs/grids/paper.yaml.
STUDY_IMAGES = {"faces": 23_488, "toybox-instance": 133_644, "toybox-category": 36_000, "imagenet-12": 18_000,
                "imagenet-100": 130_000}  # fmt: skip
STUDY_REGIMES, STUDY_EPOCHS, STUDY_BATCH = 3, 100, 256


def machine(c: Context) -> Iterator[Row]:
    import torch

    if c.device == "cuda" and not torch.cuda.is_available():
        raise Unfit("torch finds no CUDA device here; `make gpu DEVICE=cpu` rehearses on a processor")
    cuda = torch.cuda.get_device_properties(0) if c.device == "cuda" else None
    yield {
        "card": cuda.name if cuda else "no GPU",
        "memory": f"{cuda.total_memory / 2**30:.0f} GiB" if cuda else None,
        "torch": torch.__version__,
        "CUDA": torch.version.cuda if cuda else None,
        "cuDNN": torch.backends.cudnn.version() if cuda else None,
        "Python": sys.version.split()[0],
        "cores": len(os.sched_getaffinity(0)),
    }


def data(c: Context) -> Iterator[Row]:
    """Draw the images that all later parts train on, and prepare them."""
    from blurtrain.bench.train import opened
    from blurtrain.data.preparation.standins import draw

    began = datetime.datetime.now()
    draw("faces" if c.rehearsal else "objects", _tree(c), size=80 if c.rehearsal else 256,
         images_per_class=5 if c.rehearsal else 20)  # fmt: skip
    with opened(_bench(c)) as (_, dataset):
        dataset.check()
        yield {
            **dataset.manifest["counts"],
            "classes": len(dataset.classes),
            "stored, px": dataset.manifest["stored_size"],
            "seconds": round((datetime.datetime.now() - began).total_seconds(), 1),
        }


def tests(c: Context) -> Iterator[Row]:
    """The tests marked `gpu`; without a GPU all of them skip, by which at least they have been found."""
    report = c.work / "tests.xml"
    # Only files that have such a test: to import all the others takes longer than these tests do.
    files = sorted(str(p) for p in (ROOT / "tests").rglob("test_*.py") if "mark.gpu" in p.read_text(encoding="utf-8"))
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider",
                           f"--junitxml={report}", *files], cwd=ROOT, check=False)  # fmt: skip
    cases = list(ElementTree.parse(report).iter("testcase"))
    found = {kind: [case for case in cases if case.find(kind) is not None] for kind in ("failure", "error", "skipped")}
    bad = found["failure"] + found["error"]
    passed = len(cases) - len(bad) - len(found["skipped"])
    yield {"passed": passed, "failed": len(bad), "skipped": len(found["skipped"])}
    for case in bad:
        yield {"failed test": f"{case.get('classname')}.{case.get('name')}"}
    if done.returncode:
        raise RuntimeError(f"pytest ended with code {done.returncode}, {len(bad)} tests failed")


def blur(c: Context) -> Iterator[Row]:
    from blurtrain.bench import device_of
    from blurtrain.bench.bandwidth import bench_bandwidth

    batch, size, repeats = (4, 64, 2) if c.rehearsal else (256, 224, 20)
    yield from bench_bandwidth(device_of(c.device), batch, size, repeats)


def fused(c: Context) -> Iterator[Row]:
    """The fused kernel: how exact, how long beside a copy of as many bytes, and by other tilings."""
    import torch

    from blurtrain.bench import device_of
    from blurtrain.bench.fused import bench_fused
    from blurtrain.blur.fused import unavailable

    device, inexact = device_of(c.device), []
    if reason := unavailable(device, torch.bfloat16):
        raise Skipped(reason)
    for row in bench_fused(device, others=True):
        yield row
        if row["max_abs_error_255"] > (1e-3 if row["dtype"].endswith("float32") else 2):
            inexact.append(row["what"])
    if inexact:
        raise RuntimeError(f"errors beyond the tolerance: {'; '.join(inexact)}")


def blur_peers(c: Context) -> Iterator[Row]:
    from blurtrain.bench import device_of
    from blurtrain.bench.blur import bench_blur

    batch, repeats = (2, 1) if c.rehearsal else (256, 5)
    yield from bench_blur(device_of(c.device), batch, repeats, quick=True)


def train(c: Context, architecture: str, loader: str, **options: Any) -> Iterator[Row]:
    from blurtrain.bench import device_of
    from blurtrain.bench.train import bench_train

    yield from bench_train(device_of(c.device), _bench(c, architecture=architecture, loader=loader, **options))


def compiled(c: Context) -> Iterator[Row]:
    """torch.compile off and on, each by turns with nothing else."""
    wanted = ("one fixed batch in memory", "whole pipeline, sigma 8")
    for architecture in _architectures(c):
        for compile in (False, True):
            for row in train(c, architecture, "resident", compile=compile):
                if row["what"] in wanted:
                    yield row


def train_fused(c: Context) -> Iterator[Row]:
    """Training whose crop and blur are one operator, composed as matrices and by the fused kernel."""
    wanted = ("one fixed batch in memory", "whole pipeline, sigma 8", "augmentation alone, sigma 8")
    for architecture in _architectures(c):
        for way in ("plain", "fused"):
            for row in train(c, architecture, "resident", crop_and_blur=way, colour=False):
                if row["what"] in wanted:
                    yield row


def packed(c: Context) -> Iterator[Row]:
    """Aggregate images/s, and what it makes of the study: images x epochs x regimes, evaluation and start not counted,
    every image at sigma 8, whole batches only."""
    from blurtrain.bench import device_of
    from blurtrain.bench.packed import bench_packed

    counts, seconds = ((1, 2), 0.5) if c.rehearsal else ((1, 2, 4, 8), 3.0)
    images = sum(n // STUDY_BATCH * STUDY_BATCH for n in STUDY_IMAGES.values()) * STUDY_REGIMES * STUDY_EPOCHS
    for row in bench_packed(device_of(c.device), _bench(c, architecture="alexnet-sup"), counts, seconds):
        yield row | {"GPU hours of the 15 models": round(images / row["images_per_second"] / 3600, 2)}


def train_each(c: Context, loader: str) -> Iterator[Row]:
    largest = () if c.rehearsal or loader == "pytorch" else ("resnet-50",)
    for architecture in (*_architectures(c), *largest):
        yield from train(c, architecture, loader)


def sweep(c: Context) -> Iterator[Row]:
    from blurtrain.bench import device_of
    from blurtrain.bench.sweep import bench_sweep

    levels, split = (3, "test") if c.rehearsal else (33, "train")
    for architecture in _architectures(c):
        bench = _bench(c, architecture=architecture, repeats=1)
        yield from bench_sweep(device_of(c.device), bench, split, levels)


def group_of_one(c: Context) -> Iterator[Row]:
    """One process under torchrun, and a group of one by nccl (gloo on a processor)."""
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    from blurtrain.bench import device_of, medians
    from blurtrain.models import build

    device, backend = device_of(c.device), "nccl" if c.device == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{c.work}/rendezvous", rank=0, world_size=1)
    side, batch = (64, 4) if c.rehearsal else (224, 64)
    images = torch.rand(batch, 3, side, side, device=device)
    values = torch.rand(2**18 if c.rehearsal else 2**26, device=device)
    before = values.clone()
    dist.all_reduce(values)
    networks = {}
    for name, wrap in (("alone", lambda network: network), ("shared", DistributedDataParallel)):
        torch.manual_seed(0)
        networks[name] = wrap(build("alexnet-sup", 12).to(device))
        networks[name](images).square().mean().backward()
    pairs = zip(*(network.parameters() for network in networks.values()), strict=True)
    apart = max(float((one.grad - other.grad).abs().max()) for one, other in pairs)
    taken = medians({"all_reduce": lambda: dist.all_reduce(values)}, device, 3)["all_reduce"]
    yield {
        "what": f"{backend}, one rank",
        "all_reduce keeps the values": bool(torch.equal(values, before)),
        "largest difference of a gradient under DDP": apart,
        f"all_reduce of {values.nbytes / 2**20:.0f} MiB, ms": round(taken, 3),
    }
    dist.destroy_process_group()
    arguments = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", "-m", "blurtrain", "train"]
    settings = c.work / "torchrun.json"
    settings.write_text(json.dumps(_short(c)))
    done = subprocess.run([sys.executable, *arguments, str(settings), "--runs", str(c.work / "torchrun")], cwd=ROOT)
    results = list((c.work / "torchrun").glob("*/result.json"))
    yield {"what": "blurtrain train under torchrun, one process", "exit code": done.returncode, "results": len(results)}
    if done.returncode or not results:
        raise RuntimeError(f"a run under torchrun ended with code {done.returncode} and {len(results)} results")


# --- what they share ------------------------------------------------------------------------------------------------


def _architectures(c: Context) -> tuple[str, ...]:
    return ("alexnet-sup",) if c.rehearsal else ("alexnet-sup", "resnet-18")


def _tree(c: Context) -> Path:
    return c.work / "tree"


def _bench(c: Context, **options: Any) -> Any:
    """The training that is measured: the study's batches of 256 at 224 px."""
    from blurtrain.bench.train import Bench

    if not _tree(c).exists():
        raise Skipped("needs the images of the part `data`")
    usual = {"resolution": 224, "batch": STUDY_BATCH, "steps": 6, "repeats": 3}
    small = {"resolution": 64, "batch": 8, "steps": 1, "repeats": 1}
    given = {"loader": "resident", **(small if c.rehearsal else usual), **options}
    return Bench(**given, images=_tree(c), data=c.work / "data")


def _short(c: Context) -> dict[str, Any]:
    """Settings of a training of some steps."""
    bench = _bench(c)
    return {
        "dataset": "bench",
        "regime": "blurry-to-clear",
        "data": {"root": str(bench.data), "resolution": bench.resolution},
        "optimisation": {"epochs": 3, "batch_size": min(bench.batch, 64), "warmup_epochs": 1},
        "evaluation": {"sigmas": [0, 8]},
        "loader": {"kind": "resident"},
        "logging": {"tensorboard": False},
    }


PARTS = (
    Part("machine", "The machine", 60, machine),
    Part("data", "Images drawn and prepared", 90, data),
    Part("tests", "Tests marked gpu", 120, tests),
    Part("determinism", "Two runs of the same, and one that was killed and resumed, bit by bit", 120,
         lambda c: determinism(c, _short(c))),
    Part("group", "A group of one process", 60, group_of_one),
    Part("blur", "Blur beside a copy of as many bytes", 60, blur),
    Part("fused", "The fused kernel for crop, resize, flip, blur and normalisation", 90, fused, ("triton",), gpu=True),
    Part("train-resident", "Training, images on the device", 90, partial(train_each, loader="resident")),
    Part("train-pytorch", "Training, loader pytorch", 90, partial(train_each, loader="pytorch")),
    Part("train-ffcv", "Training, loader ffcv", 90, partial(train_each, loader="ffcv"), ("ffcv",)),
    Part("packed", "AlexNet-Sup, several trainings at a time on one device", 90, packed),
    Part("sweep", "Accuracy at 33 levels beside 33 bare forward passes", 75, sweep),
    Part("train-fused", "Training without changes of colour, composed operators and fused kernel", 60, train_fused,
         ("triton",), gpu=True),
    Part("compile", "torch.compile off and on", 120, compiled),
    Part("blur-peers", "Blur and its peers, 64 px", 60, blur_peers, ("kornia",)),
)  # fmt: skip
