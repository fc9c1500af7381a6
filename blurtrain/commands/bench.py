"""`blurtrain bench ...`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from blurtrain.commands.options import command, group, json_option, runs_option
from blurtrain.errors import SettingsError


def _blur(options: argparse.Namespace) -> int:
    from blurtrain.bench import device_of
    from blurtrain.bench.blur import bench_blur, table

    if options.batch < 1 or options.repeats < 1:
        raise SettingsError("bench: --batch and --repeats must be at least 1")
    rows = []
    for row in bench_blur(device_of(options.device), options.batch, options.repeats, options.quick):
        rows.append(row)
        print(f"{row['what']}, {row['size']} px, sigma {row['sigma']:g}: {row['ours_ms']:.2f} ms", file=sys.stderr)
    print(json.dumps(rows, indent=1) if options.json else table(rows))
    return 0


def _loader(options: argparse.Namespace) -> int:
    from blurtrain.bench import device_of
    from blurtrain.bench.loader import Bench, bench_loader, table

    if min(options.count, options.batch, options.repeats) < 1:
        raise SettingsError("bench: --count, --batch and --repeats must be at least 1")
    bench = Bench(**{name: getattr(options, name) for name in Bench.__dataclass_fields__})
    bench = bench.quick() if options.quick else bench
    rows = bench_loader(device_of(options.device), bench, lambda line: print(line, file=sys.stderr))
    print(json.dumps(rows, indent=1) if options.json else table(rows))
    return 0


def _train(options: argparse.Namespace) -> int:
    from blurtrain.bench import device_of
    from blurtrain.bench.train import Bench, bench_train, table

    given = {name: getattr(options, name) for name in Bench.__dataclass_fields__}
    rows = bench_train(device_of(options.device), Bench(**given))
    print(json.dumps(rows, indent=1) if options.json else table(rows))
    return 0


def _grid(options: argparse.Namespace) -> int:
    from jobs.bench import bench_grid

    if options.count < 1 or options.repeats < 1 or options.max_array < 0:
        raise SettingsError("bench grid: --count and --repeats must be at least 1, --max-array at least 0")
    rows = []
    for row in bench_grid(options.cluster, options.runs, options.count, options.max_array, options.repeats):
        rows.append(row)
        if not options.json:
            print(f"{row['what']:28} {row['seconds']:7.2f} s  n = {row['n']}  {row['found']}", flush=True)
    if options.json:
        print(json.dumps(rows, indent=1))
    return 0


# --- options --------------------------------------------------------------------------------------------------------


def add(commands: Any) -> None:
    """Tell the parser of these commands."""
    bench = group(commands, "bench", "measure speed against the usual alternatives, in one run")
    p = command(bench, "blur", _blur, "the blur engine against torchvision, kornia and OpenCV (some minutes)")
    p.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    p.add_argument("--batch", type=int, default=32, help="images in a batch (32)")
    p.add_argument("--repeats", type=int, default=5, help="rounds, of which the median is taken (5)")
    p.add_argument("--quick", action="store_true", help="a few small sizes only")
    json_option(p)

    p = command(bench, "loader", _loader, "the original study's data path and ours (some minutes)")
    p.add_argument("--images", type=Path, help="folder of class folders with images (default: generated ones)")
    p.add_argument("--count", type=int, default=1000, help="images to use at most (1000)")
    p.add_argument("--resolution", type=int, default=224, help="of the network's input in pixels (224)")
    p.add_argument("--batch", type=int, default=64, help="images in a batch (64)")
    p.add_argument("--repeats", type=int, default=3, help="rounds, of which the median is taken (3)")
    p.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    p.add_argument("--quick", action="store_true", help="a few small images only")
    json_option(p)

    p = command(bench, "train", _train, "a network's own speed, and what is left of it in the whole pipeline")
    p.add_argument("--architecture", default="resnet-18", help="resnet-18 (default), or another network")
    p.add_argument("--resolution", type=int, default=64, help="of the network's input in pixels (64)")
    p.add_argument("--batch", type=int, default=64, help="images in a step (64)")
    p.add_argument(
        "--arithmetic", choices=["float32", "bfloat16", "float16"], default="bfloat16", help="default: bfloat16"
    )
    p.add_argument("--compile", action="store_true", help="by torch.compile")
    p.add_argument("--loader", choices=["auto", "ffcv", "resident", "pytorch"], default="auto", help="default: auto")
    p.add_argument("--images", type=Path, help="folder of class folders with images (default: generated ones)")
    p.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    p.add_argument("--steps", type=int, default=8, help="steps at a time (8)")
    p.add_argument("--repeats", type=int, default=7, help="rounds, of which the median is taken (7)")
    json_option(p)

    p = command(bench, "grid", _grid, "plan, submit, status and cancel of a large grid of jobs that are `true`")
    p.add_argument("--cluster", required=True, help="profile in configs/clusters, or a file of one's own")
    p.add_argument("--count", type=int, default=10_000, help="runs of the grid (10000)")
    p.add_argument("--max-array", type=int, default=0, help="jobs of one array (default: as many as the cluster takes)")
    p.add_argument("--repeats", type=int, default=3, help="times, of which the median is taken, of plan and status (3)")
    runs_option(p)
    json_option(p)
