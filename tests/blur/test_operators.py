"""The composed operator against independent implementations: SciPy in float64, and torchvision."""

# ruff: noqa: I001  (torchvision_ops comes before torchvision)

import numpy as np
import pytest
import torch
from scipy import ndimage

from blurtrain.blur.axis import OVERSAMPLED, TAPS, gaussian_matrix, grid, local_refinement
from blurtrain.blur import box_blur, convolve, gaussian_blur, kernels, operators, product, resized_crop_blur
from blurtrain.models import torchvision_ops  # noqa: F401  (before torchvision)
from torchvision.transforms.v2 import functional as tv

TOLERANCE = 1e-3  # of 255


def white_noise(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def scipy_blur(image: torch.Tensor, sigma: float, truncate: float = 4.0) -> np.ndarray:
    return ndimage.gaussian_filter(image.double().numpy(), [0, sigma, sigma], mode="mirror", truncate=truncate)


@pytest.mark.parametrize("sigma", [0.0, 0.3, 1.0, 2.2857, 8.0, 32.0])
@pytest.mark.parametrize("shape", [(64, 64), (37, 50), (9, 200), (1, 7)])
def test_gaussian_blur_equals_scipy_up_to_the_border(sigma: float, shape: tuple[int, int]) -> None:
    images = white_noise(2, 3, *shape)  # at sigma 32 the kernel is wider than every one of these
    blurred = gaussian_blur(images, sigma)
    for image, ours in zip(images, blurred, strict=True):
        assert np.abs(ours.double().numpy() - scipy_blur(image, sigma)).max() < TOLERANCE


def test_every_image_has_its_own_sigma() -> None:
    images, sigmas = white_noise(5, 3, 40, 40), torch.tensor([0.0, 0.5, 2.0, 8.0, 30.0])
    for image, sigma, ours in zip(images, sigmas.tolist(), gaussian_blur(images, sigmas), strict=True):
        assert np.abs(ours.double().numpy() - scipy_blur(image, sigma)).max() < TOLERANCE


def test_truncate_two_is_the_33_taps_of_the_original_study() -> None:
    assert kernels.gaussian(8, truncate=2).shape == (33, 33)
    image = white_noise(1, 3, 64, 64)
    assert np.abs(gaussian_blur(image, 8.0, 2.0)[0].numpy() - scipy_blur(image[0], 8.0, 2.0)).max() < TOLERANCE
    ours = gaussian_blur(image.float(), 8.0, 2.0)
    theirs = tv.gaussian_blur(image.float(), [33, 33], [8.0, 8.0])
    assert (ours - theirs).abs().max() < TOLERANCE


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("side, size", [(256, 224), (73, 64), (64, 96)])
def test_crop_resize_flip_blur_equals_torchvisions_chain(interpolation: str, side: int, size: int) -> None:
    """torchvision in float64: in float32 its resize itself errs by up to 0.004 of 255, having float32 coordinates."""
    images = white_noise(6, 3, side, side).float()
    generator = torch.Generator().manual_seed(1)
    height, width = (torch.randint(side // 3, side + 1, (6,), generator=generator) for _ in range(2))
    top, left = ((torch.rand(6, generator=generator) * (side - n + 1)).long() for n in (height, width))
    flip, sigma = torch.tensor([True, False] * 3), torch.tensor([0.0, 0.8, 2.0, 3.0, 5.0, 8.0])
    ours = resized_crop_blur(images, top, left, height, width, size, flip, sigma, interpolation)
    for k in range(6):
        theirs = tv.resized_crop(
            images[k : k + 1].double(), int(top[k]), int(left[k]), int(height[k]), int(width[k]), [size, size],
            tv.InterpolationMode(interpolation), antialias=True,
        )  # fmt: skip
        theirs = theirs.flip(3) if flip[k] else theirs
        if sigma[k]:
            taps = 2 * kernels.gaussian_radius(float(sigma[k])) + 1
            if taps // 2 >= size:  # torchvision cannot
                continue
            theirs = tv.gaussian_blur(theirs, [taps, taps], [float(sigma[k])] * 2)
        assert (ours[k] - theirs[0]).abs().max() < TOLERANCE, k


def test_blur_keeps_constants_and_passes_gradients() -> None:
    constant = torch.full((1, 3, 31, 31), 200.0)
    assert (gaussian_blur(constant, 5.0) - 200).abs().max() < TOLERANCE
    images = torch.rand(2, 1, 9, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: gaussian_blur(x, torch.tensor([1.0, 4.0])), images)


@pytest.mark.parametrize("sigma", [-1.0, float("nan"), float("inf")])
def test_bad_sigma_is_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match="sigma"):
        gaussian_blur(torch.zeros(1, 3, 8, 8), sigma)
    with pytest.raises(ValueError, match="sigma"):
        gaussian_blur(torch.zeros(2, 3, 8, 8), torch.tensor([1.0, sigma]))


def test_wrong_number_of_sigmas_and_crops_outside_are_refused() -> None:
    with pytest.raises(ValueError, match="2 images but 3 sigmas"):
        gaussian_blur(torch.zeros(2, 3, 8, 8), torch.ones(3))
    at = torch.tensor([4])
    with pytest.raises(ValueError, match="outside"):
        resized_crop_blur(torch.zeros(1, 3, 8, 8), at, at, at + 1, at, 8)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0, 3.0, 8.0, 32.0])
