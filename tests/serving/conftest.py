"""A small detector with random weights, exported, and photos; services in processes of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from photo_files import encoded, photo
from random_detector import random_network
from serving_process import Serving

from blurtrain.models.export import export
from blurtrain.models.trained import TrainedNetwork
from blurtrain.serving import Detector


@pytest.fixture(scope="session")
def network() -> TrainedNetwork:
    return random_network()


@pytest.fixture(scope="session")
def model(network: TrainedNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FILE.onnx, with its sidecar beside it."""
    file = tmp_path_factory.mktemp("model") / "detector.onnx"
    export(network, file)
    return file


@pytest.fixture(scope="session")
def detector(model: Path) -> Detector:
    return Detector(model)


@pytest.fixture(scope="session")
def photos() -> list[bytes]:
    """Twenty JPEG files."""
    return [encoded(photo(seed)) for seed in range(20)]


@pytest.fixture(scope="module")
def serving(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A service with the detector, short patience and small limits. Not to be stopped."""
    limits = {"patience": 1.0, "photo_bytes": 200_000, "megapixels": 1.0, "batch_photos": 50}
    with Serving(model, tmp_path_factory.mktemp("jobs"), limits) as one:
        yield one
