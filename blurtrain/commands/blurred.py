"""`blurtrain data blur`."""

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from blurtrain.commands.options import command


def _blur(options: argparse.Namespace) -> int:
    from blurtrain.data.preparation.blurred import Drawing, draw_blurred

    drawing = Drawing(each=options.each, val=options.val, seed=options.seed)
    files = draw_blurred(options.folders, options.out, drawing)
    counts = Counter(file.parts[-3] for file in files)
    print(f"{options.out}: {', '.join(f'{n} {split}' for split, n in sorted(counts.items()))}, of four classes each")
    return 0


def add(data: Any) -> None:
    """Tell the parser of it."""
    p = command(data, "blur", _blur, "make photos of the four blur types from sharp photos: docs/detector.md")
    p.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER",
        help="sharp photos; masks of their subjects lie in figure_ground, SegmentationClass or masks beside them",
    )  # fmt: skip
    p.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder to write, which is new")
    p.add_argument("--each", type=int, default=1, metavar="N", help="photos of each class from each sharp photo (1)")
    p.add_argument("--val", type=float, default=0.15, help="share of the scenes that are for validation (0.15)")
    p.add_argument("--seed", type=int, default=0, help="of all that is drawn (0)")
