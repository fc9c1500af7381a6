"""`blurtrain bench kernels`: what another kernel for each image adds to the data path, and what OpenCV's would.

All on one batch of stored images in memory, on a processor, turn by turn: crop, flip and normalisation alone, the same
with our blur, and the same with OpenCV's filter2D in its place. A network's step on the batch says what share it is.
"""

import importlib.util
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from blurtrain.bench import times
from blurtrain.bench.blur import noise
from blurtrain.blur.assignment import Assignment
from blurtrain.blur.blurs import Blur, KernelBlur
from blurtrain.blur.cores import image_by_image
from blurtrain.blur.resampling import resampled
from blurtrain.data.augment import Transform
from blurtrain.device import cores
from blurtrain.errors import BlurtrainError
from blurtrain.settings import Augmentation, BlurUnits

LABELS = ("disk-2", "disk-4", "disk-6", "disk-8", "disk-12", "disk-20", "shake", "disk-8@384", "shake@384")
NETWORK = "mobilenetv2_100"  # of timm

CPU = torch.device("cpu")


class _Filter2D(KernelBlur):
    """A blur by OpenCV, in the form in which it takes least: float32, one channel after the other."""

    of: Blur

    def blur_one(self, image: Tensor, index: int, out: Tensor, normal: Any = None, **draws: Any) -> None:
        import cv2

        kernel = _correlated(self.of, index, draws["resolution"])
        for channel, result in zip(image.numpy(), out.numpy(), strict=True):
            cv2.filter2D(channel, -1, kernel, dst=result, borderType=cv2.BORDER_REFLECT_101)
        out.sub_(normal[0]).mul_(normal[1])


def _correlated(blur: Blur, index: int, resolution: int) -> NDArray[np.float32]:
    """The kernel of an image, as filter2D takes it."""
    assert isinstance(blur, KernelBlur)
    kernel = resampled(blur.point_spread(index, training=True), resolution / blur.at)
    return np.ascontiguousarray(kernel[::-1, ::-1], dtype=np.float32)


def bench_kernels(
    batch: int = 32,
    resolution: int = 224,
    repeats: int = 9,
    labels: Sequence[str] = LABELS,
    report: Callable[[str], object] = lambda _: None,
) -> list[dict[str, Any]]:
    """Rows of {blur, adds_ms, opencv_adds_ms, opencv_float32_ms, opencv_8bit_ms, of_opencv, path_ms, step_ms, share}.

    Milliseconds an image. `adds_ms`, `opencv_adds_ms`: to the data path, which takes `path_ms` without blur;
    `opencv_float32_ms`, `opencv_8bit_ms`: filter2D by itself on cropped images (channels last), as many at a time as
    there are cores; `of_opencv`: what ours adds as a share of what OpenCV's does. `share`: of the time of a network's
    training step (None where timm is not installed). Raises BlurtrainError where OpenCV is not installed.
    """
    if importlib.util.find_spec("cv2") is None:
        raise BlurtrainError("bench kernels: OpenCV is not installed; pip install opencv-python")
    step = _step(batch, resolution)  # imports torchvision, which must be before OpenCV
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(len(cores()))
    stored = noise(batch, round(resolution * 8 / 7), CPU).contiguous(memory_format=torch.channels_last)
    transform = Transform(Augmentation(colour=0.0), resolution, (0.5,) * 3, (0.25,) * 3, BlurUnits(), 0)
    indices = np.arange(batch)
    cropped = transform.resized(stored)
    floats = list(cropped.permute(0, 2, 3, 1).contiguous().numpy())
    bytes_ = list(cropped.permute(0, 2, 3, 1).to(torch.uint8).contiguous().numpy())

    def path(blur: Blur | None) -> Tensor:
        assignment = None if blur is None else Assignment.of((blur,), np.zeros(batch, np.int64))
        return transform.train(stored, indices, 0, assignment)

    def alone(images: list[NDArray[Any]], kernels: list[NDArray[np.float32]]) -> None:
        border = cv2.BORDER_REFLECT_101
        image_by_image(lambda k: cv2.filter2D(images[k], -1, kernels[k], borderType=border), batch)

    rows: list[dict[str, Any]] = []
    for label in labels:
        report(label)
        blur = Blur.parse(label)
        kernels = [_correlated(blur, int(index), resolution) for index in indices]
        functions: dict[str, Callable[[], object]] = {
            "path": partial(path, None),
            "adds": partial(path, blur),
            "opencv_adds": partial(path, _Filter2D(kernel="filter2d", of=blur)),
            "opencv_float32": partial(alone, floats, kernels),
            "opencv_8bit": partial(alone, bytes_, kernels),
        }
        rows.append({"blur": label, **_per_image(times(functions, CPU, repeats), batch)})
    report(NETWORK)
    taken = None if step is None else statistics.median(times({"step": step}, CPU, 3, enough=30)["step"]) / batch
    share = {"step_ms": None if taken is None else round(taken, 2)}
    for row in rows:
        row |= {**share, "share": None if taken is None else round(row["adds_ms"] / taken, 4)}
    return rows


def _per_image(taken: Mapping[str, list[float]], batch: int) -> dict[str, float]:
    def median(name: str) -> float:
        """Of the differences in each round, where it is what is added."""
        less = taken["path"] if name.endswith("adds") else [0.0] * len(taken[name])
        return statistics.median(a - b for a, b in zip(taken[name], less, strict=False)) / batch

    found = {f"{name}_ms": round(median(name), 4) for name in taken}
    found["of_opencv"] = round(median("adds") / median("opencv_adds"), 2)
    return found


def _step(batch: int, resolution: int) -> Callable[[], object] | None:
    """A training step of NETWORK by SGD in float32, on one batch."""
    from blurtrain.models import torchvision_ops  # noqa: F401  (before torchvision)

    if importlib.util.find_spec("timm") is None:
        return None
    import timm

    network = timm.create_model(NETWORK, pretrained=False).train()
    optimiser = torch.optim.SGD(network.parameters(), 1e-3, momentum=0.9)
    images, labels = noise(batch, resolution, CPU).float().div(255), torch.arange(batch)

    def step() -> None:
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimiser.step()

    return step


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text."""
    lines = [
        "milliseconds an image",
        f"{'blur':12} {'path':>6} {'adds':>7}   OpenCV: {'adds':>7} {'float32':>8} {'8-bit':>7}   {'ours of it':>10} "
        f"{'of a step':>10}",
    ]
    for row in rows:
        share = "" if row["share"] is None else f"{100 * row['share']:.1f} %"
        lines.append(
            f"{row['blur']:12} {row['path_ms']:6.2f} {row['adds_ms']:7.3f}           {row['opencv_adds_ms']:7.3f} "
            f"{row['opencv_float32_ms']:8.3f} {row['opencv_8bit_ms']:7.3f}   {row['of_opencv']:10.2f} {share:>10}"
        )
    if rows and rows[0]["step_ms"] is not None:
        lines.append(f"A training step of {NETWORK}: {rows[0]['step_ms']:.1f} ms an image.")
    return "\n".join(lines)
