"""The fused kernel, in Triton's interpreter, against float64: torchvision's antialiased resize, SciPy's Gaussian.

The interpreter has to be asked for before Triton is imported, so all is computed in one process of its own."""

# ruff: noqa: I001  (torchvision_ops comes before torchvision)

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fused_runs import CASES, DTYPES, MEAN, SD, Case
from packaging.version import Version
from scipy import ndimage

from blurtrain.bench.fused import bench_fused
from blurtrain.blur.fused import TILINGS, Tiling, normalised_crop_blur, tiling_of, unavailable
from blurtrain.data.augment import Transform
from blurtrain.models import torchvision_ops  # noqa: F401  (before torchvision)
from blurtrain.settings import Augmentation, BlurUnits
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resized_crop

HAS_TRITON = importlib.util.find_spec("triton") is not None
TRITON = pytest.mark.skipif(not HAS_TRITON, reason="needs the package triton, which is for Linux (pip install triton)")
CPU = torch.device("cpu")


def run(*arguments: str, **environment: str) -> str:
    script = Path(__file__).with_name("fused_runs.py")
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            [sys.executable, str(script), *arguments], cwd=script.parents[2], capture_output=True, text=True,
            env={**os.environ, "TRITON_CACHE_DIR": cache, **environment},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def interpreter() -> None:
    if Version(importlib.metadata.version("triton")) < Version("3.7"):
        pytest.skip("the interpreter of Triton before 3.7 does not work with NumPy 2.4")


@pytest.fixture(scope="module")
def found(interpreter: None, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, np.ndarray]:
    out = tmp_path_factory.mktemp("fused") / "found.npz"
    run("interpreted", str(out), TRITON_INTERPRET="1")
    return dict(np.load(out))


def denormalised(values: np.ndarray) -> np.ndarray:
    """As pixels in 0..255."""
    sd, mean = (np.array(v)[:, None, None] for v in (SD, MEAN))
    return 255 * (values.astype(np.float64) * sd + mean)


def exact(case: Case) -> np.ndarray:
    mode, results = InterpolationMode(case.interpolation), []
    for image, crop, sigma in zip(case.images.double(), case.crops, case.sigmas, strict=True):
        shown = resized_crop(image[None], *crop[:4], list(case.size), mode, antialias=True)[0].numpy()
        shown = shown[:, :, ::-1] if crop[4] else shown
        results.append(ndimage.gaussian_filter(shown, (0, sigma, sigma), mode="mirror", truncate=case.truncate))
    return np.stack(results)


@TRITON
@pytest.mark.parametrize("name, arithmetic", [(name, a) for name, case in CASES.items() for a in case.arithmetic])
def test_the_operator_is_that_of_float64(found: Mapping[str, np.ndarray], name: str, arithmetic: str) -> None:
    case = CASES[name]
    error = np.abs(denormalised(found[f"{name}, {arithmetic}"]) - exact(case)).max((1, 2, 3))
    if arithmetic == "float32":
        assert error.max() < 1e-3
    else:
        assert (error < np.where(np.array(case.sigmas) < 3, 2, 1)).all()


@TRITON
@pytest.mark.parametrize("arithmetic", DTYPES)
def test_what_is_constant_stays_so(found: Mapping[str, np.ndarray], arithmetic: str) -> None:
    """The interpreter cuts digits off to get to bfloat16, where a GPU rounds to the nearest."""
    normal = torch.tensor((201 / 255 - np.array(MEAN)) / np.array(SD)).view(3, 1, 1)
    shown = torch.from_numpy(found[f"constant, {arithmetic}"])
    assert (shown == shown[:1, :, :1, :1]).all() if arithmetic == "bfloat16" else True
    assert (shown - normal).abs().max() < (1e-5 if arithmetic == "float32" else 2**-7)


@TRITON
def test_an_image_has_the_same_bits_in_every_batch(found: Mapping[str, np.ndarray]) -> None:
    assert np.array_equal(found["one by one"], found["many sigmas, bfloat16"])


@TRITON
@pytest.mark.parametrize("what", ["transform", "transform of one sigma"])
def test_the_transform_shows_what_the_plain_operators_show(found: Mapping[str, np.ndarray], what: str) -> None:
    """Where it is chosen and nothing stands between crop and blur, it is used (the process asserts it), else not."""
    shown, plain = (denormalised(found[f"{what}, {kind}"]) for kind in ("fused", "plain"))
    assert np.abs(shown - plain).max() < 1e-3
    assert not np.array_equal(shown, plain)


# --- what the compiler makes of it ------------------------------------------------------------------------------------


def compiled(*cases: dict[str, Any]) -> list[dict[str, Any]]:
    given = [json.dumps(case | {"tiling": asdict(case["tiling"])}) for case in cases]
    return [json.loads(line) for line in run("compiled", *given).splitlines()]


def product(capability: int, dtype: str = "bfloat16", **more: Any) -> dict[str, Any]:
    tiling = tiling_of(DTYPES[dtype], divmod(capability, 10))
    return {"kernel": "product", "capability": capability, "dtype": dtype, "tiling": tiling, **more}


@TRITON
def test_it_compiles_for_an_h100_without_one() -> None:
    (made,) = compiled(product(90))
    assert made["products"][0] == "wgmma.mma_async" and "tf32" not in made["products"]
    assert made["stack"] == 0 and made["registers"] <= 128  # two programs of 256 threads at a time on a multiprocessor
    assert made["shared"] <= 228 * 1024 // 2


