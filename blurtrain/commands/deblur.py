"""`blurtrain deblur ...`: what methods of deblurring are given. `evaluate --deblur` applies them."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from blurtrain.commands.options import command, group, json_option
from blurtrain.errors import SettingsError


def _learn_patches(options: argparse.Namespace) -> int:
    import torch

    from blurtrain.data.photo_patches import photo_patches
    from blurtrain.deblurring.mixture import SIDE, learn, save_mixture
    from blurtrain.device import cores
    from blurtrain.files import sha256_of

    for name in ("components", "patches", "iterations", "side"):
        if getattr(options, name) < 1:
            raise SettingsError(f"deblur learn-patches: --{name} must be at least 1, not {getattr(options, name)}")
    torch.set_num_threads(len(cores()))
    patches, about = photo_patches(options.photos, options.patches, SIDE, options.side, options.seed)
    about |= {"components": options.components, "iterations": options.iterations}

    def report(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    mixture = learn(patches, options.components, options.iterations, about, options.seed, report)
    save_mixture(mixture, options.out)
    found = {"file": str(options.out), "sha256": sha256_of(options.out), **about}
    print(json.dumps(found) if options.json else f"{options.out}\n  sha256 {found['sha256']}")
    return 0


def add(commands: Any) -> None:
    """Add these commands to the parser."""
    deblur = group(commands, "deblur", "what methods of deblurring are given; `evaluate --deblur` applies them")
    text = "learn what patches of sharp photographs look like, for --deblur 'patch-prior file=FILE title=NAME'"
    p = command(deblur, "learn-patches", _learn_patches, text)
    p.add_argument("photos", type=Path, metavar="PHOTOS", help="folder of sharp photographs, none of those tested on")
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write (safetensors)")
    p.add_argument("--components", type=int, default=64, help="Gaussians of the mixture (64)")
    p.add_argument("--patches", type=int, default=100_000, help="patches of 8 x 8 pixels to learn from (100000)")
    p.add_argument("--iterations", type=int, default=30, help="steps of expectation-maximisation (30)")
    p.add_argument("--side", type=int, default=384, help="larger photographs are shrunk to this smaller side (384)")
    p.add_argument("--seed", type=int, default=0, help="of what is drawn (0)")
    json_option(p)
