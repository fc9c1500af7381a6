"""Run by the tests, alone or under torchrun: trains a settings file and notes what the network was shown.

python record_images.py SETTINGS RUNS OUT    writes OUT/<rank>.json: {"epoch/sample index": hash of the pixels}
"""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from blurtrain.data.augment import Transform
from blurtrain.settings import load_resolved
from blurtrain.training.train import train

settings, runs, out = sys.argv[1:]
seen: dict[str, str] = {}
original = Transform.train


def recording(self: Transform, images: Tensor, indices: np.ndarray, epoch: int, *more: Any) -> Tensor:
    shown = original(self, images, indices, epoch, *more)
    for index, image in zip(indices.tolist(), shown, strict=True):
        seen[f"{epoch}/{index}"] = hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest()
    return shown


Transform.train = recording  # type: ignore[method-assign]
train(load_resolved(Path(settings)), Path(runs))
(Path(out) / f"{os.environ.get('RANK', '0')}.json").write_text(json.dumps(seen))
