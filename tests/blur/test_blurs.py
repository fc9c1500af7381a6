"""Every blur by its label, from settings, and as what it does to an image."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from blurtrain.blur import convolve, corruptions, gaussian_blur, kernels
from blurtrain.blur.blurs import Blur, Box, Disk, Gaussian, KernelBlur, KernelFile, Sharp
from blurtrain.errors import SettingsError

LABELS = [
    "sharp",
    "gaussian-8",
    "gaussian-0.5",
    "gaussian-8@384",
    "disk-4",
    "disk-2.5",
    "disk-4-antialiased",
    "disk-4@384",
    "box-8",
    "box-8-90",
    "box-4-22.5@384",
    "box-8-random",
    "box-8-0-plain",
    "box-4-90-plain@384",
    "shake",
    "shake@384",
    "imagenet-c-gaussian-1",
    "defocus-3",
    "defocus-3@384",
    "motion-5",
    "zoom-1",
    "glass-2",
    "imagenet-c-gaussian-1-published",
    "defocus-3-published",
    "motion-5-published",
    "zoom-1-published",
    "glass-2-published",
    "myopia-2",
    "myopia-2.5-30-4-0.5",
    "myopia-2@384",
    "aberration-coma-0.5",
    "aberration-trefoil-0.25-30-2@384",
    "aberration-astigmatism-1-random",
    "depth-focus-2",
    "depth-focus-1.5-2.8-85-1-50",
    "parallax-20",
    "parallax-20-90-35",
    "rotation-10",
    "sight-2",
    "sight-0.0625-true-false",
    "sight-300-false-false-true-0.2",
    "rotation-0",
    "dirty-lens-8",
    "dirty-lens-8-3-0.5@384",
    "lowpass-8",
    "lowpass-0.5-4",
    "highpass-8",
    "highpass-8-2-grey",
    "bandpass-4-8",
    "noise-10",
    "noise-0.5",
    "bandpass-4-8-3",
]


class Doubled(KernelBlur):
    """A user's own: every pixel twice, `step` pixels apart."""

    step: int = 2
    side: str = "right"

    def point_spread(self, index: int, **_: Any) -> np.ndarray:
        kernel = np.zeros((2 * self.step + 1, 2 * self.step + 1))
        kernel[self.step, [self.step, -1 if self.side == "right" else 0]] = 0.5
        return kernel


OWN = f"{__name__}:Doubled"


def images(n: int = 4, side: int = 224) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, 3, side, side), generator=generator).float()


@pytest.mark.parametrize("label", LABELS)
def test_labels_round_trip(label: str) -> None:
    blur = Blur.parse(label)
    assert blur.label == label
    assert Blur.parse(blur.label) == Blur.model_validate(label) == Blur.model_validate(blur.model_dump()) == blur
    assert hash(Blur.parse(label)) == hash(blur)


def test_every_kind_is_tried_here() -> None:
    assert {Blur.parse(label).kernel for label in LABELS} | {"file"} == set(Blur.kinds)


def test_labels_are_canonical() -> None:
    for said in ("disk-4.0", "disk-04", "disk-4@224", "disk-4-hard"):
        assert Blur.parse(said) == Disk(radius=4) and Blur.parse(said).label == "disk-4"
    assert Blur.parse("imagenet-c-defocus-3").label == "defocus-3"
    assert Gaussian(sigma=1e-5).label == "gaussian-0.00001"
    assert Blur.parse(Gaussian(sigma=math.pi).label) == Gaussian(sigma=math.pi)


@pytest.mark.parametrize(
    ("label", "why"),
    [
        ("disc-4", "'disc-4' is unknown; did you mean 'disk'?"),
        ("disk", "radius: Field required"),
        ("disk-0", "radius: Input should be greater than 0"),
        ("disk-4-5-6", "disk takes RADIUS-EDGE at most"),
        ("shake-3", "shake takes nothing at most"),
        ("defocus-6", "severity: Input should be less than or equal to 5"),
        ("box-8-180", "less than 180"),
        ("box-8-45-plain", "taps=plain goes with a whole length at angle 0 or 90, not with length 8 at angle 45"),
        ("box-7.5-90-plain@384", "taps=plain goes with a whole length at angle 0 or 90, not with length 7.5"),
        ("box-8-random-plain", "not with length 8 at angle random"),
        ("zoom-3@384", "at: Input should be 224"),
        ("defocus-3-published@384", "form=published is made of images of 224 px: leave out @384"),
        ("defocus-3-jpeg", "form: Input should be 'exact' or 'published'"),
        ("bandpass-8-4", "low=8 must be less than high=4"),
        ("lowpass-8@384", "at: Input should be 224"),
        ("highpass-8-2-white", "mean: Input should be 'own' or 'grey'"),
        ("file-lens", "file takes nothing at most"),
        ("nowhere.at:All", "nowhere"),
    ],
)
def test_a_label_of_nothing_is_refused_in_a_line(label: str, why: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Blur.parse(label)
    assert why in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("label", [OWN, f"{OWN}-step=3", f"{OWN}-step=3-side=left@384"])
def test_a_blur_of_the_user_s_own_is_a_blur_like_any_other(label: str) -> None:
    blur = Blur.parse(label)
    assert type(blur).__name__ == "Doubled" and blur.label == label
    assert Blur.parse(blur.label) == blur == Blur.model_validate(blur.model_dump())
    seen = Blur.model_validate({"kernel": OWN, "step": 2}).blurred(images(), range(4), resolution=224)
    assert torch.allclose(seen[..., 2:], (images()[..., 2:] + images()[..., :-2]) / 2, atol=1e-2)
    with pytest.raises(ValidationError, match="extra_forbidden"):
        Blur.model_validate({"kernel": OWN, "stepp": 2})


# --- pixels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "kernel"),
    [
        ("disk-4", kernels.disk(4)),
        ("disk-4-antialiased", kernels.disk(4, antialias=True)),
        ("box-8", kernels.box(8)),
        ("box-7-30", kernels.box(7, 30)),
        ("box-8-90-plain", kernels.box(8, 90, plain=True)),
        ("defocus-4", corruptions.defocus(4)),
    ],
)
def test_a_kernel_at_its_own_resolution_is_the_library_s_to_the_last_bit(label: str, kernel: np.ndarray) -> None:
    seen = Blur.parse(label).blurred(images(2), [5, 6], resolution=224)
    assert torch.equal(seen, torch.cat([convolve(image, kernel) for image in images(2).split(1)]))


