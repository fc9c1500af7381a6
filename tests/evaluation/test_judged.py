"""What networks say of files: each shown them in its own way, at its own temperature."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from blurtrain.data.preprocessing import Preprocessing
from blurtrain.errors import DataError
from blurtrain.evaluation.judged import judged
from blurtrain.models.trained import TrainedNetwork


class Brightness(nn.Module):
    """Logits: mean of the middle pixels, and 0."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        middle = images[:, :, 8:16, 8:16].mean((1, 2, 3)) * self.weight
        return torch.stack([middle, 0 * middle], 1)


def network(view: str, temperature: float = 1.0) -> TrainedNetwork:
    seen = Preprocessing(24, 24, (0.0,) * 3, (1.0,) * 3, view=view)  # type: ignore[arg-type]
    return TrainedNetwork(Brightness().eval(), seen, ("bright", "dark"), "it", temperature=temperature)


@pytest.fixture
def photos(tmp_path: Path) -> list[tuple[str, str, str]]:
    for k, level in enumerate((20, 120, 250)):
        Image.new("RGB", (30 + k, 40), (level,) * 3).save(tmp_path / f"{k}.png")
    return [("2.png", "bright", "s"), ("0.png", "dark", "s"), ("1.png", "bright", "t")]


@pytest.mark.parametrize("view", ["whole", "mosaic"])
def test_probabilities_of_files_in_their_order(tmp_path: Path, photos: list[tuple[str, str, str]], view: str) -> None:
    found = judged(network(view, 2.0), tmp_path, photos)
    expected = 1 / (1 + np.exp(-np.array([250, 20, 120]) / 255 / 2))
    np.testing.assert_allclose(found.probabilities[:, 0], expected, atol=2e-3)
    assert found.labels.tolist() == [0, 1, 0] and found.files == ("2.png", "0.png", "1.png")
    assert found.scenes == ("s", "s", "t")


def test_what_cannot_be_judged(tmp_path: Path, photos: list[tuple[str, str, str]]) -> None:
    with pytest.raises(DataError, match="does not know 'grey'"):
        judged(network("whole"), tmp_path, [("0.png", "grey", "s")])
    (tmp_path / "0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"0\.png"):
        judged(network("whole"), tmp_path, photos)