@pytest.mark.parametrize("per_image", [False, True])
def test_bfloat16_stays_within_its_tolerance_and_keeps_constants(sigma: float, per_image: bool) -> None:
    images, level = white_noise(2, 3, 96, 96), 1.0 if sigma >= 3 else 2.0
    given = torch.full((2,), sigma) if per_image else sigma
    exact = np.stack([scipy_blur(image, sigma) for image in images])
    for blurred in (
        gaussian_blur(images.bfloat16(), given),
        gaussian_blur(images, given, dtype=torch.uint8, compute=torch.bfloat16),
    ):
        assert np.abs(blurred.double().numpy() - exact).max() <= level
    for value in (0, 1, 77, 200, 255):
        constant = torch.full((2, 3, 96, 96), value, dtype=torch.uint8)
        assert torch.equal(gaussian_blur(constant, given, dtype=torch.uint8, compute=torch.bfloat16), constant)
        assert torch.equal(gaussian_blur(constant.bfloat16(), given), constant.bfloat16())


@pytest.mark.parametrize(
    "dtype, result, tolerance",
    [(torch.uint8, torch.float32, 1e-3), (torch.float16, torch.float16, 0.07), (torch.float64, torch.float64, 1e-9)],
)
def test_dtypes(dtype: torch.dtype, result: torch.dtype, tolerance: float) -> None:
    images = white_noise(2, 3, 40, 40)
    blurred = gaussian_blur(images.to(dtype), 2.5)
    assert blurred.dtype == result
    assert np.abs(blurred[0].double().numpy() - scipy_blur(images[0], 2.5)).max() < tolerance
    assert gaussian_blur(images.to(dtype), 0.0).dtype == result


def test_eight_bit_results_are_the_exact_blur_rounded() -> None:
    images = white_noise(2, 3, 40, 40)
    ours = gaussian_blur(images, 3.0, dtype=torch.uint8)
    assert ours.dtype == torch.uint8
    assert np.abs(ours[0].double().numpy() - scipy_blur(images[0], 3.0)).max() < 0.501


@pytest.mark.parametrize("sigma", [0.3, 0.7, 1.0, 1.3, 3.0, 30.0, 70.0])
@pytest.mark.parametrize("sides", [(96, 131), (130, 97)])
def test_large_images_on_a_processor_against_scipy(sides: tuple[int, int], sigma: float) -> None:
    """Each number of taps has its own loop, borders reflect also beyond a whole image, and the widest are products."""
    image = white_noise(1, 3, *sides)
    exact = scipy_blur(image[0], sigma)
    assert np.abs(gaussian_blur(image, sigma)[0].double().numpy() - exact).max() < TOLERANCE
    planes = image.contiguous(memory_format=torch.channels_last).float()
    assert np.abs(gaussian_blur(planes, sigma)[0].double().numpy() - exact).max() < TOLERANCE
    assert np.abs(gaussian_blur(image, sigma, dtype=torch.uint8)[0].double().numpy() - exact).max() < 0.501


@pytest.mark.parametrize("channels_last", [True, False])
def test_image_by_image_is_what_one_product_for_all_is(monkeypatch: pytest.MonkeyPatch, channels_last: bool) -> None:
    """A processor takes large images one by one, by loops; elsewhere all have one product, which must be the same."""
    images, at = white_noise(3, 3, 128, 128), torch.tensor([0, 5, 9])
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    arguments = (images, at, at, torch.tensor([128, 110, 91]), torch.tensor([100, 122, 119]), 112, at > 4)
    for sigma in (0.0, 2.0, torch.tensor([0.0, 1.0, 14.0])):
        one_by_one = resized_crop_blur(*arguments, sigma)
        monkeypatch.setattr(operators, "by_image", lambda _: False)
        composed = resized_crop_blur(*arguments, sigma)
        monkeypatch.undo()
        assert (one_by_one - composed).abs().max() < TOLERANCE


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("height, width, size", [(3, 2, 20), (97, 120, 33), (120, 60, 121), (1, 120, (7, 96))])
def test_crops_on_a_processor_of_any_scale_to_the_edges(
    height: int, width: int, size: int | tuple[int, int], interpolation: str
) -> None:
    """Few taps and many, fewer pixels than taps, and more lines than are done at a time."""
    images = white_noise(2, 3, 120, 120)
    bottom, right = torch.tensor([0, 120 - height]), torch.tensor([120 - width, 0])
    sides = torch.tensor([height, height]), torch.tensor([width, width])
    arguments = (bottom, right, *sides, size, torch.tensor([True, False]), 0.0, interpolation)
    exact = resized_crop_blur(images.double(), *arguments)
    for given in (images, images.contiguous(memory_format=torch.channels_last), images.float()):
        assert (resized_crop_blur(given, *arguments) - exact).abs().max() < TOLERANCE
    rounded = resized_crop_blur(images, *arguments, dtype=torch.uint8)
    assert (rounded - exact.clamp(0, 255)).abs().max() < 0.501


