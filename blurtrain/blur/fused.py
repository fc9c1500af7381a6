"""Crop, antialiased resize, flip, blur and normalisation of 8-bit images in one go, by kernels of Triton on a GPU.

As `blurtrain.blur.operators` has it: one operator per image and axis, out = R X C^T. There the operators are whole
matrices, made by some fifty kernels and kept in memory, and so is what the first product leaves. Here
`blurtrain.blur.fused_kernels` makes of each operator only the band that is not zero, and multiplies tile by tile: what
is between the two products stays on the chip, pixels are read as 8 bits, and the normalised result is written once.

Against float64: at most 1e-3 of 255 in float32; in bfloat16 at most 1 of 255 from sigma 3 up and 2 below, with
constants preserved as far as bfloat16 has them. The same bits each time: tiles are fixed, and sums have one order.
"""

import functools
import importlib.util
import os
import shutil
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from blurtrain.blur.axis import check_crops, check_sigmas
from blurtrain.blur.operators import Sigma, checked_sigma
from blurtrain.blur.product import workspace

LARGEST_SIDE = 8192
"""Pixels a side: twice its square has to fit into 32 bits."""
_BLOCK = 64  # pixels of an operator that are made at a time; bands are multiples of it
OPERATOR_WARPS = 8
"""Of a program that makes a tile of an operator; with fewer its threads would need more registers than there are."""
_SUPPORT = {"bilinear": 1, "bicubic": 2}


@dataclass(frozen=True)
class Tiling:
    """How the product is cut up: rows and columns of the result that one program computes, rows and columns of the
    image that it takes at a time (powers of two from 16 on, of the image up to 64), its warps, and the registers that
    each of its threads may use (None: as many as the compiler likes)."""

    height: int
    width: int
    rows: int
    columns: int
    warps: int
    registers: int | None = None


FACTOR = {torch.bfloat16: torch.float16, torch.float32: torch.float32}
"""What is multiplied, by arithmetic. float16 is as fast as bfloat16, has eight times its resolution, and nothing here
leaves its range."""


def tiling_of(arithmetic: torch.dtype, capability: tuple[int, int]) -> Tiling:
    """The tiling on a GPU of such a compute capability: of 9.0 the fastest at sigma 8 on an H200; of others, and in
    float32, by what the compiler says of registers and shared memory. `make gpu` times others beside it (TILINGS)."""
    if arithmetic == torch.float32:
        return Tiling(32, 32, 16, 32, 4)
    return Tiling(64, 64, 16 if capability >= (9, 0) else 32, 32, 8)


TILINGS = (
    Tiling(64, 64, 16, 32, 8),
    Tiling(64, 64, 32, 32, 8, 128),
    Tiling(64, 64, 32, 32, 4),
    Tiling(64, 64, 32, 64, 8),
    Tiling(64, 128, 32, 32, 16),
    Tiling(64, 128, 16, 32, 8),
    Tiling(32, 128, 32, 32, 8),
    Tiling(128, 64, 32, 32, 8),
)
"""To be timed in bfloat16 on a GPU; none spills registers on one of compute capability 9.0."""


def unavailable(device: torch.device, arithmetic: torch.dtype) -> str | None:
    """Why the fused kernel cannot be had for images on `device`; None if it can."""
    if arithmetic not in FACTOR:
        return f"it has no {str(arithmetic).removeprefix('torch.')} arithmetic"
    if importlib.util.find_spec("triton") is None:
        return "it needs the package triton, which CUDA builds of torch bring along"
    if interpreted():
        return None
    if device.type != "cuda" or torch.version.cuda is None:
        return f"it needs a GPU with CUDA, and images are on the device {device.type}"
    if capability(device) < (8, 0):
        return "it needs a GPU of compute capability 8.0 or newer"
    return _without_compiler()


@functools.cache
def _without_compiler() -> str | None:
    """What Triton lacks for the few lines of C by which it launches kernels."""
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "Triton needs a C compiler (gcc or clang, or CC)"
    if not Path(sysconfig.get_paths()["include"], "Python.h").exists():
        return "Triton needs Python.h, which a package such as python3-dev brings"
    return None


def capability(device: torch.device) -> tuple[int, int]:
    """The compute capability of a GPU; of a processor (0, 0)."""
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else (0, 0)


