"""A network as a file for other programs: ONNX, or torch.export; published once it gives what the network does."""

import importlib.util
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import blurtrain
from blurtrain.data.image_files import image_files
from blurtrain.errors import BlurtrainError, DataError
from blurtrain.files import publish, write_json
from blurtrain.models.prediction import read
from blurtrain.models.trained import TrainedNetwork, alone, describe

TOLERANCE = 1e-4
"""Largest difference of a logit, of those of the same batch in the order of one."""


def export(network: TrainedNetwork, out: Path, images: Tensor | None = None) -> dict[str, Any]:
    """Write `out` (.onnx or .pt2), from normalised images [N, 3, S, S] of any N to logits, and beside it `out`.json
    with class names, preprocessing, and how it was verified, which is also returned.

    Verified on `images` (uint8 [N, 3, S, S], resized), or on random ones, in batches of another size than it was traced
    with. Raises DataError for another ending, BlurtrainError where onnx is not installed, or what is written would
    not give the network's logits.
    """
    if out.suffix not in (".onnx", ".pt2"):
        raise DataError(f"--out {out}: must end in .onnx or .pt2 (torch.export)")
    needed = ("onnx", "onnxscript", "onnxruntime") if out.suffix == ".onnx" else ()
    if lacking := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise BlurtrainError(f"{out}: ONNX needs {', '.join(lacking)}: pip install 'blurtrain[export]'")
    module, side = alone(network), network.preprocessing.crop
    given = torch.randint(0, 256, (5, 3, side, side), generator=torch.Generator().manual_seed(0)).byte()
    shown = network.preprocessing.normalised((given if images is None else images).cpu())
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".exporting-") as folder:
        file = Path(folder) / out.name
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporters: of their own future, and of constants
            expected = module(shown)
            found = (_onnx if out.suffix == ".onnx" else _pt2)(module, shown, file)
        scale = max(1.0, float(expected.abs().max()))
        difference = float(np.abs(found - expected.numpy()).max()) if found.shape == expected.shape else np.inf
        if not difference <= TOLERANCE * scale:
            raise BlurtrainError(f"{out}: is not written: its logits differ from the network's by {difference:g}")
        publish(out, file.read_bytes())
    about = {
        **describe(network),
        "input": ["N", 3, side, side],
        "output": ["N", len(network.classes)],
        "verified": {"images": len(shown), "real": images is not None, "largest_difference": difference},
        "versions": {"blurtrain": blurtrain.__version__, "torch": torch.__version__},
    }
    write_json(out.with_name(f"{out.name}.json"), about)
    return about


def sample(network: TrainedNetwork, folder: Path) -> Tensor:
    """Up to eight images of a folder, as `export` takes them; raises DataError where none can be read."""
    found = [read(folder / path, network.preprocessing) for path in image_files(folder)[:8]]
    readable = [torch.from_numpy(image) for image in found if not isinstance(image, str)]
    if not readable:
        raise DataError(f"{folder}: none of its first {len(found)} images can be read: {found[0]}")
    return torch.stack(readable).permute(0, 3, 1, 2)


def _traced(module: nn.Module, shown: Tensor) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1)
    # Traced with two images, for torch takes a dimension of one for a constant.
    return torch.export.export(module, (shown[:1].repeat(2, 1, 1, 1),), dynamic_shapes=({0: batch},))


def _pt2(module: nn.Module, shown: Tensor, file: Path) -> "np.ndarray[Any, Any]":
    """Write the file; the logits that it gives once read again."""
    torch.export.save(_traced(module, shown), file)
    return np.asarray(torch.export.load(file).module()(shown))


def _onnx(module: nn.Module, shown: Tensor, file: Path) -> "np.ndarray[Any, Any]":
    """As `_pt2`, by ONNX Runtime."""
    import onnxruntime

    torch.onnx.export(
        _traced(module, shown), (), file, dynamo=True, external_data=False, verbose=False,
        input_names=["images"], output_names=["logits"],
    )  # fmt: skip
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: shown.numpy()})[0])
