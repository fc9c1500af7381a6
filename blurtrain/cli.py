"""The front door: `blurtrain COMMAND ...`. Each room is imported inside its command, so that `--help` answers at once.

Results go to stdout, everything else to stderr. Exit codes: 0 what was asked for happened; 1 it failed; 2 a mistake
that the user can mend, told in one line; 75 a training was asked to stop and has saved all: start it again.
"""

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blurtrain.errors import REQUEUE, BlurtrainError, DataError, SettingsError, Stopped


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        sys.exit(options.command(options) or 0)
    except BlurtrainError as error:
        print(f"blurtrain: {error}", file=sys.stderr)
        sys.exit(REQUEUE if isinstance(error, Stopped) else 2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `| head`
        sys.exit(0)
    except OSError as error:
        if error.filename is None:
            raise
        print(f"blurtrain: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(2)


# --- data -----------------------------------------------------------------------------------------------------------


def _data_prepare(options: argparse.Namespace) -> int:
    from blurtrain.data.catalog import Recipe, prepare
    from blurtrain.schema import validate

    if options.grid:
        from jobs.grid import read_grid

        given = [k for k in ("images", "name", *Recipe.model_fields) if getattr(options, k, None) is not None]
        if given:
            raise SettingsError(
                f"data prepare: --grid says it all; it does not go with {', '.join(sorted(set(given)))}"
            )
        recipes = read_grid(options.grid).data
        if not recipes:
            raise SettingsError(f"{options.grid}: has no `data:` section that says how to prepare its datasets")
    else:
        if not options.name:
            raise SettingsError("data prepare: --name says what the dataset is to be called")
        if options.images_root != Path():
            raise SettingsError("data prepare: --images goes with --grid; the folder of images stands by itself")
        if bool(options.images) == bool(options.standin):
            raise SettingsError("data prepare: give a folder of images, or --standin KIND")
        chosen = {key: value for key in Recipe.model_fields if (value := getattr(options, key, None)) is not None}
        if options.images:
            chosen["images"] = str(Path(options.images).resolve())
        recipes = {options.name: validate(chosen, "data prepare", Recipe)}
    for name, recipe in recipes.items():
        dataset, fresh = prepare(options.data, name, recipe, options.images_root)
        manifest = dataset.manifest
        counts = ", ".join(f"{n} {split}" for split, n in manifest["counts"].items())
        print(
            f"{dataset.folder}: {len(dataset.classes)} classes, {counts}, {manifest['stored_size']} px"
            f"{'' if fresh else ' (already prepared)'}"
        )
        for path, reason in manifest["unreadable"].items():
            print(f"  left out {path}: {reason}", file=sys.stderr)
    return 0


def _data_check(options: argparse.Namespace) -> int:
    from blurtrain.data.catalog import datasets, open_dataset

    chosen = [open_dataset(options.data, name) for name in options.names] or datasets(options.data)
    if not chosen:
        raise DataError(f"{options.data}: holds no prepared dataset")
    for dataset in chosen:
        dataset.check()
        print(f"{dataset.folder}: intact ({len(dataset.view['index'])} images)")
    return 0


def _data_list(options: argparse.Namespace) -> int:
    from blurtrain.data.catalog import datasets

    if not options.data.is_dir():
        raise DataError(f"{options.data}: no such folder; --data names the folder of prepared datasets")
    keys = ("name", "data_id", "counts", "stored_size", "store")
    rows = [{k: d.manifest[k] for k in keys} | {"classes": len(d.classes)} for d in datasets(options.data)]
    if options.json:
        print(json.dumps(rows, indent=1))
    for row in [] if options.json else rows:
        counts = ", ".join(f"{n} {split}" for split, n in row["counts"].items())
        print(f"{row['name']:20} {row['classes']:5} classes  {row['stored_size']:4} px  {counts}  ({row['data_id']})")
    return 0


# --- one run --------------------------------------------------------------------------------------------------------


def _settings(options: argparse.Namespace) -> Any:
    from blurtrain.settings import load

    overrides = list(options.overrides)
    if options.data is not None:
        overrides.append(f"data.root={json.dumps(str(options.data))}")
    return load(options.settings, overrides)


def _train(options: argparse.Namespace) -> int:
    settings = _settings(options)  # before torch is imported, so that a mistake is answered at once
    from blurtrain.training.train import train

    run = train(settings, options.runs)
    if os.environ.get("RANK", "0") == "0":
        print(run.path)
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from blurtrain.evaluation.evaluate import evaluate

    outcome = evaluate(options.run, options.overrides)
    if options.json:
        print(json.dumps(outcome))
        return 0
    print(f"{options.run}: {outcome['split']} split, n = {outcome['n']}")
    for level in outcome["levels"]:
        print(
            f"sigma {level['sigma']:4g}: top-1 {100 * level['top1'] / outcome['n']:6.2f} %, "
            f"top-5 {100 * level['top5'] / outcome['n']:6.2f} %"
        )
    return 0


def _curriculum(options: argparse.Namespace) -> int:
    from blurtrain.documents import merge, parse_overrides
    from blurtrain.settings import compose

    if Path(options.settings).suffix or Path(options.settings).is_file():
        options.data = None
        settings = _settings(options)
    else:
        named = {"dataset": "any", "regime": options.settings}
        settings = compose(merge(named, parse_overrides(options.overrides)), "curriculum")
    from blurtrain.blur.plot import save

    save(settings, options.out)
    print(options.out)
    return 0


# --- grids ----------------------------------------------------------------------------------------------------------


def _members(options: argparse.Namespace) -> Any:
    from jobs.grid import expand, read_grid

    return expand(read_grid(options.grid), str(options.grid), options.data)


def _grid_plan(options: argparse.Namespace) -> int:
    from jobs.costs import cost
    from jobs.status import INTENTS, intent, states, undeclared

    if options.images_per_second is not None and options.images_per_second <= 0:
        raise SettingsError("grid plan: --images-per-second must be more than 0")
    members = _members(options)
    rows = states(members, options.runs)
    if options.json:
        print(json.dumps(rows, indent=1))
        return 0
    for row in rows:
        print(f"{intent(row):12} {row['state']:10} {row['run_id']}")
    chosen = [m for m, row in zip(members, rows, strict=True) if intent(row) in INTENTS.values()]
    print(f"\nsubmitting would take up {len(chosen)} of {len(rows)} runs")
    if chosen:
        print(f"{cost(chosen, options.runs, options.images_per_second)}")
    if others := undeclared(members, options.runs):
        print(f"{len(others)} runs of this folder are not (or no longer) declared by this grid: {', '.join(others[:3])}"
              f"{', ...' * (len(others) > 3)}")  # fmt: skip
    return 0


def _grid_status(options: argparse.Namespace) -> int:
    from jobs.status import states, table

    members = _members(options)
    while True:
        rows = states(members, options.runs)
        if not options.watch:
            break
        print(f"\x1b[H\x1b[2J{table(rows)}", flush=True)
        time.sleep(3)
    print(json.dumps(rows, indent=1) if options.json else table(rows))
    return 0


def _start(options: argparse.Namespace, members: Any) -> Any:
    """Submit these runs to where --cluster says; those that were."""
    from jobs import local, scheduler, slurm
    from jobs.cluster import read_cluster

    cluster = read_cluster(options.cluster)
    if cluster.scheduler == "slurm":
        if options.at_a_time:
            cluster = cluster.model_copy(update={"at_a_time": options.at_a_time})
        return slurm.submit(members, options.runs, cluster)
    if scheduler.installed():  # what waits or runs there is not to be trained here as well
        members = slurm.missing(members, options.runs)
    return local.submit(members, options.runs, options.at_a_time or cluster.at_a_time)


def _grid_submit(options: argparse.Namespace) -> int:
    from jobs.status import wait

    members = _members(options)
    submitted = _start(options, members)
    print(f"{len(submitted)} of {len(members)} runs submitted; the others are done or on their way", file=sys.stderr)
    if options.wait:
        return 0 if wait(members, options.runs, lambda line: print(line, file=sys.stderr)) else 1
    return 0


def _grid_retry(options: argparse.Namespace) -> int:
    from jobs.slurm import cancel
    from jobs.status import on_its_way, states

    chosen = {name for name in ("failed", "stale") if getattr(options, name)} or {"failed", "stale"}
    members = _members(options)
    rows = {row["run_id"]: row for row in states(members, options.runs)}
    again = [m for m in members if rows[m.run_id]["state"] in chosen]
    stuck = [m for m in again if on_its_way(rows[m.run_id])]
    if stuck:
        cancel(stuck, options.runs, wait=True)
    submitted = _start(options, again) if again else []
    for member in submitted:
        print(member.run_id)
    print(f"{len(submitted)} runs submitted again", file=sys.stderr)
    return 0


def _grid_logs(options: argparse.Namespace) -> int:
    from jobs.logs import find, follow, read

    run_id = find(options.runs, options.run)
    shown = None
    for log, part in follow(options.runs, run_id) if options.follow else [read(options.runs, run_id)]:
        if log != shown:
            print(f"==> {log} <==", file=sys.stderr, flush=True)
            shown = log
        print(part, end="", flush=True)
    return 0


def _grid_cancel(options: argparse.Namespace) -> int:
    from jobs import local, slurm

    members = _members(options) if options.grid else None
    for run_id in [*local.cancel(options.runs, members), *slurm.cancel(members, options.runs)]:
        print(run_id)
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from jobs.cluster import read_cluster
    from jobs.doctor import examine

    cluster = read_cluster(options.cluster)
    if cluster.scheduler != "slurm":
        raise SettingsError(f"doctor: --cluster {options.cluster} has no SLURM that could be looked at")
    checks = []
    for check in examine(cluster, options.runs, options.data, options.seconds):
        checks.append(check)
        if not options.json:
            print(f"{'ok' if check.good else 'FAILED':7} {check.what:26} {check.detail}".rstrip(), flush=True)
    if options.json:
        print(json.dumps([vars(check) for check in checks], indent=1))
    return 0 if all(check.good for check in checks) else 1


# --- report ---------------------------------------------------------------------------------------------------------


def _report(options: argparse.Namespace) -> int:
    import analysis

    print(analysis.report(options.runs_folder, options.out))
    return 0


# --- bench ----------------------------------------------------------------------------------------------------------


def _bench_blur(options: argparse.Namespace) -> int:
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


def _bench_loader(options: argparse.Namespace) -> int:
    from blurtrain.bench import device_of
    from blurtrain.bench.loader import Bench, bench_loader, table

    if min(options.count, options.batch, options.repeats) < 1:
        raise SettingsError("bench: --count, --batch and --repeats must be at least 1")
    bench = Bench(**{name: getattr(options, name) for name in Bench.__dataclass_fields__})
    bench = bench.quick() if options.quick else bench
    rows = bench_loader(device_of(options.device), bench, lambda line: print(line, file=sys.stderr))
    print(json.dumps(rows, indent=1) if options.json else table(rows))
    return 0


def _bench_train(options: argparse.Namespace) -> int:
    from blurtrain.bench import device_of
    from blurtrain.bench.train import Bench, bench_train, table

    given = {name: getattr(options, name) for name in Bench.__dataclass_fields__}
    rows = bench_train(device_of(options.device), Bench(**given))
    print(json.dumps(rows, indent=1) if options.json else table(rows))
    return 0


def _bench_grid(options: argparse.Namespace) -> int:
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


# --- parser ---------------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="blurtrain", description="Train, tune and compare vision networks under blur."
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    data = _group(commands, "data", "prepare, check and list datasets")
    p = _command(data, "prepare", _data_prepare, "turn a folder of images (or a generated stand-in) into a dataset")
    p.add_argument("images", nargs="?", type=Path, help="folder of images: class/..., split/class/..., or deeper")
    p.add_argument("--name", help="what the dataset is to be called")
    p.add_argument("--grid", type=Path, help="instead: prepare all that the `data:` section of this grid file says")
    p.add_argument(
        "--images",
        dest="images_root",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="where the grid's image folders lie (default: here)",
    )
    p.add_argument("--standin", help="instead of images: a generated stand-in")
    p.add_argument(
        "--label", type=_label, help="label by the leaf folder (default) or the folder at this level, 1 = topmost"
    )
    p.add_argument("--min-leaves", type=int, help="keep labels with at least so many leaf folders")
    p.add_argument("--min-images", type=int, help="keep labels with at least so many images")
    p.add_argument(
        "--splits", type=_pairs, metavar="SPLIT=FOLDER,...", help="use the tree's splits so, e.g. train=train,test=val"
    )
    p.add_argument("--val", type=float, help="share to hold out for validation where the tree has no splits (0.1)")
    p.add_argument("--test", type=float, help="share to hold out for testing where the tree has no splits (0.2)")
    p.add_argument("--split-seed", type=int, help="seed of the drawn splits (0)")
    p.add_argument(
        "--hold-out", choices=["images", "leaves"], help="hold out single images (default) or whole leaf folders"
    )
    p.add_argument("--resolution", type=int, help="training resolution in pixels (224); pixels are stored at 8/7 of it")
    p.add_argument("--stored", type=int, help="side of the stored images in pixels, if not 8/7 of the resolution")
    p.add_argument(
        "--encoding", choices=["raw", "jpg"], help="raw: fastest to read (default); jpg: in an eighth of the room"
    )
    p.add_argument("--quality", type=int, help="of jpg, 1..95 (90)")
    p.add_argument(
        "--skip-unreadable", action="store_true", default=None, help="leave out images that cannot be decoded"
    )
    _data_option(p, Path("data"))
    p = _command(data, "check", _data_check, "verify prepared datasets down to every stored pixel")
    p.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    _data_option(p, Path("data"))
    p = _command(data, "list", _data_list, "list prepared datasets")
    _data_option(p, Path("data"))
    _json_option(p)

    p = _command(commands, "train", _train, "train one run, or continue it; prints the run directory last")
    p.add_argument("settings", type=Path, help="settings file (YAML)")
    p.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. optimisation.epochs=10")
    _runs_option(p)
    _data_option(p, None)

    p = _command(commands, "evaluate", _evaluate, "measure a trained run's accuracy against blur")
    p.add_argument("run", type=Path, help="run directory")
    p.add_argument(
        "overrides", nargs="*", metavar="key=value", help="e.g. evaluation.sigmas=[0,8] evaluation.split=val"
    )
    _json_option(p)

    p = _command(commands, "curriculum", _curriculum, "draw how blurred the images of each epoch are; prints the file")
    p.add_argument("settings", metavar="SETTINGS", help="settings file (YAML), or a regime, e.g. blurry-to-clear")
    p.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. optimisation.epochs=60 curriculum.sigma=2")
    p.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="picture to write (png, pdf or svg)")

    grid = _group(commands, "grid", "many runs: plan, submit, watch")
    for name, function, text in (
        ("plan", _grid_plan, "show what submitting would do"),
        ("status", _grid_status, "show how each run of the grid stands"),
        ("submit", _grid_submit, "start what is missing, and return"),
        ("retry", _grid_retry, "start again what failed, or has given no sign of life"),
    ):
        p = _command(grid, name, function, text)
        p.add_argument("grid", type=Path, help="grid file (YAML)")
        _runs_option(p)
        _data_option(p, None)
        if name in ("submit", "retry"):
            p.add_argument(
                "--cluster",
                default="local",
                help="profile in configs/clusters, or a file of one's own (default: local)",
            )
            p.add_argument(
                "--at-a-time",
                type=int,
                default=0,
                help="jobs at the same time (default: the profile's; local: one a core)",
            )
        if name == "submit":
            p.add_argument(
                "--wait", action="store_true", help="stay, show progress, and exit with 0 if all runs are done"
            )
        if name == "retry":
            p.add_argument("--failed", action="store_true", help="those that failed only")
            p.add_argument("--stale", action="store_true", help="those without a sign of life only")
        if name in ("plan", "status"):
            _json_option(p)
        if name == "plan":
            p.add_argument("--images-per-second", type=float, help="of one GPU, for the estimate of costs")
        if name == "status":
            p.add_argument("--watch", action="store_true", help="show it again every few seconds, until Ctrl-C")

    p = _command(grid, "logs", _grid_logs, "show what a run, or the job that is to run it, has printed")
    p.add_argument("run", help="run id, or the beginning of one")
    p.add_argument("-f", "--follow", action="store_true", help="go on as more comes, until the run ends or Ctrl-C")
    _runs_option(p)

    p = _command(grid, "cancel", _grid_cancel, "stop what runs or waits; it can be continued")
    p.add_argument("grid", nargs="?", type=Path, help="grid file (default: all in this folder of runs)")
    _runs_option(p)
    _data_option(p, None)

    p = _command(commands, "doctor", _doctor, "find out by a small job whether a cluster is fit for grids")
    p.add_argument("--cluster", required=True, help="profile in configs/clusters, or your own file")
    p.add_argument("--seconds", type=float, default=300, help="how long to wait for the job (300)")
    _runs_option(p)
    _data_option(p, Path("data"))
    _json_option(p)

    bench = _group(commands, "bench", "measure speed against the usual alternatives, in one run")
    p = _command(bench, "blur", _bench_blur, "the blur engine against torchvision, kornia and OpenCV (some minutes)")
    p.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    p.add_argument("--batch", type=int, default=32, help="images in a batch (32)")
    p.add_argument("--repeats", type=int, default=5, help="rounds, of which the median is taken (5)")
    p.add_argument("--quick", action="store_true", help="a few small sizes only")
    _json_option(p)

    p = _command(bench, "loader", _bench_loader, "the original study's data path and ours (some minutes)")
    p.add_argument("--images", type=Path, help="folder of class folders with images (default: generated ones)")
    p.add_argument("--count", type=int, default=1000, help="images to use at most (1000)")
    p.add_argument("--resolution", type=int, default=224, help="of the network's input in pixels (224)")
    p.add_argument("--batch", type=int, default=64, help="images in a batch (64)")
    p.add_argument("--repeats", type=int, default=3, help="rounds, of which the median is taken (3)")
    p.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    p.add_argument("--quick", action="store_true", help="a few small images only")
    _json_option(p)

    p = _command(bench, "train", _bench_train, "a network's own speed, and what is left of it in the whole pipeline")
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
    _json_option(p)

    p = _command(bench, "grid", _bench_grid, "plan, submit, status and cancel of a large grid of jobs that are `true`")
    p.add_argument("--cluster", required=True, help="profile in configs/clusters, or a file of one's own")
    p.add_argument("--count", type=int, default=10_000, help="runs of the grid (10000)")
    p.add_argument("--max-array", type=int, default=0, help="jobs of one array (default: as many as the cluster takes)")
    p.add_argument("--repeats", type=int, default=3, help="times, of which the median is taken, of plan and status (3)")
    _runs_option(p)
    _json_option(p)

    p = _command(commands, "report", _report, "turn run directories into tables, figures and a page")
    p.add_argument("runs_folder", type=Path, metavar="RUNS", help="folder of run directories")
    p.add_argument("--out", type=Path, required=True, help="folder for results.csv, index.html and figures")
    return parser


def _group(commands: Any, name: str, text: str) -> Any:
    return commands.add_parser(name, help=text, description=text).add_subparsers(metavar="COMMAND", required=True)


def _command(commands: Any, name: str, function: Any, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=function)
    return parser


def _runs_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of run directories (default: runs)")


def _data_option(parser: argparse.ArgumentParser, default: Path | None) -> None:
    shown = default or "the settings' data.root, else data"
    parser.add_argument("--data", type=Path, default=default, help=f"folder of prepared datasets (default: {shown})")


def _json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def _label(text: str) -> str | int:
    return int(text) if text.isdigit() else text


def _pairs(text: str) -> dict[str, str]:
    pairs = dict(pair.partition("=")[::2] for pair in text.split(","))
    if not all(pairs.values()):
        raise argparse.ArgumentTypeError("must be SPLIT=FOLDER,... e.g. train=train,test=val")
    return pairs


def _version() -> str:
    from blurtrain import __version__

    return f"blurtrain {__version__}"
