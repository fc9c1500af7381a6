"""`blurtrain data check`."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from blurtrain.commands.options import command, data_option, json_option
from blurtrain.errors import DataError, SettingsError


def _check(options: argparse.Namespace) -> int:
    from blurtrain.data.checking.check import Limits, check_dataset, check_folder
    from blurtrain.data.checking.text import as_text
    from blurtrain.data.dataset import datasets, open_dataset

    limits, cores = _limits(options, Limits()), len(os.sched_getaffinity(0))  # without torch, which takes seconds
    if options.folder is not None:
        if options.names:
            raise SettingsError("data check: --folder checks a folder of images; it does not go with names of datasets")
        work: list[Any] = [options.folder]
    else:
        given = [f"--{key}" for key in ("label", "exclude", "splits") if getattr(options, key) is not None]
        if given:
            raise SettingsError(f"data check: {', '.join(given)} goes with --folder: a prepared dataset has its own")
        work = [open_dataset(options.data, name) for name in options.names] or datasets(options.data)
        if not work:
            raise DataError(f"{options.data}: holds no prepared dataset")
    documents, wrong = [], 0
    for one in work:
        if options.folder is not None:
            check = check_folder(one, limits, cores, options.label, options.exclude or (), options.splits)
        else:
            check = check_dataset(one, limits, cores)
        wrong += bool(check.wrong)
        documents.append(check.document())
        if not options.json:
            print(as_text(check), flush=True)
        if options.out is not None:
            _write_sheets(options.out, check)
        check.source = None  # which holds what is known of each image
    if options.json:
        print(json.dumps({"valid": not wrong, "checked": documents}, indent=1))
    elif len(work) > 1:
        print(
            f"{wrong} of {len(work)} datasets have something wrong" if wrong else f"all {len(work)} datasets are valid"
        )
    return 1 if wrong else 0


def _limits(options: argparse.Namespace, default: Any) -> Any:
    from blurtrain.data.checking.near_pairs import MOST

    limits = default._replace(distance=options.distance, similarity=options.similarity, images=options.images)
    if not 0 <= limits.distance <= MOST:
        raise SettingsError(f"data check: --distance must be within 0 and {MOST}, not {limits.distance}")
    if not -1 <= limits.similarity <= 1:
        raise SettingsError(f"data check: --similarity must be within -1 and 1, not {limits.similarity:g}")
    if limits.images < 1:
        raise SettingsError(f"data check: --images must be at least 1, not {limits.images}")
    return limits


def _write_sheets(folder: Path, check: Any) -> None:
    from blurtrain.data.checking.sheets import near_sheet, split_sheet
    from blurtrain.files import publish

    if check.source is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    name = check.where.resolve().name
    sheets = {f"{name}-{split}.png": split_sheet(check.source, split) for split in check.source.images.splits}
    if check.near:
        sheets[f"{name}-near-duplicates.png"] = near_sheet(check.source, check.near)
    for file, content in sheets.items():
        publish(folder / file, content)
        print(folder / file, file=sys.stderr)


def add(data: Any) -> None:
    """Tell the parser of `data` commands of this one."""
    p = command(
        data, "check", _check,
        "verify prepared datasets down to every stored pixel, and look for duplicates and other faults",
    )  # fmt: skip
    p.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    p.add_argument("--folder", type=Path, metavar="DIR", help="instead of datasets: a folder of images, as it is")
    p.add_argument(
        "--out", type=Path, metavar="DIR", help="write contact sheets there: of each split, of near duplicates"
    )
    p.add_argument(
        "--distance", type=int, default=14, metavar="BITS",
        help="near duplicates: their hashes differ in at most so many of 64 bits, 0..15 (14)",
    )  # fmt: skip
    p.add_argument(
        "--similarity", type=float, default=0.95, metavar="R",
        help="near duplicates: their thumbnails correlate by at least so much (0.95)",
    )  # fmt: skip
    p.add_argument(
        "--images", type=int, default=200, metavar="N",
        help="of each split, measure the sharpness of so many, evenly apart (200)",
    )  # fmt: skip
    p.add_argument("--label", type=int, metavar="N", help="of --folder: as for data prepare")
    p.add_argument("--splits", type=pairs, metavar="SPLIT=FOLDER,...", help="of --folder: as for data prepare")
    p.add_argument("--exclude", action="append", metavar="PATTERN", help="of --folder: as for data prepare")
    data_option(p, Path("data"))
    json_option(p)


def pairs(text: str) -> dict[str, str]:
    """SPLIT=FOLDER,... as a mapping."""
    found = dict(pair.partition("=")[::2] for pair in text.split(","))
    if not all(found.values()):
        raise argparse.ArgumentTypeError("must be SPLIT=FOLDER,... e.g. train=train,test=val")
    return found
