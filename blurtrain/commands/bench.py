"""`blurtrain bench ...`."""

import argparse
import importlib
import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blurtrain.commands.options import command, data_option, group, json_option, runs_option
from blurtrain.errors import SettingsError


def _blur(options: argparse.Namespace) -> int:
    from blurtrain.bench import device_of
    from blurtrain.bench.blur import bench_blur, table

    _at_least_one(options, "batch", "repeats", "size")
    if options.against == "copy":
        return _bandwidth(options)
    rows = []
    for row in bench_blur(device_of(options.device), options.batch or 32, options.repeats, options.quick):
        rows.append(row)
        print(f"{row['what']}, {row['size']} px, sigma {row['sigma']:g}: {row['ours_ms']:.2f} ms", file=sys.stderr)
    print(json.dumps(rows, indent=1) if options.json else table(rows))
    return 0


def _bandwidth(options: argparse.Namespace) -> int:
    from blurtrain.bench import device_of
    from blurtrain.bench.bandwidth import bench_bandwidth, table
    from blurtrain.bench.fused import bench_fused

    rows, given = [], (device_of(options.device), options.batch or 256, options.size, options.repeats)
    for row in itertools.chain(bench_bandwidth(*given), bench_fused(*given)):
        rows.append(row)
        print(f"{row['what']}, {row['dtype']}: {row['ms']:.3f} ms, {row['times_a_copy']:.2f} copies", file=sys.stderr)
    print(json.dumps(rows, indent=1) if options.json else table(rows))
    return 0


def _at_least_one(options: argparse.Namespace, *names: str) -> None:
    for name in names:
        if (value := getattr(options, name)) is not None and value < 1:
            raise SettingsError(f"bench: --{name} must be at least 1, not {value}")


def _kernels(options: argparse.Namespace) -> int:
    from blurtrain.bench.kernels import LABELS, bench_kernels, table

    _at_least_one(options, "batch", "repeats", "resolution")
    labels = ("disk-8", "shake") if options.quick else LABELS
    rows = bench_kernels(
        options.batch, options.resolution, options.repeats, labels, lambda line: print(line, file=sys.stderr)
    )
    print(json.dumps(rows, indent=1) if options.json else table(rows))
    return 0


def _deblurring(options: argparse.Namespace) -> int:
    from blurtrain.bench import device_of
    from blurtrain.bench.deblurring import LEVELS, bench_deblurring, table

    _at_least_one(options, "batch", "repeats", "size")
    rows = []
    levels = LEVELS[:1] if options.quick else LEVELS
    for row in bench_deblurring(device_of(options.device), options.batch, options.size, options.repeats, levels):
        rows.append(row)
        print(f"{row['method']}, {row['blur']}: {row['ours_ms']:.0f} ms", file=sys.stderr)
    print(json.dumps(rows, indent=1) if options.json else table(rows))
    return 0


def _loader(options: argparse.Namespace) -> int:
    from blurtrain.bench import device_of
    from blurtrain.bench.loader import Bench, bench_loader, table

    _at_least_one(options, "count", "batch", "repeats")
    bench = Bench(**{name: getattr(options, name) for name in Bench.__dataclass_fields__})
    bench = bench.quick() if options.quick else bench
    rows = bench_loader(device_of(options.device), bench, lambda line: print(line, file=sys.stderr))
    print(json.dumps(rows, indent=1) if options.json else table(rows))
    return 0


def _prepare(options: argparse.Namespace) -> int:
    from blurtrain.bench.prepare import Bench, bench_prepare, table

    _at_least_one(options, "count", "repeats", "resolution")
    bench = Bench(**{name: getattr(options, name) for name in Bench.__dataclass_fields__})
    rows = bench_prepare(bench, lambda line: print(line, file=sys.stderr))
    print(json.dumps(rows, indent=1) if options.json else table(rows))
    return 0


def _of_training(name: str) -> Callable[[argparse.Namespace], int]:
    """What `blurtrain.bench.NAME` measures of a training: `bench_NAME` gives rows, and `table` their text."""

    def measure(options: argparse.Namespace) -> int:
        from blurtrain.bench import device_of

        module = importlib.import_module(f"blurtrain.bench.{name}")
        rows = getattr(module, f"bench_{name}")(device_of(options.device), _bench(options))
        print(json.dumps(rows, indent=1) if options.json else module.table(rows))
        return 0

    return measure


