"""A run of an anti-aliased network: trained, found again with its filters, begun with weights of a plain one."""

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from blurtrain.errors import SettingsError
from blurtrain.files import sha256_of
from blurtrain.models.antialias import BlurPool
from blurtrain.models.trained import of_run
from blurtrain.settings import Settings
from blurtrain.training.train import train

Tiny = Callable[..., Settings]


def test_learnt_filters_are_trained_and_kept(tiny: Tiny, tmp_path: Path) -> None:
    run = train(tiny(network={"antialias": {"filter": 5, "learnt": True}}), tmp_path)
    network = of_run(run.path)
    pools = {name: m for name, m in network.module.named_modules() if isinstance(m, BlurPool)}
    stored = safetensors.torch.load_file(run.weights)
    assert len(pools) == 4
    for name, pool in pools.items():
        assert pool.sizes is not None and torch.equal(pool.sizes, stored[f"{name}.sizes"])
        assert pool.sizes.abs().max() > 0, "began at 0"
    assert network.fresh is not None and repr(network.fresh().eval()) == repr(network.module)


def test_a_run_begins_with_weights_of_a_plain_one(tiny: Tiny, tmp_path: Path) -> None:
    plain = train(tiny(seed=5), tmp_path)
    pretrained = {"file": str(plain.weights), "sha256": sha256_of(plain.weights)}
    run = train(tiny(network={"antialias": {"learnt": True}, "pretrained": pretrained}), tmp_path)
    assert run.path != plain.path and run.result()


def test_a_network_without_strides_is_refused_before_anything_is_written(tiny: Tiny, tmp_path: Path) -> None:
    network = {"architecture": "timm/vit_tiny_patch16_224", "arguments": {"img_size": 64}, "antialias": {}}
    with pytest.raises(SettingsError, match=r"^network\.antialias: timm/vit_tiny_patch16_224 [^\n]*: leave it out$"):
        train(tiny(network=network), tmp_path)
    assert not list(tmp_path.iterdir())