def test_gaussians_scale_their_sigma_and_keep_the_fast_operator() -> None:
    given = images(2, 64)
    assert torch.equal(Gaussian(sigma=8).blurred(given, [0, 1], resolution=64), gaussian_blur(given, 8 * 64 / 224))
    cut = Gaussian(sigma=8, at=384).blurred(given, [0, 1], resolution=64, truncate=2.0)
    assert torch.equal(cut, gaussian_blur(given, 8 * 64 / 384, 2.0))
    assert torch.equal(Sharp().blurred(given, [0, 1], resolution=64), given)
    assert torch.equal(
        Blur.parse("imagenet-c-gaussian-5").blurred(images(1), [0], resolution=224),
        convolve(images(1), corruptions.gaussian(5), dtype=torch.float32),
    ) or torch.allclose(
        Blur.parse("imagenet-c-gaussian-5").blurred(images(1), [0], resolution=224),
        convolve(images(1), corruptions.gaussian(5)),
        atol=1e-3,
    )


def test_test_images_keep_their_kernel_in_every_setting_and_training_images_do_not() -> None:
    for label in ("shake", "box-9-random", "motion-3", "glass-1"):
        blur, given = Blur.parse(label), images()
        seen = blur.blurred(given, range(4), resolution=224)
        assert torch.equal(seen, blur.blurred(given, range(4), resolution=224, seed=7, epoch=9))
        part = blur.blurred(given[2:], [2, 3], resolution=224)
        assert torch.equal(part, seen[2:])
        trained = {
            (seed, epoch): blur.blurred(given, range(4), resolution=224, seed=seed, epoch=epoch, training=True)
            for seed in (0, 1)
            for epoch in (0, 1)
        }
        assert len({image.numpy().tobytes() for image in [seen, *trained.values()]}) == 5
        again = blur.blurred(given, range(4), resolution=224, seed=1, epoch=1, training=True)
        assert torch.equal(again, trained[1, 1])


def test_shakes_are_those_of_the_protocol() -> None:
    shake = Blur.parse("shake")
    assert isinstance(shake, KernelBlur)
    assert np.array_equal(shake.point_spread(17, seed=3, epoch=2), kernels.shake_for("test", 17))
    trained = shake.point_spread(17, seed=3, epoch=2, training=True)
    assert np.array_equal(trained, kernels.shake_for("train", 17, 3, 2))


def test_random_angles_are_uniform() -> None:
    box = Box(length=201, angle="random")
    kernel = [box.point_spread(index, seed=1, training=True) for index in range(300)]
    middle = [np.nonzero(k[len(k) // 2 - 30 if len(k) > 61 else 0])[0] for k in kernel]
    assert len({k.tobytes() for k in kernel}) == 300 and len(middle) == 300


def test_zoom_and_glass_are_the_library_s() -> None:
    given = images(2)
    assert torch.equal(Blur.parse("zoom-3").blurred(given, [4, 5], resolution=224), corruptions.zoom(given, 3))
    assert torch.equal(Blur.parse("zoom-3").blurred(given[..., :64, :64], [4, 5], resolution=64),
                       corruptions.zoom(given[..., :64, :64], 3))  # fmt: skip
    assert torch.equal(
        Blur.parse("glass-3").blurred(given, [4, 5], resolution=224), corruptions.glass(given, 3, 0, [4, 5])
    )
    with pytest.raises(SettingsError, match="moves whole pixels of images of 224, so it has no counterpart at 64"):
        Blur.parse("glass-3").check(64)


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_kernel_file_is_known_by_its_content_or_by_a_title(tmp_path: Any) -> None:
    import hashlib

    path = tmp_path / "lens.npy"
    np.save(path, kernels.disk(3))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    known = KernelFile(file=str(path), sha256=digest)
    assert known.label == f"file-{digest[:12]}"
    assert KernelFile(file=str(path), title="lens", at=384).label == "file-lens@384"
    assert np.allclose(known.point_spread(0), kernels.disk(3))
    with pytest.raises(ValidationError, match="give sha256"):
        KernelFile(file=str(path))
    with pytest.raises(SettingsError, match="is another file than was meant"):
        KernelFile(file=str(path), sha256="0" * 64).check(224)
    with pytest.raises(SettingsError, match="No such file"):
        KernelFile(file="none.npy", title="none").check(224)


@pytest.mark.parametrize("label", ["disk-256", "box-512"])
def test_a_kernel_that_would_be_too_large_at_a_resolution_is_found_by_the_check(label: str) -> None:
    Blur.parse(label).check(224)
    with pytest.raises(SettingsError, match="at most 513 are allowed"):
        Blur.parse(label).check(512)
