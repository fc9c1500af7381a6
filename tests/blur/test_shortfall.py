"""Runs that are too short for their curriculum."""

import pytest

from blurtrain.blur.curricula import (
    ConstantBlur,
    CosineBlur,
    Curriculum,
    DevelopmentalBlur,
    FadingBlur,
    FeatureSmoothing,
    GeometricBlur,
    HalfBatchBlur,
    LinearBlur,
    MixBlur,
    ReplayBlur,
    StepwiseBlur,
    UniformBlur,
    shortfall,
)


@pytest.mark.parametrize(
    ("curriculum", "enough", "missing"),
    [
        (StepwiseBlur(), 5, "level 5 (sigma 0)"),
        (StepwiseBlur(sigmas=(4, 3, 2, 1, 0), epochs_per_level=10), 41, "level 5 (sigma 0)"),
        (StepwiseBlur(sigmas=(4, 0), epochs_per_level=2.5), 4, "level 2 (sigma 0)"),
        (ReplayBlur(sigmas=(2, 1, 0), durations=(13, 27, 160)), 2, "level 2 (sigma 1), level 3 (sigma 0)"),
        (ReplayBlur(sigmas=(2, 1, 0), durations=(1, 1, 0.1)), 21, "level 3 (sigma 0)"),
        (LinearBlur(), 2, "sigma 0"),
        (CosineBlur(start=0, end=3), 2, "sigma 3"),
        (GeometricBlur(), 6, "any sigma below the first (the next begins after epoch 5)"),
        (FeatureSmoothing(every_epochs=2), 3, "any sigma below the first (the next begins after epoch 2)"),
    ],
    ids=str,
)
def test_a_run_that_is_too_short_is_told_what_it_lacks(curriculum: Curriculum, enough: int, missing: str) -> None:
    assert shortfall(curriculum, enough) == shortfall(curriculum, 10 * enough) == ""
    words = f"too few epochs ({enough - 1}) for the {curriculum.schedule} curriculum, which never gets to {missing}"
    assert shortfall(curriculum, enough - 1) == words


def test_levels_that_are_passed_over_are_named() -> None:
    assert shortfall(StepwiseBlur(), 3).endswith("never gets to level 3 (sigma 2), level 5 (sigma 0)")
    assert shortfall(ReplayBlur(), 3).endswith("never gets to level 5 (sigma 0)")  # level 3 comes again with level 4


@pytest.mark.parametrize(
    "curriculum",
    [ConstantBlur(), MixBlur(), UniformBlur(), HalfBatchBlur(), FadingBlur(), DevelopmentalBlur(), LinearBlur(end=8),
     GeometricBlur(factor=1)],
    ids=str,
)  # fmt: skip
def test_other_curricula_fit_any_run(curriculum: Curriculum) -> None:
    assert shortfall(curriculum, 1) == ""
