"""A prior of patches: its mixture against SciPy, what EM finds, and images against the published steps in NumPy."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from scipy.stats import multivariate_normal

from blurtrain.blur import kernels
from blurtrain.blur.blurs import Disk
from blurtrain.cli import main
from blurtrain.deblurring import Deblurring
from blurtrain.deblurring.mixture import Mixture, learn, load_mixture, save_mixture
from blurtrain.deblurring.patches import denoised
from blurtrain.errors import SettingsError

Array = NDArray[np.float64]


def known() -> Mixture:
    """Two components: smooth patches of little contrast, and rows of much."""
    y, x = np.mgrid[:8, :8].reshape(2, -1).astype(float)
    near = np.exp(-((x[:, None] - x) ** 2 + (y[:, None] - y) ** 2) / 8)
    rows = np.exp(-((y[:, None] - y) ** 2) / 2)
    centre = np.eye(64) - 1 / 64
    covariances = [centre @ (1e-3 * near) @ centre, centre @ (0.04 * rows) @ centre]
    both = torch.from_numpy(np.stack(covariances) + 1e-6 * np.eye(64))
    return Mixture(torch.tensor([0.7, 0.3], dtype=torch.float64), both, {"photos": "none"})


def drawn(n: int) -> tuple[Array, Array]:
    """Patches of the mixture, and which component each is of."""
    rng, mixture = np.random.default_rng(0), known()
    which = (rng.random(n) < 0.3).astype(int)
    factors = np.linalg.cholesky(mixture.covariances.numpy())
    return np.einsum("nij,nj->ni", factors[which], rng.normal(size=(n, 64))), which


def test_densities_are_scipys() -> None:
    mixture, (patches, _) = known(), drawn(20)
    noise = 0.003
    expected = [
        np.log(float(weight))
        + multivariate_normal(np.zeros(64), covariance.numpy() + noise * np.eye(64)).logpdf(patches)
        for weight, covariance in zip(mixture.weights, mixture.covariances, strict=True)
    ]
    found = mixture.log_densities(torch.from_numpy(patches), noise)
    np.testing.assert_allclose(found.numpy(), np.stack(expected, axis=1), rtol=1e-6)


def test_em_finds_the_mixture_that_patches_are_drawn_from() -> None:
    patches, which = drawn(8000)
    found = learn(torch.from_numpy(patches).float() + 0.5, 2, 15, {})
    order = torch.argsort(found.weights, descending=True)
    np.testing.assert_allclose(found.weights[order].numpy(), [0.7, 0.3], atol=0.03)
    for covariance, expected in zip(found.covariances[order], known().covariances, strict=True):
        distance = torch.linalg.matrix_norm(covariance - expected) / torch.linalg.matrix_norm(expected)
        assert float(distance) < 0.15
    chosen = found.log_densities(torch.from_numpy(patches)).argmax(1).numpy()
    assert (order.numpy()[which] == chosen).mean() > 0.97


def naive(image: Array, mixture: Mixture, variance: float) -> Array:
    """All patches of the reflected image, one after the other."""
    padded = np.pad(image, 7, mode="reflect")
    total = np.zeros_like(padded)
    for top in range(padded.shape[0] - 7):
        for left in range(padded.shape[1] - 7):
            patch = padded[top : top + 8, left : left + 8].ravel()
            rest = patch - patch.mean()
            scores = [
                np.log(float(w)) + multivariate_normal(np.zeros(64), c.numpy() + variance * np.eye(64)).logpdf(rest)
                for w, c in zip(mixture.weights, mixture.covariances, strict=True)
            ]
            c = mixture.covariances[int(np.argmax(scores))].numpy()
            likeliest = c @ np.linalg.solve(c + variance * np.eye(64), rest) + patch.mean()
            total[top : top + 8, left : left + 8] += likeliest.reshape(8, 8)
    return total[7:-7, 7:-7] / 64


def test_patches_are_denoised_one_by_one_and_averaged() -> None:
    image = np.random.default_rng(2).random((13, 11))
    found = denoised(torch.from_numpy(image)[None, None], known(), 0.01)
    np.testing.assert_allclose(found[0, 0].numpy(), naive(image, known(), 0.01), atol=1e-9)


def test_images_without_texture_stay_as_they_are_at_any_stride() -> None:
    image = torch.full((2, 3, 21, 18), 0.3, dtype=torch.float64)
    for stride in (1, 3, 4, 8):
        for offset in range(stride):
            torch.testing.assert_close(denoised(image, known(), 0.01, stride, offset), image)


def photos(folder: Path, n: int, side: int = 96) -> Path:
    """Edges at all angles, of all contrasts."""
    folder.mkdir()
    for number in range(n):
        rng = np.random.default_rng(number)
        y, x = np.mgrid[:side, :side]
        image = np.full((side, side), 120.0)
        for _ in range(12):
            angle, at = rng.uniform(0, np.pi), rng.uniform(0, side)
            image[(x - side / 2) * np.cos(angle) + (y - side / 2) * np.sin(angle) > at - side / 2] += rng.uniform(
                -70, 70
            )
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).convert("RGB").save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prior")
    out = folder / "patches.safetensors"
    words = ["--components", "12", "--patches", "4000", "--iterations", "6", "--json"]
    with pytest.raises(SystemExit) as caught:
        main(["deblur", "learn-patches", str(photos(folder / "photos", 12)), "--out", str(out), *words])
    assert not caught.value.code
    return out


def test_a_prior_says_where_it_is_from(prior: Path) -> None:
    about = load_mixture(prior).about
    assert (about["images"], about["patches"], about["components"]) == (12, 4000, 12)
    assert len(about["images_sha256"]) == 64


@pytest.mark.parametrize("blur", ["disk-4@96", "shake@384"])
def test_images_like_those_it_was_learnt_from_gain_more_than_by_wiener(prior: Path, tmp_path: Path, blur: str) -> None:
    files = sorted(photos(tmp_path / "others", 14).glob("1[23].png"))
    images = torch.stack([torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).float() for file in files])
    level = Disk(radius=4, at=96) if blur == "disk-4@96" else None
    spreads = [kernels.disk(4.0)] * 2 if level else [kernels.shake_for("test", k) for k in range(2)]
    from blurtrain.blur.convolution import convolve_each

    given = convolve_each(images, spreads).clamp(0, 255).round()

    def error(method: str) -> Array:
        restored = Deblurring.model_validate(method).restored(given / 255, spreads)
        return ((255 * restored).clamp(0, 255).round() - images).square().mean((1, 2, 3)).numpy()

    own = error(f"patch-prior file={prior} title=edges")
    assert (own < 0.5 * (given - images).square().mean((1, 2, 3)).numpy()).all()
    assert own.sum() < error("wiener").sum()


def test_files_that_are_no_prior_are_refused_in_one_line(tmp_path: Path) -> None:
    other, damaged = tmp_path / "other.safetensors", tmp_path / "damaged.safetensors"
    save_file({"weights": torch.ones(2)}, other)
    mixture = known()
    save_mixture(Mixture(mixture.weights, mixture.covariances * torch.nan, {}), damaged)
    (tmp_path / "text.safetensors").write_text(json.dumps({"no": "tensors"}))
    for name, said in (
        ("other", "is no mixture"),
        ("damaged", "is damaged"),
        ("text", ""),
        ("missing", "no such file"),
    ):
        method: Deblurring = Deblurring.model_validate(
            {"type": "patch-prior", "file": str(tmp_path / f"{name}.safetensors")}
        )
        with pytest.raises(SettingsError) as caught:
            method.restored(torch.rand(1, 3, 32, 32), [kernels.disk(2.0)])
        assert said in str(caught.value) and name in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(SettingsError, match="another file than was meant"):
        Deblurring.model_validate({"type": "patch-prior", "file": str(other), "sha256": "0" * 64}).check([])
