"""`blurtrain data ...`."""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from blurtrain.commands import blurred, check
from blurtrain.commands.options import command, data_option, group, json_option, next_step
from blurtrain.errors import DataError, SettingsError, some_of

_LISTED = 50
"""Images left out that are named one by one."""


def _prepare(options: argparse.Namespace) -> int:
    from blurtrain.data.image_files import in_words
    from blurtrain.data.preparation import Recipe, prepare
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
        dataset, fresh = prepare(options.data, name, recipe, options.images_root, options.replace)
        manifest = dataset.manifest
        counts = ", ".join(f"{n} {split}" for split, n in manifest["counts"].items())
        print(
            f"{dataset.folder}: {len(dataset.classes)} classes, {counts}, {_size(manifest)}"
            f"{'' if fresh else ' (already prepared)'}"
        )
        if manifest.get("cropped"):
            print(
                f"  {manifest['cropped']} images are longer than {manifest['longest']:g}:1, and were cropped to it",
                file=sys.stderr,
            )
        unreadable = manifest["unreadable"]
        if skipped := manifest.get("skipped"):
            reasons = Counter(skipped) + Counter(reason.partition(":")[0] for reason in unreadable.values())
            said = ", ".join(f"{n} {reason}" for reason, n in reasons.most_common())
            found, where = manifest["listed"] - reasons.total(), dataset.folder / "skipped.csv"
            print(f"  found {found} of {manifest['listed']}: {said}; all in {where}", file=sys.stderr)
        for note in manifest.get("notes", []):
            print(f"  {note}", file=sys.stderr)
        if left_alone := manifest.get("left_alone"):
            print(f"  left alone {in_words(Counter(left_alone))}", file=sys.stderr)
        if empty := manifest.get("empty_folders"):
            print(f"  folders without a file: {some_of(empty, 5)}", file=sys.stderr)
        for path, reason in list(unreadable.items())[:_LISTED]:
            print(f"  left out {path}: {reason}", file=sys.stderr)
        if (rest := len(unreadable) - _LISTED) > 0:
            print(f"  left out {rest} more: all in {dataset.folder / 'manifest.json'}", file=sys.stderr)
    if options.grid:
        next_step(f"blurtrain grid plan {options.grid} --data {options.data}")
    else:
        next_step(f"blurtrain train dataset={options.name} regime=blurry-to-clear --data {options.data}")
    return 0


