"""Runs whose blurred epochs are trained at fewer pixels."""

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from blurtrain.errors import SettingsError
from blurtrain.settings import Settings
from blurtrain.training.train import train

Tiny = Callable[..., Settings]
REDUCED = {"reduced": {"least_resolution": 32}}
NETWORK = {"architecture": "resnet-18"}
STEPWISE = {"schedule": "stepwise", "sigmas": [16, 0], "epochs_per_level": 1}


def test_a_run_says_so_and_is_resumed_to_the_same_bits(
    tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = tiny(curriculum=STEPWISE, data=REDUCED, network=NETWORK)
    caplog.set_level("INFO")
    whole = train(settings, tmp_path / "whole")
    assert [event.get("resolution") for event in whole.journal() if event["event"] == "epoch"] == [32, None]
    assert "sigma 16 at 32 px" in caplog.text and "sigma 0, " in caplog.text
    train(settings, tmp_path / "two", until_epoch=1)
    again = train(settings, tmp_path / "two")
    one, other = (safetensors.torch.load_file(run.weights) for run in (whole, again))
    assert all(torch.equal(one[name], other[name]) for name in one)
    plain = safetensors.torch.load_file(train(tiny(curriculum=STEPWISE, network=NETWORK), tmp_path / "plain").weights)
    assert any(not torch.equal(one[name], plain[name]) for name in one)


def test_a_network_of_one_size_is_refused_before_anything_is_trained(tiny: Tiny, tmp_path: Path) -> None:
    network = {"architecture": "timm/vit_tiny_patch16_224", "arguments": {"img_size": 64}}
    with pytest.raises(SettingsError, match=r"^data\.reduced[^\n]* does not take images of 32 px [^\n]*$"):
        train(tiny(network=network, curriculum=STEPWISE, data=REDUCED), tmp_path)
