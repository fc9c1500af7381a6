"""Published weights: put them where runs find them, and see which are there."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from blurtrain.commands.options import command, group, json_option

if TYPE_CHECKING:
    from blurtrain.models.records import Record


def _fetch(options: argparse.Namespace) -> int:
    from blurtrain.files import sha256_of
    from blurtrain.models.fetch import fetch
    from blurtrain.models.records import record_of

    rows = []
    for record in [record_of(name) for name in options.names]:  # a name that is wrong is known before any download
        path = fetch(record)
        rows.append(_row(record) | {"sha256": sha256_of(path)})
        if not options.json:
            print(f"{rows[-1]['name']}: {rows[-1]['file']}\n  sha256 {rows[-1]['sha256']}", flush=True)
    if options.json:
        print(json.dumps(rows, indent=1))
    return 0


def _list(options: argparse.Namespace) -> int:
    from blurtrain.models.records import records_in_cache

    rows = [_row(record) for record in records_in_cache()]
    if options.json:
        print(json.dumps(rows, indent=1))
    for row in [] if options.json else rows:
        print(f"{row['name']:40} {row['mb']:8.1f} MB  {row['file']}")
    return 0


def _row(record: "Record") -> dict[str, Any]:
    path = record.cached()
    said = record.preprocessing
    return {"name": record.name, "file": str(path), "mb": round(path.stat().st_size / 1e6, 1), **said}


def add(commands: Any) -> None:
    """Add these commands to the parser."""
    commands = group(commands, "weights", "published weights of torchvision and timm, in their caches")
    p = command(commands, "fetch", _fetch, "download weights, verify them, and print where they lie and their SHA-256")
    p.add_argument("names", nargs="+", metavar="NAME", help="torchvision/NAME[.WEIGHTS] or timm/NAME[.TAG]")
    json_option(p)
    p = command(commands, "list", _list, "show the published weights that are on this machine")
    json_option(p)
