"""Methods that restore by a run's network: before any classifier, known by its weights; plug and play."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from blurtrain.blur import kernels
from blurtrain.blur.blurs import Blur
from blurtrain.cli import main
from blurtrain.deblurring import Deblurring
from blurtrain.deblurring.plug_and_play import half_quadratic_splitting
from blurtrain.deblurring.reflected import ReflectedBlur
from blurtrain.errors import SettingsError
from blurtrain.evaluation.quality import psnr
from blurtrain.models.trained import of_run
from blurtrain.settings import Settings
from blurtrain.training.train import train

Tiny = Callable[..., Settings]
LEVEL = "disk-3@64"


def method(kind: str, run: Path, **options: Any) -> Deblurring:
    found: Deblurring = Deblurring.model_validate({"type": kind, "run": str(run), **options})
    return found


def pixels(n: int = 2, side: int = 64) -> torch.Tensor:
    smooth = torch.rand(n, 3, side + 4, side + 4, generator=torch.Generator().manual_seed(0))
    return (torch.nn.functional.avg_pool2d(smooth, 5, 1) * 600 - 170).clamp(0, 255).round()


def test_it_gives_what_the_runs_network_gives(front_end: Path) -> None:
    images, network = pixels(), of_run(front_end).module
    found = method("learned", front_end).deblurred(images, Blur.parse("zoom-2"), range(2), resolution=64)
    with torch.inference_mode():
        expected = (network(images / 255) * 255).clamp(0, 255)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)
    assert (found - images).abs().max() > 1


def test_it_is_known_by_its_weights_wherever_they_lie(front_end: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(front_end, tmp_path / "moved")
    one, other = (method("learned", run, title="ours").identity for run in (front_end, moved))
    assert one == other and one["deblur"] == "learned title=ours"
    assert one["deblur_network"] == {"architecture": "residual-unet", "width": 8, "depth": 2}
    assert method("denoiser-prior", front_end).identity["deblur_file"] == one["deblur_file"]


def test_measures_of_a_classifier_are_taken_of_what_it_restores(
    front_end: Path, tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tiny(optimisation={"epochs": 1, "warmup_epochs": 0}, evaluation={"sigmas": [], "blurs": [LEVEL]})
    run = train(settings, tmp_path).path
    words = ["--measure", "accuracy", "--measure", "deblurring", "--deblur", f"learned run={front_end} title=ours"]
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", str(run), *words, "--json"])
    assert not caught.value.code
    documents = [found for found in json.loads(capsys.readouterr().out) if found.get("deblur")]
    assert [found["measure"] for found in documents] == ["accuracy", "deblurring"]
    gained = {row["metric"]: row for row in documents[1]["rows"]}["gained"]
    assert gained["count"] == gained["n"] == 9


def damaged(run: Path, how: str) -> None:
    if how == "unfinished":
        (run / "result.json").unlink()
    elif how == "another task":
        settings = yaml.safe_load((run / "settings.yaml").read_text())
        (run / "settings.yaml").write_text(yaml.safe_dump({**settings, "task": {"type": "classification"}}))
    elif how == "other weights":
        (run / "weights.safetensors").write_bytes(b"none")
    elif how == "no run":
        (run / "settings.yaml").unlink()
    else:
        shutil.rmtree(run)


@pytest.mark.parametrize("kind", ["learned", "denoiser-prior"])
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("missing", "no such run"),
        ("no run", "is no run: it has no settings.yaml"),
        ("another task", "is a run for task=classification"),
        ("unfinished", "is not finished"),
        ("other weights", "is damaged, or another file"),
    ],
)
def test_a_run_that_is_none_is_one_line(front_end: Path, tmp_path: Path, kind: str, how: str, said: str) -> None:
    run = shutil.copytree(front_end, tmp_path / "run")
    damaged(run, how)
    for refused in (lambda m: m.check([Blur.parse("disk-4")]), lambda m: m.identity):
        with pytest.raises(SettingsError, match=said) as caught:
            refused(method(kind, run))
        assert "\n" not in str(caught.value)


def test_another_run_than_was_meant_is_one_line(front_end: Path) -> None:
    with pytest.raises(SettingsError, match="another run than was meant"):
        method("learned", front_end, sha256="0" * 64).check([])


# --- plug and play ----------------------------------------------------------------------------------------------------


def shrunk(images: torch.Tensor) -> torch.Tensor:
    """A denoiser that is linear: half way to the mean of each channel."""
    return (images + images.mean((2, 3), keepdim=True)) / 2


def test_the_steps_are_those_of_dense_matrices() -> None:
    side, noise, steps, kernel = 12, 0.01, 4, kernels.disk(2.0)
    images = torch.rand(1, 1, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    blur = ReflectedBlur([kernel], images)
    found = half_quadratic_splitting(blur, images, shrunk, noise, steps)
    units = torch.eye(side**2, dtype=torch.float64).view(-1, 1, side, side)
    forward = torch.cat([blur.apply(unit[None]) for unit in units]).view(side**2, -1).T
    weight = torch.diag(blur.weight.reshape(-1))
    data, z = forward.T @ weight @ images.reshape(-1), images.reshape(-1)
    for sigma in [*np.geomspace(49 / 255, noise, steps), noise]:
        ridge = 0.23 * (noise / sigma) ** 2
        x = torch.linalg.solve(forward.T @ weight @ forward + ridge * weight, data + ridge * weight @ z)
        z = (x + x.mean()) / 2
    torch.testing.assert_close(found.reshape(-1), x, rtol=0, atol=1e-9)


def test_noise_is_white_and_of_each_images_own() -> None:
    blur, images = Blur.parse("noise-10"), torch.full((3, 3, 80, 80), 128.0)
    found = blur.blurred(images, [4, 5, 4], resolution=80) - images
    assert abs(float(found.std()) - 10) < 0.2 and abs(float(found.mean())) < 0.2
    assert torch.equal(found[0], found[2]) and abs(np.corrcoef(found[0].flatten(), found[1].flatten())[0, 1]) < 0.02
    assert abs(np.corrcoef(found[0, :, 1:].flatten(), found[0, :, :-1].flatten())[0, 1]) < 0.03
    again = [blur.blurred(images, [4, 5, 6], resolution=80, seed=1, epoch=e, training=True) for e in (0, 0, 1)]
    assert torch.equal(again[0], again[1]) and not torch.equal(again[0], again[2])


@pytest.fixture(scope="module")
def denoiser(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = tiny(
        model="residual-unet",
        regime="noise",
        network={"arguments": {"width": 8, "depth": 2}},
        augmentation={"colour": 0},
        optimisation={"epochs": 20, "batch_size": 6, "warmup_epochs": 1, "learning_rate": 5e-3, "weight_decay": 0},
        evaluation={"sigmas": [], "blurs": ["noise-30"], "batch_size": 4},
        loader={"threads": 1},
    )
    return train(settings, tmp_path_factory.mktemp("denoiser")).path


@pytest.mark.slow
@pytest.mark.parametrize("level", ["disk-4@128", "disk-8@128", "shake@192"])
def test_images_gain_by_a_denoiser_that_was_trained_on_noise(denoiser: Path, level: str) -> None:
    sharp, blur = pixels(4), Blur.parse(level)
    given = blur.blurred(sharp, range(4), resolution=64).clamp(0, 255).round()
    found = method("denoiser-prior", denoiser).deblurred(given, blur, range(4), resolution=64).round()
    assert (psnr(found, sharp) - psnr(given, sharp)).min() > 1
