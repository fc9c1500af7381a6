"""A network as a file for other programs: ONNX, or torch.export; published once it gives what the network does."""

import hashlib
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
"""Largest difference of a logit, of those of the same images in the order of one, and of a probability."""
OPSET = 18
"""Of ONNX."""
SAMPLE = 200
"""Images of a folder that an export is verified on."""
BATCH = 32


def export(network: TrainedNetwork, out: Path, images: Tensor | None = None) -> dict[str, Any]:
    """Write `out` (.onnx or .pt2), from normalised images [N, 3, S, S] of any N to logits, and beside it `out`.json
    with class names, preprocessing, calibration, and how it was verified, which is also returned; beside ONNX also
    class_names.json, a list in the order of the logits.

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
            expected = torch.cat([module(batch) for batch in shown.split(BATCH)])
            found = torch.from_numpy((_onnx if out.suffix == ".onnx" else _pt2)(module, shown, file))
        differences = [np.inf, np.inf]
        if found.shape == expected.shape:
            pairs = [(v, (v / network.temperature).softmax(1)) for v in (found, expected)]
            differences = [float((ours - theirs).abs().max()) for ours, theirs in zip(*pairs, strict=True)]
        scale = max(1.0, float(expected.abs().max()))
        if not (differences[0] <= TOLERANCE * scale and differences[1] <= TOLERANCE):
            raise BlurtrainError(
                f"{out}: is not written: its logits differ from the network's by {differences[0]:g}, its probabilities "
                f"by {differences[1]:g}"
            )
        content = file.read_bytes()
        publish(out, content)
    about = {
        **describe(network),
        "input": ["N", 3, side, side],
        "output": ["N", len(network.classes)],
        **({"opset": OPSET} if out.suffix == ".onnx" else {}),
        "sha256": hashlib.sha256(content).hexdigest(),
        "verified": {
            "images": len(shown),
            "real": images is not None,
            "largest_difference": differences[0],
            "largest_difference_of_a_probability": differences[1],
        },
        "versions": {"blurtrain": blurtrain.__version__, "torch": torch.__version__},
    }
    write_json(out.with_name(f"{out.name}.json"), about)
    if out.suffix == ".onnx":
        write_json(out.with_name("class_names.json"), list(network.classes))
    return about


def sample(network: TrainedNetwork, folder: Path) -> Tensor:
    """Up to SAMPLE images uint8 [n, 3, S, S], spread over a folder, as `export` takes them; raises DataError where none
    can be read."""
    paths = image_files(folder)
    count = min(SAMPLE, len(paths))
    chosen = [paths[k * len(paths) // count] for k in range(count)]
    found = [read(folder / path, network.preprocessing) for path in chosen]
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
    loaded = torch.export.load(file).module()
    return np.concatenate([loaded(batch) for batch in shown.split(BATCH)])


def _onnx(module: nn.Module, shown: Tensor, file: Path) -> "np.ndarray[Any, Any]":
    """As `_pt2`, by ONNX Runtime."""
    import onnxruntime

    torch.onnx.export(
        _traced(module, shown), (), file, dynamo=True, external_data=False, verbose=False,
        input_names=["images"], output_names=["logits"], opset_version=OPSET,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: batch.numpy()})[0] for batch in shown.split(BATCH)])