def interpreted() -> bool:
    """Whether Triton interprets its kernels, on any device: for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def normalised_crop_blur(
    images: Tensor,
    top: Tensor,
    left: Tensor,
    height: Tensor,
    width: Tensor,
    size: int | tuple[int, int],
    flip: Tensor | None = None,
    sigma: Sigma = 0.0,
    interpolation: str = "bicubic",
    truncate: float = 4.0,
    *,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    sd: Sequence[float] = (1 / 255, 1 / 255, 1 / 255),
    dtype: torch.dtype = torch.float32,
    tiling: Tiling | None = None,
) -> Tensor:
    """`resized_crop_blur` of uint8 images [N, 3, H, W], and (pixel / 255 - mean) / sd of what it gives.

    top, left, height, width (pixels, integer), flip (bool): tensors [N] in main memory, so that nothing waits for the
    device; sigma: pixels of the result, a number or [N]. mean, sd: of each channel, of pixels in 0..1; by default
    pixels stay in 0..255. dtype: of arithmetic and result, float32 or bfloat16. Returns [N, 3, *size], not
    differentiable. Raises ValueError for images of another kind, crops outside of them, a bad sigma, and where the
    kernel cannot be had (`unavailable`).
    """
    if reason := unavailable(images.device, dtype):
        raise ValueError(f"the fused kernel cannot be had: {reason}")
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape:
        raise ValueError(f"images must be uint8 [N, 3, H, W], not {images.dtype} {list(images.shape)}")
    if interpolation not in _SUPPORT:
        raise ValueError(f"interpolation must be {' or '.join(_SUPPORT)}, not {interpolation!r}")
    sides = (size, size) if isinstance(size, int) else size
    if max(*images.shape[2:], *sides) > LARGEST_SIDE or min(sides) < 1:
        raise ValueError(f"sides must be of 1 to {LARGEST_SIDE} pixels, not {list(images.shape[2:])} to {list(sides)}")
    for start, length, side in zip((top, left), (height, width), images.shape[2:], strict=True):
        check_crops(start, length, side)
    flip = torch.zeros_like(top, dtype=torch.bool) if flip is None else flip
    geometry = _geometry(len(images), (top, left, height, width, flip), checked_sigma(images, sigma), truncate)
    out = torch.empty(len(images), 3, *sides, dtype=dtype, device=images.device)
    tiling = tiling or tiling_of(dtype, capability(images.device))
    operators = zip(images.shape[2:], sides, (tiling.height, tiling.width), strict=True)
    weights = sum(_pitch(side) * _tiles(size, tile) * tile for side, size, tile in operators)
    step = max(1, workspace(images.device) // (weights * FACTOR[dtype].itemsize))
    normal = [1 / (255 * s) for s in sd] + [(128 - 255 * m) / (255 * s) for m, s in zip(mean, sd, strict=True)]
    with torch.cuda.device_of(images):
        for first in range(0, len(images), step):
            part = slice(first, first + step)
            _launch(images[part], geometry[part], out[part], normal, _SUPPORT[interpolation], tiling)
    return out


def _geometry(n: int, places: Sequence[Tensor], sigma: float | Tensor, truncate: float) -> Tensor:
    """One row an image, as the kernels read it; see `fused_kernels.GEOMETRY`."""
    sigmas = torch.as_tensor(sigma, dtype=torch.float64).cpu().expand(n)
    check_sigmas(sigmas, truncate)
    radius = torch.floor(truncate * sigmas + 0.5)  # SciPy's convention, see kernels.gaussian_radius
    rows = [*places, radius, sigmas.float().view(torch.int32)]
    return torch.stack([row.to(torch.int32).expand(n) for row in rows], 1)


def _launch(
    images: Tensor, geometry: Tensor, out: Tensor, normal: Sequence[float], support: int, tiling: Tiling
) -> None:
    from blurtrain.blur import fused_kernels

    n, device, factor = len(images), images.device, FACTOR[out.dtype]
    geometry = geometry.to(device, non_blocking=True)
    made, tiles, pitches = [], [], []
    for axis, (side, size, tile) in enumerate(
        zip(images.shape[2:], out.shape[2:], (tiling.height, tiling.width), strict=True)
    ):
        count, pitch, gaussian_pitch = _tiles(size, tile), _pitch(side), 2 * size
        gaussians = torch.empty(n, gaussian_pitch, device=device)
        inverse_sums = torch.empty(n, size, device=device)
        matrices = torch.empty(n, count * tile, pitch, dtype=factor, device=device)
        bands = torch.empty(n, count, 2, dtype=torch.int32, device=device)
        scales = torch.empty(n, count * tile, device=device)
        fused_kernels.tables[(n,)](
            geometry, gaussians, inverse_sums, size, gaussian_pitch, size,
            AXIS=axis, SUPPORT=support, BLOCK=256, enable_fp_fusion=True,
        )  # fmt: skip
        fused_kernels.operators[(n * count,)](
            geometry, gaussians, inverse_sums, matrices, bands, scales, size, count, gaussian_pitch, size, pitch,
            AXIS=axis, SUPPORT=support, TILE=tile, BLOCK=_BLOCK, num_warps=OPERATOR_WARPS, enable_fp_fusion=True,
        )  # fmt: skip
        made.append((matrices, bands, scales))
        tiles.append(count)
        pitches.append(pitch)
    limit = {} if tiling.registers is None else {"maxnreg": tiling.registers}
    (rows, row_bands, row_scales), (columns, column_bands, column_scales) = made
    fused_kernels.product[(n * tiles[0] * tiles[1],)](
        images, rows, columns, row_bands, column_bands, row_scales, column_scales, out,
        *normal, *images.stride(), *images.shape[2:], *out.shape[2:], *tiles, *pitches,
        TILE_H=tiling.height, TILE_W=tiling.width, BLOCK_H=tiling.rows, BLOCK_W=tiling.columns,
        num_warps=tiling.warps, enable_fp_fusion=True, **limit,
    )  # fmt: skip


def _tiles(size: int, tile: int) -> int:
    return -(-size // tile)


def _pitch(side: int) -> int:
    """Values from one row of an operator to the next: the last block of a band may reach beyond the image."""
    return -(-side // 16) * 16 + _BLOCK
