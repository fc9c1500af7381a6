"""The bench of the service runs through, and says what it has compared; how fast it is, no test says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

pytest.importorskip("fastapi")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

from blurtrain.bench.serve import bench_serve, table
from blurtrain.models.export import export
from blurtrain.models.trained import Preprocessing, TrainedNetwork


@pytest.mark.slow
def test_it_compares_requests_and_batches_with_the_bare_detector(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    shown = Preprocessing(32, 32, (0.5,) * 3, (0.25,) * 3)
    export(TrainedNetwork(module, shown, ("sharp", "soft"), "of a test"), tmp_path / "it.onnx")
    (tmp_path / "photos").mkdir()
    for k in range(3):
        pixels = np.random.default_rng(k).integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{k}.png")
    single, batch = bench_serve(tmp_path / "it.onnx", tmp_path / "photos", singles=2, batch=20, rounds=2)
    assert (single["what"], single["photos"], batch["what"], batch["photos"]) == ("single", 2, "batch", 20)
    assert single["ratio"] == single["request_ms"] / single["bare_ms"] and single["network alone_ms"] > 0
    assert batch["ratio"] == batch["batch_ms"] / batch["bare_ms"] and batch["service_peak_mb"] > 10
    assert "single, 2 photos: " in table([single, batch]) and "batch, 20 photos: " in table([single, batch])