@TRITON
@pytest.mark.long
@pytest.mark.parametrize("capability", [80, 90])
def test_all_kernels_compile(capability: int) -> None:
    layouts = [product(capability, dtype, channels_last=last) for dtype in DTYPES for last in (True, False)]
    others = [product(capability, dtype) | {"kernel": kernel} for kernel in ("tables", "operators") for dtype in DTYPES]
    ones = ["tiles", "row_tiles", "column_tiles"]  # as of images of 64 pixels
    small = [case | {"ones": ones} for case in (layouts[0], *others[:1], *others[2:3])]
    small.append(others[2] | {"ones": [*ones, "size", "size_pitch"]})
    small.append(others[0] | {"ones": ["size", "size_pitch"]})
    cases = [*layouts, *others, *small]
    for made, case in zip(compiled(*cases), cases, strict=True):
        assert made["stack"] <= 16 * (case["kernel"] != "product"), (case, made)
        assert made["shared"] < 48 * 1024 and "tf32" not in made["products"], (case, made)
        assert any("mma" in name for name in made["products"]) == (
            (case["kernel"], case["dtype"]) == ("product", "bfloat16")
        )


@TRITON
@pytest.mark.long
def test_tilings_to_be_timed_spill_no_registers() -> None:
    cases = [product(90) | {"tiling": tiling} for tiling in TILINGS]
    for made, case in zip(compiled(*cases), cases, strict=True):
        assert made["stack"] == 0 and made["shared"] < 114 * 1024, (case, made)


# --- how it is measured -----------------------------------------------------------------------------------------------


@TRITON
@pytest.mark.long
@pytest.mark.usefixtures("interpreter")
def test_rows_of_its_bench() -> None:
    rows = json.loads(run("measured", TRITON_INTERPRET="1"))
    assert len({(row["what"], row["dtype"]) for row in rows}) == len(rows) == 8
    for row in rows:
        wide = row["dtype"] == "uint8 to bfloat16"
        assert row["gigabytes"] == round(2 * 3 * (16**2 + 14**2 * (2 if wide else 4)) / 1e9, 4)
        assert row["max_abs_error_255"] < (2 if wide else 1e-3) and row["from_plain_255"] < (2 if wide else 1e-3)
        assert row["times_a_copy"] > 0 and row["device_ms"] is None and "warps" in row["tiling"]


def test_nothing_is_measured_where_it_cannot_be_had() -> None:
    assert list(bench_fused(CPU)) == []


# --- where it cannot be had -------------------------------------------------------------------------------------------


def test_why_it_cannot_be_had() -> None:
    fused = Transform(Augmentation(colour=0), 64, MEAN, SD, BlurUnits(), 0, crop_and_blur="fused")
    assert "float16 arithmetic" in (unavailable(CPU, torch.float16) or "")
    needed = "needs a GPU with CUDA, and images are on the device cpu" if HAS_TRITON else "needs the package triton"
    assert needed in (unavailable(CPU, torch.float32) or "")
    assert needed in (fused.without_fused(CPU) or "")
    between = Transform(Augmentation(colour=0.2), 64, MEAN, SD, BlurUnits(), 0, crop_and_blur="fused")
    assert "between crop and blur (colour" in (between.without_fused(CPU) or "")
    assert Transform(Augmentation(colour=0), 64, MEAN, SD, BlurUnits(), 0).without_fused(CPU) is None


def test_asked_for_directly_where_it_cannot_be_had_it_says_why() -> None:
    zero = torch.zeros(1, dtype=torch.long)
    with pytest.raises(ValueError, match="fused kernel cannot be had: it needs"):
        normalised_crop_blur(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), zero, zero, zero + 8, zero + 8, 8)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"images": torch.zeros(1, 3, 8, 8)}, r"must be uint8 \[N, 3, H, W\], not torch.float32"),
        ({"images": torch.zeros(1, 1, 8, 8, dtype=torch.uint8)}, r"must be uint8 \[N, 3, H, W\]"),
        ({"top": torch.tensor([1])}, "a crop reaches outside the image of 8 pixels"),
        ({"sigma": -1.0}, "sigma must be a finite number"),
        ({"sigma": [1.0, 2.0]}, "1 images but 2 sigmas"),
        ({"sigma": 1e6}, "at most 10000 pixels"),
        ({"size": 0}, "sides must be of 1 to 8192"),
        ({"interpolation": "nearest"}, "bilinear or bicubic, not 'nearest'"),
    ],
)
def test_what_it_is_given_is_checked(change: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not HAS_TRITON:
        pytest.skip("needs the package triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    zero = torch.zeros(1, dtype=torch.long)
    images = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    given = {"images": images, "top": zero, "left": zero, "height": zero + 8, "width": zero + 8, "size": 8}
    with pytest.raises(ValueError, match=message):
        normalised_crop_blur(**given | change)


def test_tilings_are_what_triton_can_multiply() -> None:
    chosen = [tiling_of(dtype, capability) for dtype in DTYPES.values() for capability in ((8, 0), (9, 0))]
    for tiling in (*TILINGS, *chosen):
        assert isinstance(tiling, Tiling)
        for side in (tiling.height, tiling.width, tiling.rows, tiling.columns):
            assert side >= 16 and side & (side - 1) == 0
        assert max(tiling.rows, tiling.columns) <= 64
    assert chosen[-1] in TILINGS and tiling_of(torch.bfloat16, (9, 0)) in TILINGS
