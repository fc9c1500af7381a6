"""`blurtrain detector ...`: the probabilities of a blur-type detector, and what it is worth on real photos."""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blurtrain.commands.options import command, data_option, group, json_option
from blurtrain.errors import SettingsError

if TYPE_CHECKING:
    from analysis.detector import Verdicts
    from blurtrain.data.dataset import Dataset
    from blurtrain.run import Run

_COLUMNS, _SIDE, _SHOWN = 4, 260, 24
"""Of the sheet of mistakes: columns, pixels of a photo, photos."""


def _calibrate(options: argparse.Namespace) -> int:
    from blurtrain.evaluation.temperature import calibration
    from blurtrain.files import write_json
    from blurtrain.models.trained import of_run
    from blurtrain.run import Run

    run = Run(options.run.resolve())
    network = of_run(run.path, None, options.data)
    found = calibration(network, _dataset(run, options))
    write_json(run.calibration, found)
    (before, after), (error, calibrated) = found["cross_entropy"], found["calibration_error"]
    print(
        json.dumps(found)
        if options.json
        else f"{run.calibration}: temperature {found['temperature']:.3f} on {found['n']} photos of {found['split']}; "
        f"cross-entropy {before:.4f} -> {after:.4f}, calibration error {100 * error:.1f} -> {100 * calibrated:.1f} %"
    )
    if found["at_bound"]:
        print(
            f"warning: temperature {found['temperature']:.3g} is at the bound of what is tried: on these {found['n']} "
            "photos none calibrates this network; are they few, and all right, or right no more than by chance?",
            file=sys.stderr,
        )
    return 0


def _report(options: argparse.Namespace) -> int:
    from analysis.detector import Verdicts, as_text, compared, comparison_as_text, report
    from blurtrain.data.preparation import Recipe
    from blurtrain.data.preparation.tested import shown, trained_on
    from blurtrain.evaluation.judged import judged
    from blurtrain.files import publish, sha256_of, write_json
    from blurtrain.models.trained import of_run
    from blurtrain.run import Run
    from blurtrain.schema import validate

    if options.out.exists():
        raise SettingsError(f"--out {options.out}: is there already; name a new folder")
    try:
        re.compile(options.by)
    except re.error as error:
        raise SettingsError(f"--by {options.by!r}: is no regular expression: {error}") from None
    reading = validate({"reader": options.reader}, "detector report", Recipe).reading
    tested = shown(reading, options.photos, options.split)
    photos = [(s.file, s.label, s.group or s.key) for s in tested.photos]
    digests = [sha256_of(options.photos / photo.file) for photo in tested.photos]
    found, seen = [], {}
    for folder in options.runs:
        one = judged(of_run(folder, None, options.data), options.photos, photos)
        found.append(Verdicts(one.network, one.classes, one.files, one.scenes, one.labels, one.probabilities))
        seen[one.network] = _trained_on(_dataset(Run(folder.resolve()), options), digests)
    reports = [report(one, options.by) for one in found]
    pairs = [compared(other, found[0]) for other in found[1:]]
    head = "\n".join([f"{options.photos}: {tested.about}", *trained_on(seen, len(photos))])
    text = "\n\n".join([head, *map(as_text, reports), *map(comparison_as_text, pairs)]) + "\n"
    document = {"split": tested.split, "trained_on": seen, "reports": reports, "compared": pairs}
    options.out.mkdir(parents=True)
    write_json(options.out / "report.json", {"photos": str(options.photos), **document})
    publish(options.out / "report.txt", text)
    for k, verdicts in enumerate(found):
        publish(options.out / f"photos-{k}.csv", _table(verdicts))
        if (sheet := _sheet(verdicts, options.photos)) is not None:
            publish(options.out / f"mistakes-{k}.png", sheet)
    print(json.dumps(document) if options.json else text, end="")
    return 0


def _trained_on(dataset: "Dataset", digests: Sequence[str]) -> int | None:
    """How many files, by their SHA-256, are images of the dataset's training split; None: not known."""
    from blurtrain.data.preparation.tested import training_files

    known = training_files(dataset)
    return None if known is None else sum(digest in known for digest in digests)


def _dataset(run: "Run", options: argparse.Namespace) -> "Dataset":
    from blurtrain.data.dataset import open_dataset

    settings = run.settings
    return open_dataset(options.data or Path(settings.data.root), settings.dataset)


def _table(verdicts: "Verdicts") -> str:
    """CSV, a photo a line."""
    import csv
    import io

    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "is", "taken_for", *verdicts.classes])
    for file, label, taken, of in zip(
        verdicts.files, verdicts.labels, verdicts.taken, verdicts.probabilities, strict=True
    ):
        writer.writerow([file, verdicts.classes[label], verdicts.classes[taken], *(f"{p:.6f}" for p in of)])
    return text.getvalue()


def _sheet(verdicts: "Verdicts", root: Path) -> bytes | None:
    """The worst mistakes, whole; None where there are none."""
    import numpy as np

    from analysis.detector import worst
    from blurtrain.data.contact_sheet import contact_sheet
    from blurtrain.data.decode import opened

    tiles = []
    for k in worst(verdicts, _SHOWN):
        image = opened((root / verdicts.files[k]).read_bytes())
        image.thumbnail((_SIDE, _SIDE))
        is_, taken = verdicts.classes[verdicts.labels[k]], verdicts.classes[verdicts.taken[k]]
        lines = [verdicts.files[k], f"is {is_}", f"taken for {taken}, {100 * verdicts.probabilities[k].max():.0f} %"]
        tiles.append((np.asarray(image), lines))
    return contact_sheet(tiles, _COLUMNS, _SIDE) if tiles else None


def add(commands: Any) -> None:
    """Tell the parser of these commands."""
    detector = group(commands, "detector", "the blur-type detector: calibrate it, and test it on real photos")
    p = command(detector, "calibrate", _calibrate, "find the temperature of a run's probabilities on val; kept in it")
    p.add_argument("run", type=Path, metavar="RUN", help="run directory")
    data_option(p, None)
    json_option(p)
    p = command(detector, "report", _report, "test detectors on folders of photos whose type is known")
    p.add_argument("photos", type=Path, metavar="PHOTOS", help="folder of a folder a class, read by reader blur-types")
    p.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="run directories; differences are of each other one minus the first",
    )
    p.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder to write, which is new")
    p.add_argument("--reader", default="blur-types", metavar="'blur-types OPTION=VALUE ...'", help="how it is read")
    p.add_argument(
        "--split", choices=["test", "val", "train", "all"],
        help="of a folder with splits (test where there is one, else val, else all)",
    )  # fmt: skip
    p.add_argument(
        "--by", default="^[A-Za-z0-9]+", metavar="REGEX",
        help="groups of the table: what this finds in names of files (letters and digits that they begin with)",
    )  # fmt: skip
    data_option(p, None)
    json_option(p)
