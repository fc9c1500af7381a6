"""Filters of the first layer over stages."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import AxesImage
from numpy.typing import NDArray
from stage_files import add_weights

from analysis.figures.filters import filters_figure, first_layer, mosaic, stages_of
from blurtrain.errors import RunError
from blurtrain.run import Run


def layer(value: float = 1.0, count: int = 2, channels: int = 3, side: int = 8) -> NDArray[np.float32]:
    weights = np.zeros((count, channels, side, side), np.float32)
    weights[0, 0, 0, 0], weights[0, -1, 0, 1] = value, -value / 2
    return weights


def test_the_first_layer_is_the_first_convolution_of_images(tmp_path: Path) -> None:
    weights = {
        "features.10.weight": layer(2),
        "features.3.weight": layer(1),
        "a.depthwise.weight": layer(3, 4, 1),
        "a.pointwise.weight": np.ones((4, 3, 1, 1), np.float32),
        "classifier.weight": np.zeros((3, 8), np.float32),
    }
    found = first_layer(add_weights(tmp_path, weights))
    assert found.layer == "features.3.weight" and found.weights.max() == 1


@pytest.mark.parametrize("content", [b"", b"half of a fi", b"\x08\0\0\0\0\0\0\0{}      "])
def test_what_cannot_be_read_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"weights\.safetensors: "):
        first_layer(path)


def test_every_filter_is_scaled_by_its_own_largest_weight() -> None:
    weights = np.concatenate([layer(0.01, 1), layer(5, 1), layer(0, 1)])
    image = mosaic(weights)
    assert image.shape == (17, 17, 3)  # two by two, with a line between
    for top, left in ((0, 0), (0, 9)):
        assert image[top, left].tolist() == [1, 0.5, 0.5]
        assert image[top, left + 1].tolist() == [0.5, 0.5, 0.25]
    assert (image[9:, :8] == 0.5).all()  # a filter of zeros
    assert (image[8] == 1).all() and (image[9:, 9:] == 1).all()


def test_small_filters_are_drawn_larger_and_grey_ones_grey() -> None:
    assert mosaic(layer(1, 4, 3, 3)).shape == (19, 19, 3)
    assert mosaic(layer(1, 4, 1, 8)).shape == (17, 17)


def test_rows_are_runs_and_columns_stages(tmp_path: Path) -> None:
    runs = []
    for name, epochs in (("a", (1, 20)), ("b", (20,))):
        run = Run(tmp_path / name)
        run.path.mkdir()
        for epoch in epochs:
            add_weights(run.path, {"conv.weight": layer(epoch, 4)}, epoch)
        add_weights(run.path, {"conv.weight": layer(60, 1)})
        runs.append((f"{name} <&$x_", 60, run))
    (tmp_path / "b" / "checkpoints" / "epoch-0040.safetensors").write_bytes(b"half")
    assert list(stages_of(runs[0][2])) == [1, 20, None]
    figure = filters_figure(runs)
    assert figure
    grid = np.array(figure.axes).reshape(2, 3)
    assert [axes.get_title() for axes in grid[0]] == ["epoch 1", "epoch 20", "epoch 60"]
    assert [axes.get_ylabel() for axes in grid[:, 0]] == ["a <&$x_", "b <&$x_"]
    images = [[len([c for c in axes.get_children() if isinstance(c, AxesImage)]) for axes in row] for row in grid]
    assert images == [[1, 1, 1], [0, 1, 1]]
    assert grid[1, 0].texts[0].get_text() == "not kept"


def test_without_weights_there_is_no_figure(tmp_path: Path) -> None:
    assert filters_figure([("a", 60, Run(tmp_path))]) is None
