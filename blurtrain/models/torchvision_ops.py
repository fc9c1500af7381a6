"""Import this before torchvision.

The package index's torchvision is compiled against a CUDA build of torch. Beside a CPU build its C extension does not
load, and `import torchvision` fails as it registers Python code for two operators that the extension should have
declared. Declaring them here is enough for models, transforms and timm; `torchvision.ops.nms` itself stays unusable.
"""

import importlib.util
import sys
from pathlib import Path

import torch

_library: torch.library.Library | None = None


def _extension_loads() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True  # let `import torchvision` say what is wrong
    try:
        for extension in Path(spec.origin).parent.glob("_C*.so"):
            torch.ops.load_library(str(extension))
    except OSError:
        return False
    return True


if "torchvision" not in sys.modules and not _extension_loads():
    _library = torch.library.Library("torchvision", "DEF")
    _library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
