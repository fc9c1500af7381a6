"""What the fused kernel makes of small images in Triton's interpreter, which a process has to be started with, or what
the compiler makes of it for a GPU that is not there: `python fused_runs.py interpreted OUT.npz`, `compiled CASE ...`;
`measured` is its bench.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from blurtrain.bench.fused import bench_fused
from blurtrain.blur import fused, product
from blurtrain.blur.assignment import Assignment
from blurtrain.blur.fused import Tiling, normalised_crop_blur
from blurtrain.data import augment
from blurtrain.data.augment import Transform
from blurtrain.settings import Augmentation, BlurUnits

MEAN, SD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SMALL = Tiling(16, 16, 16, 16, 4)


@dataclass(frozen=True)
class Case:
    """Images of `source` pixels, crops (top, left, height, width, flip) and sigmas of them, to `size`."""

    source: tuple[int, int]
    size: tuple[int, int]
    crops: tuple[tuple[int, int, int, int, bool], ...]
    sigmas: tuple[float, ...]
    interpolation: str = "bicubic"
    truncate: float = 4.0
    channels_last: bool = True
    tiling: Tiling | None = None
    """None: what is taken on a GPU."""
    arithmetic: tuple[str, ...] = tuple(DTYPES)

    @property
    def images(self) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (len(self.crops), *self.source, 3), generator=generator, dtype=torch.uint8)
        images = pixels.permute(0, 3, 1, 2)
        return images if self.channels_last else images.contiguous()

    def result(self, dtype: torch.dtype) -> Tensor:
        *places, flip = (torch.tensor(column) for column in zip(*self.crops, strict=True))
        options = {"interpolation": self.interpolation, "truncate": self.truncate, "mean": MEAN, "sd": SD}
        sigmas = torch.tensor(self.sigmas, dtype=torch.float64)
        return normalised_crop_blur(
            self.images, *places, self.size, flip, sigmas, **options, dtype=dtype, tiling=self.tiling
        )


WHOLE = (0, 0, 18, 21, False)
CASES = {
    "borders": Case((18, 21), (18, 21), (WHOLE,) * 3, (0, 1.5, 3.0), tiling=SMALL),
    "kernels wider than the image": Case((18, 21), (16, 19), (WHOLE,) * 3, (8.0, 30.0, 90.0)),
    "crops at the edge": Case(
        (24, 31), (9, 11),
        ((0, 0, 14, 20, False), (10, 11, 14, 20, False), (0, 30, 24, 1, False), (22, 0, 2, 31, True)),
        (0, 1.0, 4.0, 2.0),
    ),
    "between crops": Case((24, 31), (18, 19), ((3, 7, 11, 9, True),), (3.0,), tiling=SMALL),
    "flips": Case((30, 45), (15, 18), ((2, 3, 27, 40, True), (2, 3, 27, 40, False)), (0.0, 5.0), tiling=SMALL),
    "many sigmas": Case((24, 24), (20, 20), ((1, 2, 22, 20, True),) * 3, (0.4, 2, 12)),
    "bilinear, channels apart": Case(
        (35, 20), (19, 33), ((4, 0, 31, 20, True), (0, 3, 8, 10, False)), (3.0, 0.0), "bilinear", channels_last=False
    ),
    "truncated": Case((30, 30), (28, 28), ((1, 1, 29, 28, False),), (3.0,), truncate=2.0, arithmetic=("float32",)),
    "edges of bands": Case(
        (3, 131), (2, 118), ((0, 0, 3, 131, False),), (3.0,), truncate=1.0, tiling=SMALL, arithmetic=("float32",)
    ),
    "one pixel": Case((9, 9), (1, 1), ((1, 1, 7, 5, True),), (2.0,), arithmetic=("float32",)),
    "tiles beyond the image": Case((70, 150), (66, 130), ((0, 0, 70, 150, True),), (8.0,), arithmetic=("bfloat16",)),
}  # fmt: skip


def interpreted() -> dict[str, Tensor]:
    found = {
        f"{name}, {arithmetic}": case.result(DTYPES[arithmetic])
        for name, case in CASES.items()
        for arithmetic in case.arithmetic
    }
    many = CASES["many sigmas"]
    with mock.patch.dict(product.WORKSPACE, cpu=1):  # an image at a time
        found["one by one"] = many.result(torch.bfloat16)
    with mock.patch.object(Case, "images", torch.full((3, 3, 24, 24), 201, dtype=torch.uint8)):
        found |= {f"constant, {name}": many.result(dtype) for name, dtype in DTYPES.items()}
    plain = Transform(Augmentation(colour=0), 26, MEAN, SD, BlurUnits(reference_resolution=26), 5)
    images, indices = Case((30, 30), (26, 26), ((0, 0, 30, 30, False),) * 2, ()).images, np.arange(2)
    chosen, sigmas = replace(plain, crop_and_blur="fused"), Assignment.gaussian(np.array([1.0, 5.0]))
    # On a processor images may be treated one by one, which is not what a GPU does.
    wrapped = mock.patch.object(fused, "normalised_crop_blur", wraps=normalised_crop_blur)
    with mock.patch.object(augment, "by_image", lambda _: False), wrapped as used:
        found["transform, plain"] = plain.train(images, indices, 0, sigmas)
        assert not used.called
        found["transform, fused"] = chosen.train(images, indices, 0, sigmas)
        assert used.call_count == 1
        found["transform of one sigma, fused"] = chosen.train(images, indices, 0, Assignment.gaussian(np.full(2, 2.0)))
        coloured = replace(chosen, augmentation=Augmentation(colour=0.5))
        assert coloured.train(images, indices, 0, sigmas).shape == images[..., :26, :26].shape
        assert used.call_count == 2
    found["transform of one sigma, plain"] = plain.train(images, indices, 0, Assignment.gaussian(np.full(2, 2.0)))
    return found


# --- compiled for a GPU ---------------------------------------------------------------------------------------------

_POINTERS = {"images": "u8", "geometry": "i32", "bands": "i32", "row_bands": "i32", "column_bands": "i32"}
_FACTORS, _FLOATS = ("rows", "columns", "matrices"), ("gaussians", "inverse_sums", "scales", "row_scales",
                                                      "column_scales")  # fmt: skip


def compiled(
    kernel: str, capability: int, dtype: str, tiling: Tiling, channels_last: bool = True, ones: Sequence[str] = ()
) -> dict[str, Any]:
    """Registers, bytes of stack (that is, spilled registers) and of shared memory, and which products the code has.

    ones: integers that are 1, for which Triton makes a kernel of its own."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from blurtrain.blur import fused_kernels

    function, work = getattr(fused_kernels, kernel), DTYPES[dtype]
    short = {torch.float16: "fp16", torch.float32: "fp32", torch.bfloat16: "bf16"}
    constants: dict[str, Any] = {"AXIS": 1, "SUPPORT": 2, "BLOCK": 64, "TILE": tiling.width}
    constants |= {"TILE_H": tiling.height, "TILE_W": tiling.width, "BLOCK_H": tiling.rows, "BLOCK_W": tiling.columns}
    constants |= {"channel_stride": 1} if channels_last else {"column_stride": 1}
    constants |= dict.fromkeys(ones, 1)
    constants = {name: value for name, value in constants.items() if name in function.arg_names}
    types = dict.fromkeys(_FLOATS, "*fp32") | dict.fromkeys(_FACTORS, "*" + short[fused.FACTOR[work]])
    types |= {name: "*" + of for name, of in _POINTERS.items()} | {"out": "*" + short[work]}
    signature = {}
    for name in function.arg_names:
        number = "fp32" if name.startswith(("factor_", "shift_")) else "i32"
        signature[name] = "constexpr" if name in constants else types.get(name, number)
    aligned = [
        name for name in function.arg_names if name in types or "pitch" in name or name in ("row_stride", "size_w")
    ]
    aligned = [name for name in aligned if name not in constants]
    attributes = {(function.arg_names.index(name),): [["tt.divisibility", 16]] for name in aligned}
    places = {(function.arg_names.index(name),): value for name, value in constants.items()}
    warps = {"tables": 4, "operators": fused.OPERATOR_WARPS, "product": tiling.warps}
    options: dict[str, Any] = {"num_warps": warps[kernel], "enable_fp_fusion": True}
    if kernel == "product" and tiling.registers:
        options["maxnreg"] = tiling.registers
    source = ASTSource(function, signature, constexprs=places, attrs=attributes)
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    reader = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as binary:
        Path(binary.name).write_bytes(made.asm["cubin"])
        usage = subprocess.run([str(reader), "-res-usage", binary.name], capture_output=True, text=True, check=True)
    registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", usage.stdout).groups()  # type: ignore[union-attr]
    code = made.asm["ptx"]
    products = [name for name in ("wgmma.mma_async", "mma.sync", "tf32", "fma.rn.f32") if name in code]
    return {"registers": int(registers), "stack": int(stack), "shared": made.metadata.shared, "products": products}


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)  # torch.empty gives NaN, so that what is read has to have been written
    if sys.argv[1] == "measured":
        print(json.dumps(list(bench_fused(torch.device("cpu"), batch=2, size=14, repeats=1))))
    elif sys.argv[1] == "interpreted":
        np.savez(sys.argv[2], **{name: value.float().numpy() for name, value in interpreted().items()})
    else:
        for case in sys.argv[2:]:
            given = json.loads(case)
            print(json.dumps(compiled(**given | {"tiling": Tiling(**given["tiling"])})))
