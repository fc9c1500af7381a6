"""Networks that restore images: what they are, how they are trained, resumed and measured."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import Training, codes
from processes import run as in_processes

from blurtrain.cli import main
from blurtrain.data.dataset import Dataset
from blurtrain.deblurring.residual_unet import ResidualUNet, build_restoring
from blurtrain.errors import SettingsError
from blurtrain.models.trained import of_run
from blurtrain.run import Run
from blurtrain.settings import Settings
from blurtrain.settings.identity import identity_of

Tiny = Callable[..., Settings]
LEVEL = "disk-3@64"


def drawn(side: tuple[int, int], n: int = 2) -> torch.Tensor:
    return torch.rand(n, 3, *side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("side", [(16, 16), (17, 30), (64, 9)])
def test_it_begins_as_the_identity_at_any_size(side: tuple[int, int]) -> None:
    images = drawn(side)
    assert torch.equal(build_restoring({"width": 4, "depth": 3})(images), images)


def test_an_image_comes_out_the_same_whatever_batch_it_is_in() -> None:
    network = ResidualUNet(4, 2).double()
    torch.nn.init.normal_(network.tail.weight)
    images = drawn((20, 24), 5).double()
    torch.testing.assert_close(network(images)[2:3], network(images[2:3]), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"widht": 8}, "widht: unknown to residual-unet; did you mean 'width'"),
        ({"depth": 9}, "depth: residual-unet takes 1 to 6, not 9"),
        ({"width": 1.5}, "width: residual-unet takes 1 to 512"),
    ],
)
def test_arguments_that_do_not_fit_are_one_line(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        build_restoring(arguments)


def test_images_that_are_too_small_are_one_line() -> None:
    with pytest.raises(SettingsError, match="7 x 40 pixels are too small: at least 8"):
        ResidualUNet(4, 3)(drawn((7, 40)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"task": "classification", "loss": "cross-entropy"}, "residual-unet gives images: set task=restoration"),
        ({"loss": "cross-entropy"}, "set loss=l1 or l2"),
        ({"data": {"mean": [0.5, 0.5, 0.5]}}, "set data.mean="),
    ],
)
def test_settings_that_do_not_fit_are_named(tiny: Tiny, change: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        tiny(model="residual-unet", **change)


def test_the_arguments_are_part_of_the_identity(tiny: Tiny) -> None:
    one, other = (tiny(model="residual-unet", network={"arguments": {"width": width}}) for width in (8, 9))
    assert identity_of(one) != identity_of(other)


def outcome(run: Path) -> Any:
    return json.loads((Run(run).evaluations / (Run(run).result() or {})["measured"]).read_text())


def test_a_run_learns_to_restore(front_end: Path) -> None:
    rows = {(row["blur"], row["metric"]): row for row in outcome(front_end)["rows"]}
    gain = rows[LEVEL, "psnr"]["value"] - rows[LEVEL, "psnr_input"]["value"]
    assert rows[LEVEL, "psnr_gain"]["value"] == pytest.approx(gain, abs=1e-6) and gain > 0.5
    assert rows[LEVEL, "gained"]["count"] == rows[LEVEL, "gained"]["n"] == 9
    assert rows["sharp", "psnr_input"]["value"] == 100 and rows["sharp", "gained"]["count"] == 0
    headline = (Run(front_end).result() or {})["headline"]
    assert headline.startswith("PSNR 100.00 dB" if rows["sharp", "psnr"]["value"] == 100 else "PSNR ")
    losses = [event["loss"] for event in Run(front_end).journal() if event["event"] == "epoch"]
    assert losses[-1] < losses[0]


def test_images_are_measured_at_eight_bits_as_scikit_image_does(
    front_end: Path, prepared: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed")
    network, source = of_run(front_end), prepared.evaluation_images("test", 64)
    expected = []
    for index in source.indices:
        (blur,) = Run(front_end).settings.levels[1:]
        stored = torch.from_numpy(np.array(source.store.read(np.array([index]))[0]))
        sharp = stored.permute(2, 0, 1)[None].float()
        given = blur.blurred(sharp, [index], resolution=64).clamp(0, 255).round()
        with torch.inference_mode():
            found = (network.module(given / 255) * 255).clamp(0, 255).round()
        pair = [image[0].permute(1, 2, 0).numpy().astype(np.uint8) for image in (sharp, found)]
        similar = metrics.structural_similarity(*pair, channel_axis=2, gaussian_weights=True,
                                                use_sample_covariance=False, sigma=1.5, full=True)[1]  # fmt: skip
        expected.append((metrics.peak_signal_noise_ratio(*pair), similar[5:-5, 5:-5].mean()))
    rows = {(row["blur"], row["metric"]): row["value"] for row in outcome(front_end)["rows"] if "value" in row}
    found_means = [rows[LEVEL, name] for name in ("psnr", "ssim")]
    np.testing.assert_allclose(found_means, np.mean(expected, axis=0), rtol=2e-4)


@pytest.mark.slow
def test_killed_and_started_again_it_ends_with_the_same_bits(tiny: Tiny, tmp_path: Path) -> None:
    settings = tiny(
        regime="blurred",
        model="residual-unet",
        network={"arguments": {"width": 4, "depth": 2}},
        curriculum={"schedule": "mix", "blurs": ["sharp", "shake@384", "noise-8"], "probabilities": [0.2, 0.4, 0.4]},
        augmentation={"colour": 0, "scaled": {"object_scales": [66], "defined_at": 66, "network_scales": [66]}},
        evaluation={"sigmas": [], "blurs": ["shake@384"], "batch_size": 4},
        checkpoints={"every_minutes": 0},
        loader={"threads": 1},
    )
    assert codes(in_processes(Training(settings, tmp_path / "undisturbed"))) == [0]
    ((code, words),) = in_processes(Training(settings, tmp_path / "killed", "step", 5))
    assert code == -signal.SIGKILL, words
    assert codes(in_processes(Training(settings, tmp_path / "killed"))) == [0]
    one, other = (next(tmp_path.glob(f"{name}/*/settings.yaml")).parent for name in ("undisturbed", "killed"))
    assert len(Run(other).attempts()) == 2
    assert Run(one).weights.read_bytes() == Run(other).weights.read_bytes()
    assert outcome(one)["rows"] == outcome(other)["rows"]


def test_a_measure_of_classes_is_refused_in_one_line(front_end: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", str(front_end), "--measure", "calibration"])
    said = capsys.readouterr().err.strip()
    assert caught.value.code and "task=restoration" in said and "\n" not in said
