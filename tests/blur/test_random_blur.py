"""RandomBlur in somebody else's training: in a v2 Compose, in workers, on images and batches of any kind."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from blurtrain.blur import RandomBlur, convolve, gaussian_blur
from blurtrain.blur.blurs import Blur
from blurtrain.blur.resampling import resampled
from blurtrain.errors import SettingsError
from blurtrain.models import torchvision_ops  # noqa: F401  (before torchvision)


def images(n: int = 4, side: int = 48) -> Tensor:
    return torch.randint(0, 256, (n, 3, side, side), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


class Images(Dataset[Tensor]):
    def __init__(self, transform: Any, with_index: bool = False) -> None:
        self.transform, self.with_index = transform, with_index

    def __len__(self) -> int:
        return 8

    def __getitem__(self, k: int) -> Tensor:
        image = images(8)[k]
        shown: Tensor = self.transform(image, index=k) if self.with_index else self.transform(image)
        return shown


def rounded(blurred: Tensor) -> Tensor:
    return blurred.round().clamp(0, 255).to(torch.uint8)


def loaded(dataset: Images, epochs: Sequence[int] = (0,)) -> list[Tensor]:
    loader = DataLoader(dataset, batch_size=4, num_workers=2, persistent_workers=True)
    found = []
    for epoch in epochs:
        if isinstance(dataset.transform, RandomBlur):
            dataset.transform.set_epoch(epoch)
        found.append(torch.cat(list(loader)))
    return found


@pytest.mark.parametrize("label", ["gaussian-8", "disk-9", "disk-4@384", "box-12-30", "defocus-2"])
def test_in_a_compose_in_persistent_workers_pixels_are_the_engine_s_of_one_image_and_of_a_batch(label: str) -> None:
    from torchvision.transforms import v2

    blur, compose = Blur.parse(label), v2.Compose([v2.Identity(), RandomBlur(label), v2.Identity()])
    if label.startswith("gaussian"):
        expected = rounded(gaussian_blur(images(8).float(), 8 * 48 / 224))
    else:
        spread = blur.point_spread(0)  # type: ignore[attr-defined]
        expected = rounded(convolve(images(8).float(), resampled(spread, 48 / blur.at)))
    assert torch.equal(loaded(Images(compose))[0], expected)
    assert torch.equal(compose(images(8)), expected)
    assert torch.equal(compose(images(8)[3]), expected[3])


def test_an_epoch_reaches_workers_that_live_on() -> None:
    curriculum = {"schedule": "stepwise", "sigmas": [8, 0]}
    blurry, clear, again = loaded(Images(RandomBlur(curriculum, epochs=2)), (0, 1, 0))
    assert torch.equal(clear, images(8))
    assert torch.equal(blurry, again)
    assert torch.equal(blurry, rounded(gaussian_blur(images(8).float(), 8 * 48 / 224)))


def test_with_an_index_it_is_a_function_of_seed_epoch_and_index_wherever_it_runs() -> None:
    mixture = {"shake": 2, "disk-6": 1, "gaussian-4": 1, "box-16-random": 1, "sharp": 1}
    blur = RandomBlur(mixture, epochs=3, seed=5)
    blur.set_epoch(2)
    state = torch.get_rng_state()
    whole = blur(images(8), index=range(8))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(loaded(Images(blur, with_index=True), (2,))[0], whole)
    assert torch.equal(torch.stack([blur(image, index=k) for k, image in enumerate(images(8))]), whole)
    blur.set_epoch(1)
    assert not torch.equal(blur(images(8), index=range(8)), whole)
    assert not torch.equal(RandomBlur(mixture, epochs=3, seed=6)(images(8), index=range(8)), whole)


def test_without_an_index_torch_s_generator_draws() -> None:
    blur = RandomBlur(["disk-6", "sharp"])
    torch.manual_seed(3)
    first, second = blur(images(16)), blur(images(16))
    torch.manual_seed(3)
    assert torch.equal(blur(images(16)), first)
    assert not torch.equal(first, second)


def test_weights_and_p_are_shares() -> None:
    many = torch.zeros(4000, 1, 9, 9)
    many[:, :, 4, 4] = 1.0
    centre = RandomBlur({"box-3": 3, "disk-1": 1}, resolution=224, p=0.5)(many, index=range(4000))[:, 0, 4, 4]
    for value, share in ((1.0, 0.5), (1 / 3, 0.375), (1 / 5, 0.125)):
        found = (centre - value).abs() < 1e-4
        assert float(found.float().mean()) == pytest.approx(share, abs=5 * (share * (1 - share) / 4000) ** 0.5)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("label", ["gaussian-3", "disk-3", "zoom-1"])
def test_shape_and_dtype_stay_and_any_range_is_blurred_alike(dtype: torch.dtype, label: str) -> None:
    blur = RandomBlur(label, resolution=224)
    given = images().to(dtype) if dtype == torch.uint8 else (images().to(torch.float64) / 255).to(dtype)
    shown = blur(given, index=range(4))
    assert (shown.shape, shown.dtype) == (given.shape, dtype)
    exact = blur(images().double() / 255, index=range(4))
    tolerance = {torch.uint8: 0.51 / 255, torch.float16: 1e-3, torch.bfloat16: 8e-3}.get(dtype, 1e-5)
    assert (shown.double() / (255 if dtype == torch.uint8 else 1) - exact).abs().max() < tolerance


def test_samples_pass_with_their_labels_and_images_stay_images() -> None:
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    sample = tv_tensors.Image(images()[0]), 7
    image, label = v2.Compose([RandomBlur("disk-3")])(*sample)
    assert isinstance(image, tv_tensors.Image) and label == 7


def test_light_is_blurred_where_asked_for() -> None:
    edge = torch.zeros(1, 3, 64, 64)
    edge[..., 32:] = 1.0
    plain, light = (RandomBlur("disk-20", linear_light=on)(edge, index=[0]) for on in (False, True))
    v = plain[0, 0, 32, 32].double()  # what is linear in light, seen in sRGB (IEC 61966-2-1)
    assert float(light[0, 0, 32, 32]) == pytest.approx(float(1.055 * v ** (1 / 2.4) - 0.055), abs=1e-5)
    bytes_ = RandomBlur("disk-20", linear_light=True)((edge * 255).to(torch.uint8), index=[0])
    assert (bytes_ / 255 - light.clamp(0, 1)).abs().max() < 0.51 / 255


def test_gradients_pass() -> None:
    given = (images().float() / 255).requires_grad_()
    RandomBlur(["gaussian-4", "disk-3"])(given, index=range(4)).sum().backward()
    assert given.grad is not None and bool(torch.isfinite(given.grad).all()) and bool(given.grad.any())


@pytest.mark.parametrize(
    ("what", "options", "why"),
    [
        ("disc-4", {}, "did you mean 'disk'?"),
        ({"schedule": "stepwize"}, {}, "'stepwize' is unknown; did you mean 'stepwise'?"),
        ({"disk-4": -1.0, "sharp": 2.0}, {}, "weights >= 0"),
        ("disk-4", {"p": 2}, "p=2 must be in 0..1"),
        ("glass-2", {"resolution": 64}, "moves whole pixels of images of 224"),
    ],
)
def test_a_mistake_is_one_line(what: Any, options: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingsError) as caught:
        RandomBlur(what, **options)
    assert why in str(caught.value) and "\n" not in str(caught.value)


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="not \\[48, 48\\]"):
        RandomBlur("sharp")(images()[0, 0])
    with pytest.raises(ValueError, match="4 images but 1 indices"):
        RandomBlur("sharp")(images(), index=3)
    with pytest.raises(ValueError, match="epoch 5 is not among 5 epochs"):
        RandomBlur("sharp", epochs=5).set_epoch(5)
