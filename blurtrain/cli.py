"""The front door: `blurtrain COMMAND ...`. What the commands do is in blurtrain.commands.

Results go to stdout, everything else to stderr. Exit codes: 0 what was asked for happened; 1 it failed; 2 a mistake
that the user can mend, said in one line; 75 a training was asked to stop and has saved all: start it again.
"""

import argparse
import logging
import sys
from collections.abc import Sequence

from blurtrain.commands import (
    bench,
    completion,
    data,
    deblur,
    detector,
    grids,
    looks,
    networks,
    runs,
    serving,
    tables,
    tracking,
    tune,
    weights,
)  # fmt: skip
from blurtrain.commands.parser import Parser
from blurtrain.errors import REQUEUE, BlurtrainError, Stopped


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit."""
    options = _parsed(arguments)
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


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; `key=value` may stand behind others, which argparse by itself does not take."""
    parser = command_line()
    options, rest = parser.parse_known_args(arguments)
    if rest and (not hasattr(options, "overrides") or any(w.startswith("-") or "=" not in w for w in rest)):
        options.parser.refuse(rest)
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


def command_line() -> Parser:
    """The parser of everything that `blurtrain` takes."""
    parser = Parser(prog="blurtrain", description="Train, tune and compare vision networks under blur.")
    parser.add_argument("--version", action="version", version=_version())
    parser.set_defaults(root=parser)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for package in (
        data, weights, runs, networks, looks, detector, serving, deblur, grids, tune, tables, tracking, bench,
        completion,
    ):  # fmt: skip
        package.add(commands)
    return parser


def _version() -> str:
    from blurtrain import __version__

    return f"blurtrain {__version__}"
