"""Trained networks, of runs or from elsewhere: `evaluate`, `predict`, `export`, `examples`."""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blurtrain.commands import masks
from blurtrain.commands.options import command, json_option

if TYPE_CHECKING:
    from blurtrain.data.dataset import Dataset
    from blurtrain.distributed import Group
    from blurtrain.evaluation.plan import Plan
    from blurtrain.models.trained import TrainedNetwork
    from blurtrain.settings import Evaluation

NETWORK = (
    "a run directory; torchvision/NAME, timm/NAME or a state dict file (network.architecture=...); or a YAML file of "
    "network settings"
)


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names and overrides, which argparse cannot tell apart."""
    overrides = [word for word in words if re.match(r"[A-Za-z_.]+=", word)]
    return [word for word in words if word not in overrides], overrides


# --- evaluate -------------------------------------------------------------------------------------------------------


def _evaluate(options: argparse.Namespace) -> int:
    from blurtrain.errors import SettingsError
    from blurtrain.run import runs_at

    named, overrides = _split([*options.networks, *options.overrides])
    if not named:
        raise SettingsError("evaluate: name run directories, or a folder of them")
    if options.measure:
        overrides.append(f"evaluation.measures={json.dumps(options.measure)}")
    if options.deblur:
        overrides.append(f"evaluation.deblur={json.dumps(options.deblur)}")
    if options.ensemble:
        return _ensemble(options, named, overrides)
    if options.dataset is not None:
        return _shown(options, named, lambda group: _others(options, named, overrides, group), Path(options.out or "."))
    if options.out is not None:
        raise SettingsError(
            "evaluate: --out goes with --dataset, for networks that are no runs, or --ensemble; runs keep their own"
        )
    overrides = _with_root(overrides, options.data)
    folders = [folder for name in named for folder in runs_at(Path(name))]
    single = len(named) == 1 and folders == [Path(named[0])]

    def found(group: "Group") -> Iterator[tuple[str, Any]]:
        from blurtrain.evaluation.runs import evaluate_each, evaluate_run, evaluate_stages

        if single and options.stages:
            yield str(folders[0]), evaluate_stages(folders[0], overrides, group=group)
            return
        if single:
            yield str(folders[0]), evaluate_run(folders[0], overrides, epoch=options.epoch, group=group)
            return
        found = evaluate_each(folders, overrides, epoch=options.epoch, stages=options.stages, group=group)
        for folder, documents in found:
            yield str(folder), documents

    return _shown(options, list(map(str, folders)), found, folders[0].parent, single)


def _others(
    options: argparse.Namespace, named: Sequence[str], overrides: Sequence[str], group: "Group"
) -> Iterator[tuple[str, Any]]:
    """Networks that are no runs."""
    from blurtrain.errors import SettingsError
    from blurtrain.evaluation.networks import evaluate_network

    if options.out is None:
        raise SettingsError("evaluate: --dataset measures networks that are no runs: say where to by --out FOLDER")
    evaluation, dataset = _on_dataset(options, overrides)
    for name in named:
        network = _network(name, overrides, options.epoch, options.data)
        yield name, evaluate_network(network, dataset, evaluation, options.out, group=group)


def _ensemble(options: argparse.Namespace, named: Sequence[str], overrides: Sequence[str]) -> int:
    from blurtrain.errors import SettingsError
    from blurtrain.evaluation.ensembles import evaluate_ensemble
    from blurtrain.run import runs_at

    if options.out is None:
        raise SettingsError("evaluate: --ensemble measures several networks as one: say where to by --out FOLDER")
    names = named if options.dataset else [str(folder) for name in named for folder in runs_at(Path(name))]

    def found(group: "Group") -> Iterator[tuple[str, Any]]:
        from blurtrain.evaluation.cached import together

        plans = together(group, lambda: [plan_of(name, options, overrides) for name in names])
        yield " + ".join(plan.name for plan in plans), evaluate_ensemble(plans, options.out, group=group)

    return _shown(options, names, found, options.out, single=True)


def _shown(
    options: argparse.Namespace,
    names: Sequence[str],
    found: "Callable[[Group], Iterator[tuple[str, Any]]]",
    rendezvous: Path,
    single: bool = False,
) -> int:
    """Print what comes of each; the exit code."""
    from blurtrain.distributed import process_group

    printed, failed = [], 0
    with process_group(rendezvous) as group:
        for name, documents in found(group):
            failed += isinstance(documents, str)
            if not group.is_main:
                continue
            if isinstance(documents, str):
                printed.append({"run": name, "error": documents})
                where = "" if name in documents else f"{name}: "
                print(f"blurtrain: {where}{documents}", file=sys.stderr, flush=True)
            else:
                printed += [{"run": name, **document} for document in documents]
                if not options.json:
                    _print(name, documents)
        leading = group.is_main
    if leading:
        if options.json:
            print(json.dumps(printed[0] if single and len(printed) == 1 else printed))
        if not single:
            print(f"{len(names) - failed} of {len(names)} runs evaluated", file=sys.stderr)
    return 1 if failed else 0


def _print(name: str, documents: Sequence[dict[str, Any]]) -> None:
    from blurtrain.evaluation.headline import called

    for document in documents:
        at = "" if document["epoch"] is None else f"epoch {document['epoch']}, "
        print(f"{name}: {document['measure']}, {document['split']} split, {at}n = {document['n']}, "
              f"{document['pixels']} pixels"
              + (f", {document['protocol']}" if "protocol" in document else "")
              + (f", deblurred by {document['deblur']}" if "deblur" in document else ""))  # fmt: skip
        levels = dict.fromkeys(row["blur"] for row in document["rows"])
        for label in levels:
            rows = [row for row in document["rows"] if row["blur"] == label]
            print(f"{called(rows[0]):>10}: " + ", ".join(map(_value, rows)), flush=True)


def _value(row: dict[str, Any]) -> str:
    name = {"top1": "top-1", "top5": "top-5"}.get(row["metric"], row["metric"].replace("_", "-"))
    bad = f" ({row['not_finite']} images gave NaN or inf)" if "not_finite" in row else ""
    if "count" in row:
        return f"{name} {100 * row['count'] / row['n']:6.2f} %{bad}"
    return f"{name} {'undefined' if row['value'] is None else format(row['value'], '.4g')}{bad}"


# --- which network, on which images -----------------------------------------------------------------------------------


def _network(name: str, overrides: Sequence[str], epoch: int | None, data: Path | None) -> "TrainedNetwork":
    from blurtrain.documents import parse_overrides
    from blurtrain.errors import SettingsError
    from blurtrain.models.published import network_named
    from blurtrain.models.trained import of_run

    document = parse_overrides(overrides)
    if unknown := [key for key in document if key not in ("network", "evaluation")]:
        raise SettingsError(f"{unknown[0]}: only network.* can be set here")
    if Path(name).is_dir():
        if "network" in document:
            raise SettingsError(f"{name}: is a run, whose network is as its settings say; leave out network.*")
        return of_run(name, epoch, data)
    if epoch is not None:
        raise SettingsError(f"{name}: is no run, so it has no --epoch")
    return network_named(name, document.get("network", {}))


def _on_dataset(options: argparse.Namespace, overrides: Sequence[str]) -> "tuple[Evaluation, Dataset]":
    """What a network that is no run is measured at, and on."""
    from blurtrain.data.dataset import open_dataset
    from blurtrain.documents import parse_overrides
    from blurtrain.schema import validate
    from blurtrain.settings import BlurUnits, Evaluation, check_levels

    document = parse_overrides(overrides).get("evaluation", {})
    evaluation: Evaluation = validate(document, "evaluate: evaluation", Evaluation)
    check_levels(evaluation, BlurUnits(), "evaluate")
    return evaluation, open_dataset(options.data or Path("data"), options.dataset)


def plan_of(name: str, options: argparse.Namespace, overrides: Sequence[str], all_outputs: bool = False) -> "Plan":
    """A run as it is evaluated, or, on `--dataset`, any network. Raises SettingsError for what is no run without it."""
    from blurtrain.errors import SettingsError
    from blurtrain.evaluation.networks import network_plan
    from blurtrain.evaluation.runs import run_plan

    if options.dataset is not None:
        network = _network(name, overrides, options.epoch, options.data)
        evaluation, dataset = _on_dataset(options, overrides)
        return network_plan(network, dataset, evaluation, all_outputs)
    if not Path(name).is_dir():
        raise SettingsError(f"{name}: is no run directory; networks that are no runs need --dataset NAME")
    return run_plan(Path(name), _with_root(overrides, options.data), epoch=options.epoch)


def _with_root(overrides: Sequence[str], data: Path | None) -> list[str]:
    return [*overrides, *([] if data is None else [f"data.root={json.dumps(str(data))}"])]


# --- predict, examples and export -------------------------------------------------------------------------------------


def _ready(options: argparse.Namespace) -> "TrainedNetwork":
    import torch

    from blurtrain.device import claim_device, cores

    torch.set_num_threads(len(cores()))
    return _network(options.network, options.overrides, options.epoch, options.data).to(claim_device())


def _predict(options: argparse.Namespace) -> int:
    from blurtrain.errors import DataError, SettingsError

    if (options.out is None) == (options.masks is None):
        raise SettingsError("predict: give --out TABLE, or, of a run of task=segmentation, --masks FOLDER")
    if options.masks is not None:
        return masks.predict(options)
    if options.out.suffix not in (".csv", ".parquet"):
        raise DataError(f"--out {options.out}: must end in .csv or .parquet")
    if masks.are_given_by(options.network):
        raise SettingsError(f"{options.network}: gives masks, no classes: --masks FOLDER says where to")
    network = _ready(options)
    from blurtrain.models.prediction import predict_folder, save

    predictions = predict_folder(network, options.folder)
    save(predictions, options.out)
    unreadable = [p for p in predictions if p.error]
    for p in unreadable:
        print(f"blurtrain: {p.path}: {p.error}", file=sys.stderr)
    print(f"{len(predictions) - len(unreadable)} of {len(predictions)} images predicted", file=sys.stderr)
    print(options.out)
    return 0


def _examples(options: argparse.Namespace) -> int:
    from analysis.figures.examples import check_name, save
    from blurtrain.blur.blurs import Blur
    from blurtrain.errors import SettingsError

    check_name(options.out)
    blur = Blur.parse(options.blur)
    if masks.are_given_by(options.network):
        masks.draw(options, _with_root(options.overrides, options.data))
        print(options.out)
        return 0
    if options.beside or options.names:
        raise SettingsError("examples: --beside and --names are of runs of task=segmentation")
    from blurtrain.evaluation.examples import examples

    plan = plan_of(options.network, options, options.overrides, all_outputs=True)
    save(examples(plan, blur, options.images), blur.label, plan.name, options.out)
    print(options.out)
    return 0


def _export(options: argparse.Namespace) -> int:
    network = _ready(options)
    from blurtrain.models.export import export, sample

    about = export(network, options.out, sample(network, options.images) if options.images else None)
    kind = "real" if about["verified"]["real"] else "random"
    print(f"verified on {about['verified']['images']} {kind} images: largest difference of a logit "
          f"{about['verified']['largest_difference']:.2g}, of a probability "
          f"{about['verified']['largest_difference_of_a_probability']:.2g}", file=sys.stderr)  # fmt: skip
    print(options.out)
    return 0


# --- options --------------------------------------------------------------------------------------------------------


def add(commands: Any) -> None:
    """Tell the parser of these commands."""
    p = command(commands, "evaluate", _evaluate, "measure trained runs, or any network, against blur")
    p.add_argument("networks", nargs="+", metavar="RUN", help="run directories, or folders of them, and ...")
    p.add_argument(
        "overrides", nargs="*", metavar="key=value",
        help="e.g. evaluation.sigmas=[0,8] evaluation.blurs=[disk-4] evaluation.split=val",
    )  # fmt: skip
    from blurtrain.evaluation.measures import MEASURES

    measure = (
        f"{', '.join(MEASURES)}, or package.module:Name of your own; options behind it, 'calibration bins=20'; may be "
        "repeated (default: as the settings say)"
    )
    p.add_argument("--measure", action="append", metavar="NAME", help=measure)
    deblur = (
        "measure blurred images restored by this, too: a method of docs/deblurring.md (wiener, ...), or "
        "package.module:Name of your own; options behind it, 'wiener noise=0.01'; may be repeated"
    )
    p.add_argument("--deblur", action="append", metavar="NAME", help=deblur)
    when = p.add_mutually_exclusive_group()
    when.add_argument("--epoch", type=_epoch, help="of runs: after so many epochs, where their weights were kept")
    when.add_argument("--stages", action="store_true", help="of runs: after each epoch that was kept, and at the end")
    _data(p)
    p.add_argument("--dataset", help=f"measure networks that are no runs on this one: RUN is then {NETWORK}")
    p.add_argument(
        "--ensemble", action="store_true",
        help="measure all of them as one, by the mean of their log-probabilities, each shown images in its own way",
    )  # fmt: skip
    p.add_argument("--out", type=Path, help="with --dataset or --ensemble: folder for what was measured")
    json_option(p)

    p = command(commands, "predict", _predict, "the most probable classes of image files, as a table")
    _network_options(
        p, "folder", "folder of images (or one image)", "FILE.csv", "table to write (.csv or .parquet)", needed=False
    )
    p.add_argument(
        "--masks", type=Path, metavar="FOLDER", help="of a run of task=segmentation: write a palette PNG for each photo"
    )

    p = command(commands, "export", _export, "write a network as ONNX, or by torch.export; verified before it is there")
    _network_options(p, None, "", "FILE.onnx", "file to write (.onnx or .pt2); FILE.onnx.json describes it")
    p.add_argument(
        "--images", type=Path, metavar="FOLDER", help="verify on up to 200 images of this folder (default: random)"
    )

    p = command(
        commands, "examples", _examples, "draw test images sharp and blurred, with their five likeliest classes"
    )
    p.add_argument("network", metavar="RUN", help="run directory, and ...")
    p.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. evaluation.split=val")
    p.add_argument("--blur", required=True, help="e.g. disk-8@384, shake, gaussian-4")
    p.add_argument(
        "--images", type=int, default=4, metavar="N", help="how many; the same ones for every run (default: 4)"
    )
    p.add_argument("--epoch", type=_epoch, help="of a run: after so many epochs, where its weights were kept")
    p.add_argument("--dataset", help=f"show images of this one to any network: RUN is then {NETWORK}")
    p.add_argument(
        "--beside", action="append", metavar="RUN[@EPOCH]",
        help="of runs of task=segmentation: draw what this one makes of the same photos, too (repeatable)",
    )  # fmt: skip
    p.add_argument(
        "--names", metavar="NAME,...", help="of runs of task=segmentation: what each is called in the picture"
    )
    p.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="picture to write (png, pdf or svg)")
    _data(p)


def _network_options(
    p: argparse.ArgumentParser, more: str | None, text: str, file: str, written: str, needed: bool = True
) -> None:
    p.add_argument("network", metavar="NETWORK", help=NETWORK)
    if more:
        p.add_argument(more, type=Path, metavar=more.upper(), help=text)
    p.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. network.weights=FILE.pth network.resize=256")
    p.add_argument("--out", type=Path, required=needed, metavar=file, help=written)
    p.add_argument("--epoch", type=_epoch, help="of a run: after so many epochs, where its weights were kept")
    _data(p)


def _data(p: argparse.ArgumentParser) -> None:
    p.add_argument("--data", type=Path, help="folder of prepared datasets (default: as the run says, else data)")


def _epoch(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no epoch: they count from 1")
    return int(text)