@pytest.mark.parametrize("side", [97, 224, 256])
@pytest.mark.parametrize("step", [2, 5, 8])
def test_blurred_images_follow_from_every_few_of_their_rows(side: int, step: int) -> None:
    first, weights = local_refinement(side, step)
    assert np.abs(weights.sum(1) - 1).max() < 1e-12
    refined = np.zeros((side, len(grid(side, step))))
    np.put_along_axis(refined, first[:, None] + np.arange(TAPS), weights, 1)
    for times in (1.0, 1.5, 4.0):
        blur = gaussian_matrix(torch.tensor([times * OVERSAMPLED * step]), side)[0].numpy()
        assert np.abs(blur - refined @ blur[grid(side, step).numpy()]).sum(1).max() < 2e-4


@pytest.mark.parametrize("sigma", [0.0, 2.0, 4.0, 8.0, 20.0])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_bfloat16_crops_stay_within_their_tolerance_and_keep_constants(sigma: float, dtype: torch.dtype) -> None:
    """Also where only some pixels are computed, and the others interpolated."""
    at, arguments = (
        torch.tensor([0, 9]),
        (torch.tensor([128, 90]), torch.tensor([110, 97]), 112, torch.tensor([0, 1]) > 0),
    )
    images = white_noise(2, 3, 128, 128).contiguous(memory_format=torch.channels_last)
    images[1] = images[1] // 128 * 255  # black and white
    exact = resized_crop_blur(images.double(), at, at, *arguments, sigma)
    ours = resized_crop_blur(images, at, at, *arguments, sigma, dtype=dtype, compute=torch.bfloat16)
    assert ours.dtype == dtype
    if dtype == torch.uint8:
        exact = exact.clamp(0, 255)
    assert (ours.double() - exact).abs().max() <= (1 if sigma >= 3 else 2)
    for value in (0, 1, 77, 255):
        constant = torch.full((2, 3, 128, 128), value, dtype=torch.uint8)
        kept = resized_crop_blur(constant, at, at, *arguments, sigma, dtype=dtype, compute=torch.bfloat16)
        assert (kept.double() - value).abs().max() < TOLERANCE


@pytest.mark.parametrize("sigma", [4.0, 8.0, 32.0])
@pytest.mark.parametrize("truncate", [2.0, 4.0])
def test_wide_blur_in_bfloat16_stays_within_its_tolerance(sigma: float, truncate: float) -> None:
    images = white_noise(2, 3, 150, 224)
    images[1] = images[1] // 128 * 255
    exact = np.stack([scipy_blur(image, sigma, truncate) for image in images])
    ours = gaussian_blur(images, sigma, truncate, compute=torch.bfloat16)
    assert np.abs(ours.double().numpy() - exact).max() <= 1
    for image, expected in zip(images, exact, strict=True):
        alone = torch.empty(3, 150, 224)
        operators.blur_image(image.float(), sigma, truncate, torch.bfloat16, alone)
        assert np.abs(alone.double().numpy() - expected).max() <= 1