def _packed(options: argparse.Namespace) -> int:
    from blurtrain.bench import device_of
    from blurtrain.bench.packed import bench_packed, table

    if sorted(set(options.at_a_time)) != options.at_a_time or options.at_a_time[0] < 1 or options.seconds <= 0:
        raise SettingsError("bench packed: --at-a-time must be rising numbers, from 1 on, and --seconds more than 0")
    rows = []
    for row in bench_packed(device_of(options.device), _bench(options), options.at_a_time, options.seconds):
        rows.append(row)
        print(f"{row['processes']} at a time: {row['images_per_second']:.0f} images/s", file=sys.stderr)
    print(json.dumps(rows, indent=1) if options.json else table(rows))
    return 0


def _sweep(options: argparse.Namespace) -> int:
    from blurtrain.bench import device_of
    from blurtrain.bench.sweep import bench_sweep, table

    _at_least_one(options, "levels")
    rows = bench_sweep(device_of(options.device), _bench(options), options.split, options.levels)
    print(json.dumps(rows, indent=1) if options.json else table(rows))
    return 0


def _serve(options: argparse.Namespace) -> int:
    from blurtrain.bench.serve import bench_serve, table

    _at_least_one(options, "singles", "batch", "repeats")
    rows = []
    for row in bench_serve(options.model, options.photos, options.singles, options.batch, options.repeats):
        rows.append(row)
        print(table([row]), file=sys.stderr)
    print(json.dumps(rows, indent=1) if options.json else table(rows))
    return 0


def _minimal_blur(options: argparse.Namespace) -> int:
    from blurtrain.bench import device_of
    from blurtrain.bench.minimal_blur import bench_minimal_blur, table
    from blurtrain.commands.networks import plan_of

    _at_least_one(options, "count")
    rows = bench_minimal_blur(
        plan_of(options.network, options, options.overrides),
        device_of(options.device),
        options.count,
        options.precision,
    )
    print(json.dumps(rows, indent=1) if options.json else table(rows))
    return 0


def _bench(options: argparse.Namespace) -> Any:
    """What is measured, as far as this command has options for it."""
    from blurtrain.bench import device_of
    from blurtrain.bench.train import Bench
    from blurtrain.device import fast_arithmetic

    given = {name: getattr(options, name) for name in Bench.__dataclass_fields__ if hasattr(options, name)}
    given["arithmetic"] = given.get("arithmetic") or fast_arithmetic(device_of(options.device))
    _at_least_one(options, *(name for name in ("batch", "resolution", "steps", "repeats") if name in given))
    return Bench(**given)


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


def _statistics(options: argparse.Namespace) -> int:
    from analysis.bench.statistics import bench_statistics, table

    _at_least_one(options, "rows")
    if options.resamples < 100:
        raise SettingsError(f"bench: --resamples must be at least 100, not {options.resamples}")
    rows = []
    for row in bench_statistics(options.rows, options.resamples):
        rows.append(row)
        about = f"{row['what']}, {row['values']}, over {row['units']}"
        print(f"{about}, {row['rows']} rows: {row['seconds']:.2f} s", file=sys.stderr)
    print(json.dumps(rows, indent=1) if options.json else table(rows))
    return 0


