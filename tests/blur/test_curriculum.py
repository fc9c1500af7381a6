"""Every schedule of the field by the values its source gives, and chance as a function of the draws alone."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

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
from blurtrain.blur.resampling import scaled
from blurtrain.data.draws import curriculum_draws
from blurtrain.data.loader import training_assignment
from blurtrain.settings import Settings, run_id

EVERY_DRAW = np.linspace(0, 1, 30_000, endpoint=False)
"""Draws at equal distances, so that shares are exact (to 1/30,000)."""

ALL = [
    Constant(sigma=3),
    Stepwise(),
    Stepwise(epochs_per_level=3),
    Linear(),
    Cosine(),
    Geometric(),
    Mix(),
    Uniform(),
    HalfBatch(),
    Replay(),
    Fading(),
    Developmental(),
    FeatureSmoothing(),
    Mix(draw="batch"),
    Uniform(share=0.5),
    Uniform(share=0.25, draw="batch"),
    Replay(sigmas=(2, 1, 0), durations=(13, 27, 160), draw="batch"),
    Fading(draw="batch"),
    Developmental(ageing="batch"),
    FeatureSmoothing(border="zero", convolutions="as-published", at_test=True),
]


def by_image(curriculum: Curriculum, epoch: int, epochs: int, draws: Any) -> NDArray[np.float64]:
    """Sigma at the beginning of an epoch, for images with these draws in batches that have all drawn the same."""
    return curriculum.assign(epoch, epochs, within=0, images=draws, batches=0.3).sigmas


def by_batch(curriculum: Curriculum, epoch: int, epochs: int, draws: Any) -> NDArray[np.float64]:
    """The same for images that have all drawn the same, of batches with these draws."""
    return curriculum.assign(epoch, epochs, within=0, images=0.1, batches=draws).sigmas


def course(curriculum: Curriculum, epochs: int) -> list[float]:
    """Sigma of each epoch of a schedule without chance: the same whatever is drawn."""
    whole = np.stack([by_image(curriculum, epoch, epochs, [0.0, 0.3, 0.999]) for epoch in range(epochs)])
    assert not np.ptp(whole, axis=1).any()
    return whole[:, 0].tolist()


def shares(drawn: NDArray[np.float64]) -> dict[float, float]:
    """Share of the images at each level."""
    levels, counts = np.unique(drawn, return_counts=True)
    return dict(zip(levels.tolist(), (counts / len(drawn)).tolist(), strict=True))


def near(expected: dict[float, float]) -> Any:
    return pytest.approx(expected, abs=1e-4)


# --- schedules without chance ---------------------------------------------------------------------------------------


def test_constant_is_constant() -> None:
    assert course(Constant(sigma=8), 7) == [8] * 7
    assert course(Constant(), 3) == [0] * 3


def test_the_study_has_twenty_epochs_a_level() -> None:
    assert course(Stepwise(), 100) == [8] * 20 + [4] * 20 + [2] * 20 + [1] * 20 + [0] * 20


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        (12, [8, 8, 8, 4, 4, 2, 2, 2, 1, 1, 0, 0]),
        (5, [8, 4, 2, 1, 0]),
        (3, [8, 4, 1]),
        (1, [8]),
    ],
)
def test_levels_share_any_number_of_epochs_as_equally_as_can_be(epochs: int, expected: list[float]) -> None:
    assert course(Stepwise(sigmas=(8, 4, 2, 1, 0)), epochs) == expected


def test_two_levels_are_a_single_step() -> None:
    assert course(Stepwise(sigmas=(4, 0)), 60) == [4] * 30 + [0] * 30


def test_rising_levels_are_the_reversed_order() -> None:
    forth, back = Stepwise(sigmas=(8, 4, 2, 1, 0)), Stepwise(sigmas=(0, 1, 2, 4, 8))
    assert course(back, 10) == [0, 0, 1, 1, 2, 2, 4, 4, 8, 8]
    assert course(back, 100) == course(forth, 100)[::-1]


def test_yoshihara_s_multi_step_is_ten_epochs_a_level_and_sharp_to_the_end() -> None:
    curriculum = Stepwise(sigmas=(4, 3, 2, 1, 0), epochs_per_level=10)
    assert course(curriculum, 60) == [4] * 10 + [3] * 10 + [2] * 10 + [1] * 10 + [0] * 20
    assert course(curriculum, 15) == [4] * 10 + [3] * 5  # a shorter run does not get to the end
    halves = Stepwise(sigmas=(4, 2, 0), epochs_per_level=2.5)
    assert course(halves, 7) == [4, 4, 4, 2, 2, 0, 0]  # an epoch has the level it begins with


def test_linear_goes_from_start_to_end_in_equal_steps() -> None:
    assert course(Linear(), 5) == [8, 6, 4, 2, 0]
    hundred = course(Linear(), 101)
    assert (hundred[0], hundred[50], hundred[100]) == (8, 4, 0)
    assert course(Linear(start=1, end=4), 4) == [1, 2, 3, 4]
    assert course(Linear(), 1) == [8]


def test_cosine_is_slow_at_both_ends() -> None:
    assert course(Cosine(), 5) == pytest.approx([8, 4 + 8**0.5, 4, 4 - 8**0.5, 0])
    assert course(Cosine(start=2, end=6), 3) == pytest.approx([2, 4, 6])
    assert course(Cosine(), 1) == [8]


def test_yoshihara_s_geometric_decay_is_a_tenth_less_every_five_epochs() -> None:
    expected = [4.0] * 5 + [3.6] * 5 + [3.24] * 5 + [2.916] * 5
    assert course(Geometric(), 20) == pytest.approx(expected)
    assert course(Geometric(), 60)[59] == pytest.approx(4 * 0.9**11)


def test_the_developmental_diet_follows_visual_acuity() -> None:
    months = {0: 19.66, 2: 5.2358, 4: 2.2024, 6: 1.5185, 12: 1.1586, 24: 0.8369, 198: 0.0076}
    whole = course(Developmental(), 100)
    assert {m: whole[m // 2] for m in months} == pytest.approx(months, abs=5e-5)
    assert course(Developmental(months_per_epoch=0.5), 9)[8] == whole[2]  # four months either way


def test_feature_smoothing_leaves_the_images_sharp() -> None:
    curriculum = FeatureSmoothing()
    assert course(curriculum, 10) == [0] * 10
    assert [curriculum.feature_sigma(epoch) for epoch in (0, 4, 5, 9, 10, 50)] == pytest.approx(
        [1, 1, 0.9, 0.9, 0.81, 0.9**10]
    )
    assert FeatureSmoothing(sigma=2, factor=0.5, every_epochs=1).feature_sigma(3) == 0.25


@pytest.mark.parametrize("curriculum", [c for c in ALL if not isinstance(c, FeatureSmoothing)], ids=str)
def test_no_other_curriculum_blurs_feature_maps(curriculum: Curriculum) -> None:
    assert curriculum.feature_sigma(0) == 0


# --- schedules with chance ------------------------------------------------------------------------------------------


def test_the_strong_mix_has_all_levels_equally_often() -> None:
    for epoch in (0, 99):
        drawn = by_image(Mix(), epoch, 100, EVERY_DRAW)
        assert shares(drawn) == near({0: 0.2, 1: 0.2, 2: 0.2, 4: 0.2, 8: 0.2})


def test_the_weak_mix_is_jang_and_tong_s() -> None:
    weak = (0.6937, 0.2129, 0.0653, 0.0200, 0.0062, 0.0019)
    curriculum = Mix(sigmas=(0, 1, 2, 3, 4, 5), probabilities=weak)
    assert shares(by_image(curriculum, 0, 1, EVERY_DRAW)) == near(dict(enumerate(weak)))
    # The same with the draws of a run: 60,000 images, each share within five standard errors.
    drawn = shares(by_image(curriculum, 3, 9, curriculum_draws(5, 3, np.arange(60_000))))
    for level, p in enumerate(weak):
        assert drawn[level] == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / 60_000))


def test_levels_may_stand_in_any_order_and_have_no_share() -> None:
    curriculum = Mix(sigmas=(1, 8, 0, 4), probabilities=(0.5, 0, 0.25, 0.25))
    drawn = by_image(curriculum, 0, 1, EVERY_DRAW)
    assert shares(drawn) == near({0: 0.25, 1: 0.5, 4: 0.25})
    assert (np.diff(drawn) <= 0).all()  # the smallest draws take the blurriest level


@pytest.mark.parametrize(
    ("probabilities", "why"),
    [
        ([0.2, 0.2, 0.2, 0.2, 0.1], "add up to 0.9, not to 1"),
        ([0.2, 0.2, 0.2, 0.2, 0.20001], "add up to 1.00001"),
        ([0.5, 0.5], "5 sigmas but 2 probabilities"),
        ([1.2, 0, 0, 0, -0.2], "less than or equal to 1"),
    ],
)
def test_probabilities_that_are_no_distribution_are_refused(probabilities: Sequence[float], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Mix(probabilities=tuple(probabilities))


def test_uniform_is_uniform() -> None:
    drawn = by_image(Uniform(), 0, 1, EVERY_DRAW)
    assert np.quantile(drawn, [0, 0.25, 0.5, 0.75, 1]) == pytest.approx([0, 1.25, 2.5, 3.75, 5], abs=1e-3)
    assert by_image(Uniform(low=1, high=3), 0, 1, [0, 0.5, 0.75]).tolist() == [3, 2, 1.5]
    with pytest.raises(ValidationError, match="low=3 is more than high=1"):
        Uniform(low=3, high=1)


@pytest.mark.parametrize("batch", [2, 6, 256])
def test_half_of_every_even_batch_is_blurred(batch: int) -> None:
    order = np.random.default_rng(0).permutation(10 * batch)
    for epoch in (0, 7):
        drawn = by_image(HalfBatch(), epoch, 10, curriculum_draws(3, epoch, order)).reshape(10, batch)
        assert ((drawn == 4).sum(axis=1) == batch // 2).all()
        assert ((drawn == 0).sum(axis=1) == batch // 2).all()


def test_the_halves_meet_in_the_middle() -> None:
    assert by_image(HalfBatch(sigma=2), 0, 1, [0, 0.4999, 0.5, 0.9999]).tolist() == [2, 2, 0, 0]


def test_no_image_is_always_in_the_blurred_half() -> None:
    rng, epochs = np.random.default_rng(1), 400
    blurred = np.zeros(64)
    for epoch in range(epochs):
        order = rng.permutation(64)
        blurred[order] += curriculum_draws(0, epoch, order) < 0.5
    assert np.abs(blurred / epochs - 0.5).max() < 5 * 0.5 / math.sqrt(epochs)


def test_replay_brings_earlier_levels_back_in_proportion_to_the_epochs_up_to_their_end() -> None:
    at = {epoch: shares(by_image(Replay(), epoch, 100, EVERY_DRAW)) for epoch in (0, 19, 20, 59, 99)}
    assert at[0] == at[19] == {8: 1}
    assert at[20] == near({8: 1 / 3, 4: 2 / 3})
    assert at[59] == near({8: 1 / 6, 4: 2 / 6, 2: 3 / 6})
    assert at[99] == near({8: 1 / 15, 4: 2 / 15, 2: 3 / 15, 1: 4 / 15, 0: 5 / 15})


def test_fading_blur_gets_rarer_and_not_weaker() -> None:
    curriculum = Fading(sigma=4, a=0.8, rate=0.05)
    for epoch in (0, 10, 50):
        p = 0.8 * math.exp(-0.05 * epoch)
        assert shares(by_image(curriculum, epoch, 100, EVERY_DRAW)) == near({4: p, 0: 1 - p})
    assert shares(by_image(Fading(), 0, 100, EVERY_DRAW)) == {4: 1}
    assert shares(by_image(Fading(a=0), 0, 100, EVERY_DRAW)) == {0: 1}


# --- what runs of old were trained with -----------------------------------------------------------------------------

OLD: list[tuple[dict[str, Any], str, str]] = [
    ({"schedule": "constant", "sigma": 3}, "315f45cd54a5", "44e8d523ea77"),
    ({"schedule": "stepwise"}, "2c66b4168b2f", "19f5fce96948"),
    ({"schedule": "stepwise", "epochs_per_level": 3}, "a4395f2b34e7", "b11d5d0f79c0"),
    ({"schedule": "linear"}, "c988a4fe71e6", "7cfa32481e89"),
    ({"schedule": "cosine"}, "3d258e55799d", "0ee880cd8d52"),
    ({"schedule": "geometric"}, "92f7a71c4178", "8e3f402a5095"),
    ({"schedule": "mix"}, "d98da1c387d3", "b8930d5afcd6"),
    ({"schedule": "uniform", "low": 0, "high": 5}, "14c5453bb4ae", "d8385992134f"),
    ({"schedule": "half-batch", "sigma": 4}, "61826b7c65b6", "b04344cf58b4"),
    ({"schedule": "replay"}, "a1b6fd404e40", "9a6c5452a811"),
    ({"schedule": "fading"}, "5b918642b08e", "45854a1505a0"),
    ({"schedule": "developmental"}, "8eca3924e708", "ddbcf00333aa"),
    ({"schedule": "feature-smoothing"}, "0c018e073472", "049c56d69845"),
]


@pytest.mark.parametrize(("curriculum", "known", "blurred"), OLD, ids=str)
def test_resolved_settings_of_old_keep_their_id_and_their_meaning(
    curriculum: dict[str, Any], known: str, blurred: str
) -> None:
    """Never to change: taken before a draw a batch, shares, durations and ageing by batch came."""
    settings = Settings.model_validate({"dataset": "d", "regime": "r", "curriculum": curriculum})
    assert run_id(settings, "0123456789abcdef") == f"d-r-alexnet-sup-s0-{known}"
    order = np.random.default_rng(0).permutation(60)
    whole = [training_assignment(settings.curriculum, 3, epoch, 12, order, 10).sigmas for epoch in range(12)]
    values = ",".join(f"{sigma:.9f}" for sigma in np.concatenate(whole).reshape(-1))
    assert hashlib.sha256(values.encode()).hexdigest()[:12] == blurred


# --- all of them ----------------------------------------------------------------------------------------------------


def test_all_schedules_are_tried_here() -> None:
    others = {"developmental-diet"}  # which has no sigmas: test_sight
    assert {curriculum.schedule for curriculum in ALL} == set(Curriculum.kinds) - others


@pytest.mark.parametrize("curriculum", ALL, ids=str)
def test_sigma_is_a_function_of_progress_and_the_own_draws_of_image_and_batch(curriculum: Curriculum) -> None:
    """Asked for a whole epoch, or for one image alone."""
    rng = np.random.default_rng(7)
    images, batches, within = rng.random((20, 6)), rng.random((20, 1)), np.arange(20)[:, None] / 20
    for epoch in (0, 5, 9):
        whole = curriculum.assign(epoch, 10, within=within, images=images, batches=batches).sigmas
        assert whole.shape == (20, 6)
        for step, place in ((0, 0), (7, 5), (19, 2)):
            draws = {"images": images[step, place], "batches": batches[step, 0]}
            alone = curriculum.assign(epoch, 10, within=step / 20, **draws).sigmas
            assert float(alone) == pytest.approx(whole[step, place], rel=1e-15)


@pytest.mark.parametrize("curriculum", ALL, ids=str)
def test_sigma_is_a_function_of_progress_and_the_image_s_own_draw(curriculum: Curriculum) -> None:
    rng = np.random.default_rng(2)
    draws, order = rng.random(500), rng.permutation(500)
    for epoch in (0, 5, 9):
        whole = by_image(curriculum, epoch, 10, draws)
        assert (whole.dtype, whole.shape) == (np.float64, (500,))
        assert np.isfinite(whole).all() and (whole >= 0).all()
        assert np.array_equal(by_image(curriculum, epoch, 10, draws[order]), whole[order])
        assert np.array_equal([float(by_image(curriculum, epoch, 10, draw)) for draw in draws[:20]], whole[:20])
        assert by_image(curriculum, epoch, 10, []).shape == (0,)


@pytest.mark.parametrize("curriculum", ALL, ids=str)
def test_the_smallest_draws_are_the_blurriest(curriculum: Curriculum) -> None:
    for drawn in (by_image, by_batch):
        assert (np.diff(drawn(curriculum, 5, 10, EVERY_DRAW[::100])) <= 0).all()


@pytest.mark.parametrize("curriculum", ALL, ids=str)
@pytest.mark.parametrize("epoch", [-1, 10])
def test_an_epoch_outside_the_run_is_refused(curriculum: Curriculum, epoch: int) -> None:
    with pytest.raises(ValueError, match=f"epoch {epoch} is not among 10 epochs"):
        by_image(curriculum, epoch, 10, [0.5])


def test_sigma_keeps_its_share_of_the_image() -> None:
    assert scaled(8.0, 64, 224) == pytest.approx(2.2857, abs=1e-4)
    assert scaled(8.0, 224, 224) == 8
    assert scaled(np.array([0.0, 4.0, 8.0]), 448, 224).tolist() == [0, 8, 16]
