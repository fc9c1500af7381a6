"""Runs that are too short for their curriculum."""

import pytest

from blurtrain.blur.curricula import (
    Constant,
    Cosine,
    Curriculum,
    Developmental,
    Fading,
    FeatureSmoothing,
    Geometric,
    HalfBatch,
    Linear,
    Mix,
    Replay,
    Stepwise,
    Uniform,
)


@pytest.mark.parametrize(
    ("curriculum", "enough", "missing"),
    [
        (Stepwise(), 5, "level 5 (sigma 0)"),
        (Stepwise(sigmas=(4, 3, 2, 1, 0), epochs_per_level=10), 41, "level 5 (sigma 0)"),
        (Stepwise(sigmas=(4, 0), epochs_per_level=2.5), 4, "level 2 (sigma 0)"),
        (Replay(sigmas=(2, 1, 0), durations=(13, 27, 160)), 2, "level 2 (sigma 1), level 3 (sigma 0)"),
        (Replay(sigmas=(2, 1, 0), durations=(1, 1, 0.1)), 21, "level 3 (sigma 0)"),
        (Linear(), 2, "sigma 0"),
        (Cosine(start=0, end=3), 2, "sigma 3"),
        (Geometric(), 6, "any sigma below the first (the next begins after epoch 5)"),
        (FeatureSmoothing(every_epochs=2), 3, "any sigma below the first (the next begins after epoch 2)"),
    ],
    ids=str,
)
def test_a_run_that_is_too_short_says_what_it_lacks(curriculum: Curriculum, enough: int, missing: str) -> None:
    assert curriculum.shortfall(enough) == curriculum.shortfall(10 * enough) == ""
    words = f"too few epochs ({enough - 1}) for the {curriculum.schedule} curriculum, which never gets to {missing}"
    assert curriculum.shortfall(enough - 1) == words


def test_levels_that_are_passed_over_are_named() -> None:
    assert Stepwise().shortfall(3).endswith("never gets to level 3 (sigma 2), level 5 (sigma 0)")
    assert Replay().shortfall(3).endswith("never gets to level 5 (sigma 0)")  # level 3 comes again with level 4


@pytest.mark.parametrize(
    "curriculum",
    [Constant(), Mix(), Uniform(), HalfBatch(), Fading(), Developmental(), Linear(end=8),
     Geometric(factor=1)],
    ids=str,
)  # fmt: skip
def test_other_curricula_fit_any_run(curriculum: Curriculum) -> None:
    assert curriculum.shortfall(1) == ""