def _tune(options: argparse.Namespace) -> int:
    from jobs.search.bench import bench_against_grid, bench_empty, table

    _at_least_one(options, "trials", "repeats")

    def report(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    if options.search is None:
        rows = [bench_empty(options.trials or 200, options.repeats, report)]
    else:
        rows = list(bench_against_grid(options.search, options.data, options.trials or 6, options.repeats, report))
    print(json.dumps(rows, indent=1) if options.json else table(rows))
    return 0


def _collect(options: argparse.Namespace) -> int:
    from analysis.bench.collect import bench_collect, table

    _at_least_one(options, "count")
    rows = []
    for row in bench_collect(options.count, options.folder, lambda line: print(line, file=sys.stderr)):
        rows.append(row)
        if not options.json:
            print(table([row]), flush=True)
    if options.json:
        print(json.dumps(rows, indent=1))
    return 0


# --- options --------------------------------------------------------------------------------------------------------


def add(commands: Any) -> None:
    """Tell the parser of these commands."""
    bench = group(commands, "bench", "measure speed against the usual alternatives, in one run")
    p = command(bench, "blur", _blur, "the blur engine against its peers, or against the device's copy bandwidth")
    p.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    p.add_argument(
        "--against",
        choices=["peers", "copy"],
        default="peers",
        help="peers (default): torchvision, kornia, OpenCV and float64 (some minutes); copy: every kind of blur beside "
        "a copy of as many bytes as it reads and writes, in GB/s",
    )
    p.add_argument("--batch", type=int, help="images in a batch (32; 256 against copy)")
    p.add_argument("--size", type=int, default=224, help="of the images in pixels, against copy (224)")
    p.add_argument("--repeats", type=int, default=5, help="rounds, of which the median is taken (5)")
    p.add_argument("--quick", action="store_true", help="a few small sizes only")
    json_option(p)

    p = command(bench, "kernels", _kernels, "what a kernel of each image's own adds to the data path, beside OpenCV's")
    p.add_argument("--resolution", type=int, default=224, help="of the network's input in pixels (224)")
    p.add_argument("--batch", type=int, default=32, help="images in a batch (32)")
    p.add_argument("--repeats", type=int, default=9, help="rounds, of which the median is taken (9)")
    p.add_argument("--quick", action="store_true", help="two blurs only")
    json_option(p)

    text = "Wiener and Richardson-Lucy on a batch in one call, beside scikit-image image by image"
    p = command(bench, "deblurring", _deblurring, text)
    p.add_argument("--batch", type=int, default=64, help="images in a batch (64)")
    p.add_argument("--size", type=int, default=224, help="of the images in pixels (224)")
    p.add_argument("--repeats", type=int, default=3, help="rounds, of which the median is taken (3)")
    p.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    p.add_argument("--quick", action="store_true", help="one blur only")
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

    p = command(bench, "prepare", _prepare, "preparing a folder of images, beside OpenCV decoding and encoding them")
    p.add_argument("--images", type=Path, help="folder of images, in class folders or splits (default: generated ones)")
    p.add_argument("--count", type=int, default=1000, help="of generated images (1000)")
    p.add_argument("--resolution", type=int, default=160, help="of the network's input in pixels (160)")
    p.add_argument("--repeats", type=int, default=3, help="rounds, of which the median is taken (3)")
    json_option(p)

    p = command(bench, "serve", _serve, "a request, and a batch, to the service beside the detector without one")
    p.add_argument("model", type=Path, metavar="MODEL.onnx", help="of `blurtrain export`")
    p.add_argument("photos", type=Path, metavar="FOLDER", help="of photos")
    p.add_argument("--singles", type=int, default=50, help="photos sent one by one (50)")
    p.add_argument("--batch", type=int, default=1000, help="photos of a batch (1000)")
    p.add_argument("--repeats", type=int, default=5, help="interleaved rounds, of which the median is taken (5)")
    json_option(p)

    p = command(
        bench, "train", _of_training("train"), "a network's own speed, and what is left of it in the whole pipeline"
    )
    _network_options(p, architecture="resnet-18", loader="auto")
    p.add_argument("--compile", action="store_true", help="by torch.compile")
    p.add_argument("--steps", type=int, default=8, help="steps at a time (8)")
    p.add_argument("--repeats", type=int, default=7, help="rounds, of which the median is taken (7)")
    json_option(p)

    few = {
        "losses": "a step of each loss beside one of plain cross-entropy, and what it decodes",
        "reduced": "what fewer pixels for blurred epochs (data.reduced) save of a step, and change of the pixels",
    }
    for name, text in few.items():
        p = command(bench, name, _of_training(name), text)
        _network_options(p, architecture="resnet-18", loader="auto")
        p.add_argument("--steps", type=int, default=2, help="steps at a time (2)")
        p.add_argument("--repeats", type=int, default=7, help="rounds, of which the median is taken (7)")
        json_option(p)

    p = command(bench, "packed", _packed, "several trainings at a time on one device, images/s of all together")
    _network_options(p, architecture="alexnet-sup", loader="resident")
    p.add_argument("--at-a-time", type=_counts, default=[1, 2, 4, 8], metavar="N,...", help="how many (1,2,4,8)")
    p.add_argument("--seconds", type=float, default=4.0, help="of each measurement (4)")
    json_option(p)

    p = command(bench, "sweep", _sweep, "accuracy at many levels of blur, beside as many bare forward passes")
    _network_options(p, architecture="alexnet-sup", loader="resident", arithmetic=False)
    p.add_argument("--levels", type=int, default=33, help="sigma 0, 1, 2, ... (33 of them)")
    p.add_argument("--split", choices=["train", "val", "test"], default="test", help="of the images (test)")
    p.add_argument("--repeats", type=int, default=3, help="rounds, of which the median is taken (3)")
    json_option(p)

    text = "the smallest sigma that changes each prediction, by our search and by a plain scan (minutes)"
    p = command(bench, "minimal-blur", _minimal_blur, text)
    p.add_argument("network", metavar="RUN", help="run directory, or with --dataset any network, as of `evaluate`")
    p.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. evaluation.split=val")
    p.add_argument("--count", type=int, default=1000, help="images, evenly apart in the split, at most (1000)")
    p.add_argument("--precision", type=float, default=0.02, help="of sigma, relative (0.02)")
    p.add_argument("--dataset", help="where the network is no run: the prepared dataset")
    p.add_argument("--data", type=Path, help="folder of prepared datasets (default: as the run says, else data)")
    p.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    p.set_defaults(epoch=None)
    json_option(p)

    p = command(bench, "tune", _tune, "a search beside Ray Tune with trials that do nothing, or beside a grid")
    p.add_argument("search", nargs="?", type=Path, help="search file: its trainings as a search and as a grid, in "
                   "turns (default: trials that do nothing, beside Ray Tune's own)")  # fmt: skip
    p.add_argument("--trials", type=int, help="how many (200 that do nothing; 6 of a search file)")
    p.add_argument("--repeats", type=int, default=3, help="rounds, of which the median is taken (3)")
    data_option(p, None)
    json_option(p)

    p = command(bench, "collect", _collect, "collecting thousands of run directories, which are generated")
    p.add_argument("--count", type=int, default=10_000, help="run directories (10000)")
    p.add_argument(
        "--folder", type=Path, help="where they are generated, for a while (default: that of temporary files)"
    )
    json_option(p)

    p = command(bench, "grid", _grid, "plan, submit, status and cancel of a large grid of jobs that are `true`")
    p.add_argument("--cluster", required=True, help="profile in configs/clusters, or a file of one's own")
    p.add_argument("--count", type=int, default=10_000, help="runs of the grid (10000)")
    p.add_argument("--max-array", type=int, default=0, help="jobs of one array (default: as many as the cluster takes)")
    p.add_argument("--repeats", type=int, default=3, help="times, of which the median is taken, of plan and status (3)")
    runs_option(p)
    json_option(p)

    p = command(bench, "statistics", _statistics, "paired statistics of per-image values, in closed form and resampled")
    p.add_argument("--rows", type=int, default=1_000_000, help="values of both networks, seeds and images (1000000)")
    p.add_argument("--resamples", type=int, default=1000, help="of the bootstrap (1000)")
    json_option(p)


def _network_options(p: argparse.ArgumentParser, architecture: str, loader: str, arithmetic: bool = True) -> None:
    p.add_argument("--architecture", default=architecture, help=f"network, as in settings (default: {architecture})")
    p.add_argument("--resolution", type=int, default=64, help="of the network's input in pixels (64)")
    p.add_argument("--batch", type=int, default=64, help="images in a step (64)")
    if arithmetic:
        kinds = ["float32", "bfloat16", "float16"]
        p.add_argument("--arithmetic", choices=kinds, help="default: bfloat16 where the device has instructions for it")
    p.add_argument(
        "--deterministic",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="with torch's deterministic algorithms, as training is (default)",
    )
    kinds = ["auto", "ffcv", "resident", "pytorch"]
    p.add_argument("--loader", choices=kinds, default=loader, help=f"default: {loader}")
    p.add_argument("--images", type=Path, help="folder of class folders with images (default: generated ones)")
    p.add_argument("--data", type=Path, help="folder where the prepared images stay (default: a temporary one)")
    p.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")


def _counts(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]
