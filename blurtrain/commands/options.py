"""What commands have in common on the command line."""

import argparse
import sys
from pathlib import Path
from typing import Any

from blurtrain.commands.parser import Parser


def group(commands: Any, name: str, text: str) -> Any:
    """Add a command that has commands itself; returns what these are added to."""
    return commands.add_parser(name, help=text, description=text).add_subparsers(metavar="COMMAND", required=True)


def command(commands: Any, name: str, function: Any, text: str) -> Parser:
    """Add a command that calls `function` with its options; returns its parser."""
    parser: Parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=function, parser=parser)
    return parser


def runs_option(parser: argparse.ArgumentParser) -> None:
    """Add `--runs`."""
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of run directories (default: runs)")


def data_option(parser: argparse.ArgumentParser, default: Path | None) -> None:
    """Add `--data`; default: None where the settings say it."""
    shown = default or "the settings' data.root, else data"
    parser.add_argument("--data", type=Path, default=default, help=f"folder of prepared datasets (default: {shown})")


def json_option(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def next_step(line: str) -> None:
    """On stderr, last of all: what to do now."""
    print(f"next: {line}", file=sys.stderr, flush=True)
