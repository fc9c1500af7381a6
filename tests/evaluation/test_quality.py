"""PSNR and SSIM, against numbers of scikit-image 0.26.0 (gaussian_weights, sigma 1.5, use_sample_covariance=False)."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from blurtrain.evaluation.quality import psnr, ssim


def picture() -> np.ndarray:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :48]
    waves = 60 * np.sin(x / 3)[..., None] * np.array([1, 0.6, 0.3])
    steps = 40 * np.sign(np.sin(y / 5))[..., None] * np.array([0.2, 0.7, 1])
    return (128 + waves + steps + rng.normal(0, 10, (40, 48, 3))).clip(0, 255).round()


def tensor(*images: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()


def test_they_are_scikit_images() -> None:
    sharp = picture()
    blurred, dimmed = gaussian_filter(sharp, (1.5, 1.5, 0), mode="mirror").round(), (0.5 * sharp + 20).round()
    pair = tensor(sharp, sharp), tensor(blurred, dimmed)
    assert psnr(*pair).tolist() == pytest.approx([25.760771392358933, 13.692074692293144], abs=1e-6)
    assert ssim(*pair).tolist() == pytest.approx([0.748164344705761, 0.7646116904751371], abs=1e-5)


def test_the_same_image_is_as_good_as_can_be_and_one_image_does_not_change_another() -> None:
    sharp = tensor(picture())
    assert psnr(sharp, sharp).tolist() == [100.0] and ssim(sharp, sharp).tolist() == pytest.approx([1.0])
    other = tensor(picture()[::-1].copy())
    together = ssim(torch.cat([sharp, other]), torch.cat([other, other]))
    assert together[0] == pytest.approx(float(ssim(sharp, other)[0]), abs=1e-7)


def test_an_image_smaller_than_the_window_has_one() -> None:
    small = tensor(picture()[:6, :8])
    assert 0 < float(ssim(small, (small * 0.5).round())[0]) < 1
