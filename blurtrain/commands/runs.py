"""One run: `train`, `curriculum`; and `report`, on what came of many."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from blurtrain.commands.options import command, data_option, next_step, runs_option
from blurtrain.errors import SettingsError


def _settings(options: argparse.Namespace) -> Any:
    """Of a file, or of `key=value` alone."""
    from blurtrain.documents import parse_overrides
    from blurtrain.settings import compose, load

    overrides = list(options.overrides)
    if options.data is not None:
        overrides.append(f"data.root={json.dumps(str(options.data))}")
    named = str(options.settings)
    if "=" in named and not Path(named).is_file():
        return compose(parse_overrides([named, *overrides]), options.parser.prog.removeprefix("blurtrain "))
    return load(named, overrides)


def _train(options: argparse.Namespace) -> int:
    from blurtrain.data.prepared_size import at_prepared_size

    settings = at_prepared_size(_settings(options))  # before torch is imported: a mistake is answered at once
    if options.dry_run:
        return _dry_run(settings, options)
    from blurtrain.distributed import end_with_torchrun
    from blurtrain.training.stopping import stop_signals
    from blurtrain.training.train import train

    end_with_torchrun()
    run = train(settings, options.runs, options.run_id, stop_signals, options.until_epoch)
    if os.environ.get("RANK", "0") == "0":
        if run.result() is None:
            next_step("the same command without --until-epoch goes on with it")
        else:
            next_step(f"blurtrain show {run.path}; blurtrain report {options.runs} --out report")
        print(run.path)
    return 0


def _dry_run(settings: Any, options: argparse.Namespace) -> int:
    from jobs.showing import as_planned

    for line in as_planned(settings, options.runs):
        print(line)
    return 0


def _curriculum(options: argparse.Namespace) -> int:
    from blurtrain.documents import merge, parse_overrides
    from blurtrain.settings import compose

    if Path(options.settings).suffix or Path(options.settings).is_file():
        settings = _settings(options)
    elif options.images:
        raise SettingsError(f"--images: {options.settings!r} names no dataset; give a settings file (YAML)")
    else:
        named = {"dataset": "any", "regime": options.settings}
        settings = compose(merge(named, parse_overrides(options.overrides)), "curriculum")
    if options.images:
        return _views(settings, options)
    from analysis.figures.curriculum import save

    save(settings, options.out)
    print(options.out)
    return 0


def _views(settings: Any, options: argparse.Namespace) -> int:
    from analysis.figures.views import save
    from blurtrain.commands.training_pictures import views_of

    save(*views_of(settings, options.images), options.out)
    print(options.out)
    return 0


def _report(options: argparse.Namespace) -> int:
    import analysis
    from blurtrain.commands.training_pictures import pictures_of

    def say(line: str) -> None:
        print(f"blurtrain: {line}", file=sys.stderr)

    also = [*pictures_of(options.runs_folder, options.images, say)] if options.images else []
    print(analysis.report(options.runs_folder, options.out, also))
    next_step(f"open {options.out / 'index.html'} in a browser")
    return 0


# --- options --------------------------------------------------------------------------------------------------------


def add(commands: Any) -> None:
    """Tell the parser of these commands."""
    p = command(commands, "train", _train, "train one run, or continue it; prints the run directory last")
    p.add_argument("settings", help="settings file (YAML); or key=value alone, e.g. dataset=birds regime=clear")
    p.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. optimisation.epochs=10")
    runs_option(p)
    data_option(p, None)
    p.add_argument("--dry-run", action="store_true", help="only show which run it would be, and how it stands")
    p.add_argument(
        "--until-epoch", type=int, metavar="N", help="pause once N epochs are done; the same command goes on"
    )
    # Jobs say what they were submitted as, and refuse to train anything else.
    p.add_argument("--run-id", help=argparse.SUPPRESS)

    p = command(commands, "curriculum", _curriculum, "draw how blurred the images of each epoch are; prints the file")
    p.add_argument("settings", metavar="SETTINGS", help="settings file (YAML), or a regime, e.g. blurry-to-clear")
    p.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. optimisation.epochs=60 curriculum.sigma=2")
    p.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="picture to write (png, pdf or svg)")
    shown = "draw instead so many training images as the network sees them; needs a settings file"
    p.add_argument("--images", type=int, default=0, metavar="N", help=shown)
    data_option(p, None)

    p = command(commands, "report", _report, "turn run directories into tables, figures and a page")
    p.add_argument("runs_folder", type=Path, metavar="RUNS", help="folder of run directories")
    p.add_argument("--out", type=Path, required=True, help="folder for results.csv, index.html and figures")
    seen = "show also so many training images of each dataset and regime, as the network sees them"
    p.add_argument("--images", type=int, default=0, metavar="N", help=seen)
