"""The train-blur x test-blur matrix."""

from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import AxesImage

import analysis
from analysis.figures.matrix import matrices, matrix_figure
from analysis.figures.style import ink_on
from analysis.panels import panels

MakeRun = Callable[..., str]
PRETRAINED = {"network": {"pretrained": {"published": "torchvision/vgg16", "head": "kept"}}}


@pytest.fixture
def measured(runs: Path, make_run: MakeRun) -> Path:
    for seed in (0, 1):
        make_run(runs, "pets", "clear", seed, counts={0.0: 80 + seed, 8.0: 10}, settings=PRETRAINED)
    make_run(runs, "pets", "blurry", counts={0.0: 5, 8.0: 60, 16.0: 40}, settings=PRETRAINED)
    make_run(runs, "pets", "original", counts={0.0: 70, 8.0: 0}, epoch=0, settings=PRETRAINED)
    return runs


def test_cells_are_means_over_seeds_and_the_untrained_network_comes_first(measured: Path) -> None:
    (matrix,) = matrices(panels(analysis.load(measured)))
    assert matrix.rows == ("original", "clear", "blurry") and matrix.seeds == (1, 2, 1)
    assert [label for _, label in matrix.columns] == ["0", "8", "16"]
    values = [[cell if isinstance(cell, str) else round(86 * cell.value, 6) for cell in row] for row in matrix.cells]
    assert values == [[70, 0, "not measured"], [80.5, 10, "not measured"], [5, 60, 40]]


def test_numbers_colours_and_gaps_are_drawn(measured: Path) -> None:
    waiting = {("pets", "alexnet-sup"): {"fading": "no run is done yet: 2 failed", "clear": "has another"}}
    (matrix,) = matrices(panels(analysis.load(measured)), waiting)
    figure = matrix_figure(matrix)
    axes = figure.axes[0]
    cells = {text.get_position(): text for text in axes.texts[:-1]}
    assert cells[1, 1].get_text() == f"{1000 / 86:.1f}" and cells[0, 1].get_text() == f"{100 * 80.5 / 86:.1f}"
    assert cells[2, 0].get_text() == "–" and cells[1, 3].get_text() == "no run is done yet: 2 failed"
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        "original (1 seed)", "clear (2 seeds)", "blurry (1 seed)", "fading",
    ]  # fmt: skip
    assert "n = 86 images, 1–2 seeds; alexnet-sup" in axes.texts[-1].get_text()
    assert [text.get_text() for text in figure.texts] == ["–: not measured"]
    (image,) = (artist for artist in axes.get_children() if isinstance(artist, AxesImage))
    for (column, row), text in cells.items():
        if text.get_text().replace(".", "").isdigit():
            shade = image.cmap(image.norm(image.get_array()[int(row), int(column)]))
            assert contrast(text.get_color(), shade) >= 4.5


def contrast(ink: object, ground: object) -> float:
    def luminance(colour: object) -> float:
        channels = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]  # type: ignore[arg-type]
        return 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]

    dark, light = sorted([luminance(ink), luminance(ground)])
    return (light + 0.05) / (dark + 0.05)


def test_ink_contrasts_with_every_grey() -> None:
    assert all(contrast(ink_on((g, g, g)), (g, g, g)) >= 4.5 for g in (k / 50 for k in range(51)))


def test_an_untrained_network_of_other_conditions_is_not_beside(runs: Path, make_run: MakeRun) -> None:
    for regime in ("clear", "blurry"):
        make_run(runs, "pets", regime, settings=PRETRAINED)
    make_run(runs, "pets", "original", epoch=0, split="val", settings=PRETRAINED)
    (matrix,) = matrices(panels(analysis.load(runs)))
    assert matrix.rows == ("clear", "blurry")


def test_one_regime_or_one_level_is_no_matrix(runs: Path, make_run: MakeRun) -> None:
    make_run(runs, "pets", "clear", settings=PRETRAINED)
    make_run(runs, "faces", "clear", counts={0.0: 3})
    make_run(runs, "faces", "blurry", counts={0.0: 3})
    assert matrices(panels(analysis.load(runs))) == []


def test_of_many_levels_some_are_shown(runs: Path, make_run: MakeRun) -> None:
    for regime in ("clear", "blurry"):
        make_run(runs, "pets", regime, counts={float(s): 40 for s in range(33)}, settings=PRETRAINED)
    (matrix,) = matrices(panels(analysis.load(runs)))
    assert [label for _, label in matrix.columns] == ["0", "1", "2", "4", "8", "16", "32"]