def _sharpness(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from tqdm import tqdm

    from blurtrain.data.sharp_folder import look_at, sheet, summary
    from blurtrain.device import cores
    from blurtrain.files import publish

    if options.images is not None and options.images < 1:
        raise SettingsError(f"data sharpness: --images must be at least 1, not {options.images}")
    if options.out is not None and options.out.suffix.lower() != ".png":
        raise SettingsError(f"--out {options.out}: must end in .png")
    with tqdm(desc=str(options.folder), unit="image", leave=False, disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        images, wrong = look_at(options.folder, options.images, len(cores()), progress)
    rows = summary(images, options.by)
    if options.out is not None:
        publish(options.out, sheet(options.folder, images, options.by))
    if options.json:
        each = [asdict(one) | {"values": {k: _number(v) for k, v in one.values.items()}} for one in images]
        print(json.dumps({"folders": rows, "images": each, "left_out": wrong}, indent=1))
    else:
        print(_sharpness_table(rows, options.by))
    for path, why in wrong.items():
        print(f"  left out {path}: {why}", file=sys.stderr)
    if options.out is not None:
        print(options.out, file=sys.stderr if options.json else sys.stdout)
    return 0


def _sharpness_table(rows: list[dict[str, Any]], by: str) -> str:
    """A line a folder: medians and quartiles, and the blurriest files."""
    from blurtrain.data.sharpness import MEASURES

    signs = {1: "more is sharper", -1: "less is sharper"}
    width = max(len("folder"), *(len(row["folder"]) for row in rows))
    lines = [f"{'folder':{width}} {'n':>6} {'px':>5}" + "".join(f"  {name:>24}" for name in MEASURES)]
    lines += [" " * (width + 13) + "".join(f"  {signs[one.sharper]:>24}" for one in MEASURES.values())]
    for row in rows:
        cells = [_quartiles(row[name], one.digits) for name, one in MEASURES.items()]
        lines.append(
            f"{row['folder']:{width}} {row['n']:>6} {row['pixels']:>5.0f}" + "".join(f"  {c:>24}" for c in cells)
        )
    lines.append(f"medians (quartiles); px: smaller side; blurriest by {by}:")
    lines += [f"{row['folder']:{width}} {', '.join(row['blurriest'])}" for row in rows]
    return "\n".join(lines)


def _quartiles(of: dict[str, Any], digits: int) -> str:
    if of["median"] is None:
        return "-"
    return "{:.{d}f} ({:.{d}f} - {:.{d}f})".format(of["median"], of["q1"], of["q3"], d=digits)


def _number(value: float) -> float | None:
    return None if value != value else value  # JSON has no NaN


def _list(options: argparse.Namespace) -> int:
    from blurtrain.data.dataset import datasets

    if not options.data.is_dir():
        raise DataError(f"{options.data}: no such folder; --data names the folder of prepared datasets")
    keys = ("name", "data_id", "counts", "stored_size", "store")
    rows = [
        {k: d.manifest[k] for k in keys}
        | {"test_store": d.manifest.get("test_store"), "classes": len(d.classes), "aspect": _aspect(d.manifest)}
        for d in datasets(options.data)
    ]
    if options.json:
        print(json.dumps(rows, indent=1))
    for row in [] if options.json else rows:
        counts = ", ".join(f"{n} {split}" for split, n in row["counts"].items())
        print(
            f"{row['name']:20} {row['classes']:5} classes  {row['stored_size']:4} px {row['aspect']}  {counts}  "
            f"({row['data_id']})"
        )
    return 0


def _remove(options: argparse.Namespace) -> int:
    from blurtrain.data.dataset import remove
    from blurtrain.data.preparation.workspace import sweep

    if not options.names and not options.unused:
        raise DataError("data remove: name datasets, or say --unused for stores alone that none uses")
    freed = remove(options.data, options.names)
    if options.unused:
        sweep(options.data / ".stores", kept=0)  # what interrupted preparations would go on with
    print(f"{options.data}: {freed / 1e6:,.1f} MB freed")
    return 0


def _aspect(manifest: dict[str, Any]) -> str:
    return manifest.get("aspect", "square")


def _size(manifest: dict[str, Any]) -> str:
    side = "geometric mean of sides" if manifest.get("side") == "geometric-mean" else "smaller side"
    return f"{manifest['stored_size']} px" + f" {side}, aspect kept" * (_aspect(manifest) == "kept")


# --- options --------------------------------------------------------------------------------------------------------


def add(commands: Any) -> None:
    """Tell the parser of these commands."""
    data = group(commands, "data", "prepare, check and list datasets")
    p = command(data, "prepare", _prepare, "turn a folder of images (or a generated stand-in) into a dataset")
    p.add_argument("images", nargs="?", type=Path, help="folder of images: class/..., split/class/..., or deeper")
    p.add_argument("--name", help="what the dataset is to be called")
    p.add_argument(
        "--grid", type=Path, help="instead: prepare all that the `data:` section of this grid (file, or name) says"
    )
    p.add_argument(
        "--images",
        dest="images_root",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="where the grid's image folders lie (default: here)",
    )
    p.add_argument(
        "--reader",
        metavar="'KIND OPTION=VALUE ...'",
        help="how the folder is read: tree (default), list, hugging-face, facescrub, toybox, imagenet, imagenet-100, "
        "imagenet-12, voc, coco, blur-types, or your own as file.py:Name; e.g. 'list table=faces.csv'",
    )
    p.add_argument("--standin", help="instead of images: a generated stand-in")
    p.add_argument(
        "--label",
        type=_label,
        help="of a tree: label by the leaf folder (default) or the folder at this level, 1 = topmost",
    )
    p.add_argument("--min-leaves", type=int, help="keep labels with at least so many groups (leaf folders)")
    p.add_argument("--min-images", type=int, help="keep labels with at least so many images")
    p.add_argument(
        "--splits",
        type=check.pairs,
        metavar="SPLIT=FOLDER,...",
        help="use the given splits so, e.g. train=train,test=val",
    )
    p.add_argument("--val", type=float, help="share to hold out for validation where the tree has no splits (0.1)")
    p.add_argument("--test", type=float, help="share to hold out for testing where the tree has no splits (0.2)")
    p.add_argument("--split-seed", type=int, help="seed of the drawn splits (0)")
    p.add_argument(
        "--hold-out",
        choices=["images", "groups", "leaves"],
        help="hold out single images (default) or whole groups, which are the leaf folders of a tree",
    )
    p.add_argument("--train-images", type=int, metavar="N", help="at most N training images of each label (all)")
    p.add_argument(
        "--resolution", type=int, help="of the network's input, in pixels (224): val and test images are stored at it"
    )
    p.add_argument("--stored", type=int, help="side of the images that crops are taken from (8/7 of the resolution)")
    p.add_argument(
        "--aspect", choices=["square", "kept"], help="resize images to squares (default), or by their smaller side"
    )
    p.add_argument("--longest", type=float, metavar="A", help="of --aspect kept: crop images longer than A:1 to it (2)")
    p.add_argument(
        "--side", choices=["smaller", "geometric-mean"],
        help="of --aspect kept, what --stored and --tested are of: the smaller side (default), or the geometric mean "
        "of height and width",
    )  # fmt: skip
    p.add_argument("--tested", type=int, help="of --aspect kept: smaller side of val and test images (the resolution)")
    p.add_argument(
        "--view",
        choices=["whole", "mosaic"],
        help="store images whole (default), or each as 3 x 3 tiles: the whole amid parts at its own resolution",
    )
    p.add_argument(
        "--encoding", choices=["raw", "jpg"], help="raw: fastest to read (default); jpg: in an eighth of the room"
    )
    p.add_argument("--quality", type=int, help="of jpg, 1..95 (90)")
    p.add_argument(
        "--skip-unreadable", action="store_true", default=None, help="leave out images that cannot be decoded"
    )
    p.add_argument(
        "--exclude",
        action="append",
        metavar="PATTERN",
        help="leave out paths like this, e.g. '*/thumbs/*' (repeatable)",
    )
    p.add_argument(
        "--duplicates",
        choices=["refused", "allowed"],
        help="of the same file in several of the tree's splits (refused)",
    )
    p.add_argument("--megapixels", type=float, metavar="M", help="largest image to decode, in millions of pixels (89)")
    p.add_argument("--bits", type=int, metavar="N", help="of images of 16 bits, so many are used (as stated, else 16)")
    p.add_argument(
        "--replace",
        action="store_true",
        help="put it in the place of one that was prepared otherwise, or has been damaged",
    )
    data_option(p, Path("data"))
    check.add(data)
    blurred.add(data)
    p = command(data, "sharpness", _sharpness, "how sharp the images of a folder are, by four no-reference measures")
    p.add_argument("folder", type=Path, metavar="FOLDER", help="folder of images, in folders or not")
    p.add_argument("--images", type=int, metavar="N", help="look at so many, evenly apart by path (all)")
    p.add_argument(
        "--by", choices=["reblur", "edge_width", "laplacian", "slope"], default="reblur",
        help="which of them sorts files (reblur)",
    )  # fmt: skip
    p.add_argument(
        "--out", type=Path, metavar="FILE.png", help="contact sheet: parts at full resolution, blurred first"
    )
    json_option(p)
    p = command(data, "remove", _remove, "remove prepared datasets, and stores that none uses")
    p.add_argument("names", nargs="*", metavar="NAME")
    p.add_argument("--unused", action="store_true", help="no dataset, but the stores that none uses")
    data_option(p, Path("data"))
    p = command(data, "list", _list, "list prepared datasets")
    data_option(p, Path("data"))
    json_option(p)


def _label(text: str) -> str | int:
    return int(text) if text.isdigit() else text
