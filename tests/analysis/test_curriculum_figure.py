"""The picture of a curriculum, and the command that draws it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from analysis.figures.curriculum import curriculum_figure
from blurtrain.cli import main
from blurtrain.errors import BlurtrainError
from blurtrain.settings import PRESETS, compose


def figure(regime: str, **settings: Any) -> Figure:
    return curriculum_figure(compose({"dataset": "any", "regime": regime, **settings}, "test"))


def mean(drawn: Figure) -> Any:
    """The line of the figure: sigma of each epoch."""
    (line,) = (patch for patch in drawn.axes[0].patches if isinstance(patch, StepPatch))
    return line.get_data()[0]


def ended(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    return int(caught.value.code or 0)


@pytest.mark.parametrize("regime", sorted(path.stem for path in (PRESETS / "regimes").glob("*.yaml")))
def test_every_regime_can_be_drawn(regime: str) -> None:
    if regime == "original":
        with pytest.raises(BlurtrainError, match=r"optimisation\.epochs=0"):
            figure(regime)
        return
    drawn = figure(regime, optimisation={"epochs": 40 if regime.startswith("sharp-then") else 10})
    assert drawn.get_suptitle().startswith(regime)
    levels = compose({"dataset": "any", "regime": regime}, "test").curriculum.used()
    if levels:  # no sigma, but a row for each
        rows = [blur.label for blur in levels[::-1]]
        if months := {"developmental-diet": 2, "developmental-diet-30": 10}.get(regime):  # an epoch
            rows = [f"sight-{months * epoch}" for epoch in range(10)]
        assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == rows
    else:
        assert len(mean(drawn)) == (400 if regime == "developmental" else 10)  # which falls within epochs too
    drawn.draw_without_rendering()


def test_the_line_is_the_mean_over_the_images() -> None:
    ten = {"epochs": 10}
    assert mean(figure("blurry-to-clear", optimisation=ten)).tolist() == [8, 8, 4, 4, 2, 2, 1, 1, 0, 0]
    assert mean(figure("mix-strong", optimisation=ten)) == pytest.approx(np.full(10, 3.0))
    assert mean(figure("random-uniform", optimisation=ten)) == pytest.approx(np.full(10, 1.25))
    assert mean(figure("random-uniform", curriculum={"share": 1}, optimisation=ten)) == pytest.approx(np.full(10, 2.5))
    by_batch = {"share": 0.3, "draw": "batch"}
    assert mean(figure("random-uniform", curriculum=by_batch, optimisation=ten)) == pytest.approx(
        np.full(10, 0.75), abs=1e-3
    )
    assert mean(figure("feature-smoothing", optimisation=ten)) == pytest.approx([1] * 5 + [0.9] * 5)


def test_axes_say_what_is_blurred_and_in_which_pixels() -> None:
    def labels(drawn: Figure) -> list[str]:
        axes = drawn.axes[0]
        return [axes.get_ylabel(), *(child.get_ylabel() for child in axes.child_axes)]

    assert labels(figure("blurry")) == ["sigma (pixels at 224)"]
    assert labels(figure("blurry", data={"resolution": 64})) == ["sigma (pixels at 224)", "pixels at this run's 64"]
    smoothing = figure("feature-smoothing", data={"resolution": 64})
    assert labels(smoothing) == ["sigma of the feature maps (feature pixels)"]


def test_a_legend_only_where_there_is_chance() -> None:
    def legend(drawn: Figure) -> list[str]:
        box = drawn.axes[0].get_legend()
        return [text.get_text() for text in box.get_texts()] if box else []

    assert legend(figure("blurry-to-clear")) == []
    assert legend(figure("mix-weak"))[0] == "height: share of the images at this sigma"
    assert legend(figure("random-uniform"))[:2] == ["5–95 % of the blurred", "25–75 % of the blurred"]
    all_blurred = figure("random-uniform", curriculum={"share": 1})
    assert legend(all_blurred)[:2] == ["5–95 % of the images", "25–75 % of the images"]
    assert legend(figure("replay"))[0] == "height: share of the batches at this sigma"


def test_what_is_sharp_and_what_shares_a_draw_is_said_in_words() -> None:
    half = figure("random-uniform", data={"resolution": 64})
    assert [text.get_text() for text in half.axes[0].texts] == ["50 % of the images: sharp"]
    assert not figure("random-uniform", curriculum={"share": 1}).axes[0].texts
    assert half.get_suptitle() == "random-uniform: uniform · 100 epochs"
    assert figure("replay").get_suptitle() == "replay · 100 epochs · one draw a batch"
    six = {"epochs": 6}
    assert figure("feature-smoothing", optimisation=six).get_suptitle() == "feature-smoothing · 6 epochs · at test 0.9"


def test_what_falls_within_an_epoch_is_drawn_so() -> None:
    (line,) = (
        p for p in figure("developmental", optimisation={"epochs": 5}).axes[0].patches if isinstance(p, StepPatch)
    )
    values, edges, _ = line.get_data()
    assert (edges[0], edges[-1]) == (0, 5)
    assert (np.diff(values) < 0).all()
    first = values[edges[:-1] < 1]
    assert first.mean() == pytest.approx(10.6, abs=0.05)
    by_epoch = figure("developmental", curriculum={"ageing": "epoch"}, optimisation={"epochs": 5})
    assert mean(by_epoch)[0] == pytest.approx(19.66)


@pytest.mark.parametrize(("kind", "begins"), [("png", b"\x89PNG\r\n"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_the_command_draws_a_regime(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, begins: bytes
) -> None:
    first, second = tmp_path / "new" / f"first.{kind}", tmp_path / f"second.{kind}"
    assert ended("curriculum", "replay", "optimisation.epochs=12", "--out", first) == 0
    assert capsys.readouterr().out == f"{first}\n"
    assert first.read_bytes().startswith(begins)
    ended("curriculum", "replay", "optimisation.epochs=12", "--out", second)
    assert first.read_bytes() == second.read_bytes()


def test_the_command_draws_the_curriculum_of_a_settings_file(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("dataset: mine\nregime: own\ncurriculum: {schedule: linear}\n")
    assert ended("curriculum", tmp_path / "run.yaml", "curriculum.start=4", "--out", tmp_path / "a.png") == 0
    assert ended("curriculum", tmp_path / "run.yaml", "--out", tmp_path / "b.png") == 0
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["blury-to-clear", "--out", "a.png"], "regime 'blury-to-clear' has no preset in configs/regimes"),
        (["blury-to-clear", "--out", "a.png"], "did you mean 'blurry-to-clear'?"),
        (["missing.yaml", "--out", "a.png"], "missing.yaml: cannot be read: No such file or directory"),
        (["blurry", "curriculum.sigam=3", "--out", "a.png"], "did you mean 'sigma'?"),
        (["blurry", "--out", "a.jpeg"], "a.jpeg: a picture's name must end in one of .png, .pdf, .svg"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    why: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ended("curriculum", *arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert why in err
    assert not list(tmp_path.iterdir())


def test_blurs_have_a_row_each_with_bars_of_their_shares() -> None:
    mix = {"schedule": "mix", "blurs": ["disk-4", "shake", "sharp"], "probabilities": [0.5, 0.25, 0.25]}
    axes = figure("own", curriculum=mix).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["sharp", "shake", "disk-4"]
    assert {text.get_text() for text in axes.texts} == {"50 %", "25 %"}
    assert not [patch for patch in axes.patches if isinstance(patch, StepPatch)]  # there is no mean of them
    for curriculum in (
        {"schedule": "constant", "blur": "disk-4"},
        {"schedule": "stepwise", "blurs": ["disk-8", "box-8", "sharp"]},
        {"schedule": "replay", "blurs": ["disk-8", "sharp"], "draw": "batch"},
        {"schedule": "fading", "blur": "shake"},
    ):
        figure("own", curriculum=curriculum).draw_without_rendering()
