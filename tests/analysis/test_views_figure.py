"""The picture of images along a curriculum."""

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import AxesImage

from analysis.figures.views import epochs_shown, save, views_figure
from blurtrain.cli import main
from blurtrain.data.dataset import Dataset
from blurtrain.data.training_views import TrainingView
from blurtrain.errors import SettingsError

BRIGHT = TrainingView(1, "disk-4", np.full((8, 8, 3), 200, np.uint8))


def test_every_view_is_drawn_with_its_blur_and_gaps_say_why() -> None:
    figure = views_figure([[BRIGHT, None]], "faces, $x, 2 epochs")
    drawn, gap = figure.axes
    (image,) = (part for part in drawn.get_children() if isinstance(part, AxesImage))
    assert (np.asarray(image.get_array()) == BRIGHT.pixels).all()
    assert drawn.get_title() == "epoch 1: disk-4" and gap.texts[0].get_text() == "left out"


def test_of_many_epochs_some_are_shown() -> None:
    assert epochs_shown(3) == [1, 2, 3] and epochs_shown(100) == [1, 21, 41, 60, 80, 100]
    with pytest.raises(SettingsError, match=r"optimisation\.epochs=0"):
        epochs_shown(0)


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_the_same_views_give_the_same_bytes(tmp_path: Path, kind: str) -> None:
    for name in ("a", "b"):
        save([[BRIGHT]], "title", tmp_path / "new" / f"{name}.{kind}")
    first, second = ((tmp_path / "new" / f"{name}.{kind}").read_bytes() for name in ("a", "b"))
    assert first == second and len(first) > 1000
    with pytest.raises(SettingsError, match=r"a picture's name must end in one of \.png, \.svg, \.pdf"):
        save([[BRIGHT]], "title", tmp_path / "a.jpg")


def test_the_command_draws_images_of_a_prepared_dataset(
    prepared: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, out = tmp_path / "run.yaml", tmp_path / "views.svg"
    text = {"dataset": prepared.name, "regime": "blurry-to-clear", "data": {"resolution": 64},
            "optimisation": {"epochs": 5, "batch_size": 8}}  # fmt: skip
    settings.write_text(json.dumps(text))
    data = str(prepared.folder.parent)
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["curriculum", str(settings), "--images", "2", "--data", data, "--out", str(out)])
    assert capsys.readouterr().out.strip() == str(out)
    drawn = out.read_text()
    assert all(f"epoch {k}: sigma {sigma}<" in drawn for k, sigma in zip(range(1, 6), (8, 4, 2, 1, 0), strict=True))
    with pytest.raises(SystemExit):
        main(["curriculum", "blurry", "--images", "2", "--out", str(out)])
    assert "names no dataset" in capsys.readouterr().err


def test_names_of_blurs_are_drawn_as_they_are() -> None:
    odd = TrainingView(1, "$x\n<", BRIGHT.pixels)
    assert views_figure([[odd]], "t").axes[0].get_title() == r"epoch 1: $x\n<"