@pytest.mark.parametrize("arithmetic", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sigma", [0.0, 8.0])
def test_shift_and_factor_come_after_the_blur_wherever_they_are_applied(arithmetic: torch.dtype, sigma: float) -> None:
    image, place = white_noise(3, 128, 128), (3, 8, 120, 100, True)
    shift, factor = torch.tensor([-2.0, -1.5, -1.0]).view(3, 1, 1), torch.tensor([0.02, 0.015, 0.01]).view(3, 1, 1)
    plain, shown = torch.empty(3, 112, 112), torch.empty(3, 112, 112)
    crop = (sigma, "bicubic", 4.0, (1.0, 1.0), arithmetic)
    operators.crop_image(image, place, *crop, plain)
    operators.crop_image(image, place, *crop, shown, (shift, factor))
    tolerance = 1e-4 if arithmetic == torch.float32 else 0.02
    assert torch.allclose(shown, plain * factor + shift, atol=tolerance)
    operators.blur_image(image.float(), sigma, 4.0, arithmetic, blurred := torch.empty(3, 128, 128), (shift, factor))
    assert torch.allclose(blurred, gaussian_blur(image[None].float(), sigma)[0] * factor + shift, atol=tolerance)


def test_crops_of_large_images_pass_gradients() -> None:
    images, at = white_noise(2, 3, 100, 100).double().requires_grad_(), torch.tensor([0, 9])
    arguments = (at, at, torch.tensor([100, 90]), torch.tensor([95, 80]), 64, at > 0, 2.0)
    cropped = resized_crop_blur(images, *arguments)
    assert torch.allclose(cropped, resized_crop_blur(images.detach(), *arguments), atol=1e-9)
    weights = torch.rand_like(cropped)
    (cropped * weights).sum().backward()
    assert images.grad is not None
    assert torch.allclose((images.detach() * images.grad).sum(), (cropped * weights).sum())  # as it is linear


def test_a_batch_that_does_not_fit_the_workspace_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    images, sigmas = white_noise(7, 3, 40, 40), torch.linspace(0.5, 9, 7)
    whole, per_image = gaussian_blur(images, 2.0), gaussian_blur(images, sigmas)
    monkeypatch.setitem(product.WORKSPACE, "cpu", 200_000)
    assert torch.allclose(gaussian_blur(images, 2.0), whole, atol=1e-4)
    assert torch.allclose(gaussian_blur(images, sigmas), per_image, atol=1e-4)


def test_empty_batches_and_other_kinds_of_images_are_refused() -> None:
    for images in (torch.zeros(0, 3, 8, 8), torch.zeros(3, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.int64)):
        with pytest.raises(ValueError, match="images"):
            gaussian_blur(images, 1.0)


@pytest.mark.parametrize("down, across", [(1, 4), (8, 1), (7, 2.5)])
def test_box_blur_is_the_convolution_with_its_kernels(down: float, across: float) -> None:
    images = white_noise(2, 3, 40, 33)
    kernel = np.outer(kernels.box_taps(down), kernels.box_taps(across))
    for image, ours in zip(images, box_blur(images, down, across), strict=True):
        exact = np.stack([ndimage.convolve(c, kernel, mode="mirror") for c in image.double().numpy()])
        assert np.abs(ours.double().numpy() - exact).max() < TOLERANCE
    by_kernel = convolve(images, torch.from_numpy(kernels.box(8, 90).copy()))
    assert (box_blur(images, down=8) - by_kernel).abs().max() < TOLERANCE


def test_box_and_rectangles_in_the_composed_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    images, at = white_noise(2, 3, 50, 60), torch.tensor([0, 3])
    arguments = (images, at, at, torch.tensor([50, 40]), torch.tensor([60, 44]), (32, 48), at > 0, 1.5)
    composed = resized_crop_blur(*arguments, box=(4, 1))
    assert composed.shape == (2, 3, 32, 48)
    apart = box_blur(resized_crop_blur(*arguments), down=4)
    assert (composed - apart).abs().max() < TOLERANCE
    monkeypatch.setattr(operators, "by_image", lambda _: False)
    assert (resized_crop_blur(*arguments, box=(4, 1)) - apart).abs().max() < TOLERANCE


def test_one_geometry_for_all_with_a_sigma_each_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    images, zero = white_noise(6, 3, 40, 40), torch.tensor([0])
    arguments = (images, zero, zero, torch.tensor([40]), torch.tensor([40]), 32, None, torch.linspace(0, 5, 6))
    whole = resized_crop_blur(*arguments)
    monkeypatch.setitem(product.WORKSPACE, "cpu", 200_000)
    monkeypatch.setattr(operators, "by_image", lambda _: False)
    assert torch.allclose(resized_crop_blur(*arguments), whole, atol=1e-3)


def test_geometry_of_another_batch_and_boundless_kernels_are_refused() -> None:
    images, at, side = torch.zeros(4, 3, 16, 16), torch.zeros(2, dtype=torch.long), torch.full((2,), 16)
    with pytest.raises(ValueError, match="one for each of 4 images"):
        resized_crop_blur(images, at, at, side, side, 8)
    for sigma in (1e9, torch.tensor([1.0, 1e6, 1.0, 1.0])):
        with pytest.raises(ValueError, match="at most 10000 pixels"):
            gaussian_blur(images, sigma)
    with pytest.raises(ValueError, match="more than 0"):
        gaussian_blur(images, 1.0, truncate=0)
