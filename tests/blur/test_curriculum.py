import pytest

from blurtrain.blur.curriculum import scaled, sigma_at
from blurtrain.curricula import ConstantBlur, StepwiseBlur

BLURRY_TO_CLEAR = StepwiseBlur(sigmas=(8, 4, 2, 1, 0))


def test_the_study_has_twenty_epochs_a_level() -> None:
    sigmas = [sigma_at(BLURRY_TO_CLEAR, epoch, 100) for epoch in range(100)]
    assert sigmas == [8.0] * 20 + [4.0] * 20 + [2.0] * 20 + [1.0] * 20 + [0.0] * 20


def test_levels_share_any_number_of_epochs_as_equally_as_can_be() -> None:
    sigmas = [sigma_at(BLURRY_TO_CLEAR, epoch, 12) for epoch in range(12)]
    assert sigmas == [8, 8, 8, 4, 4, 2, 2, 2, 1, 1, 0, 0]
    assert sigma_at(BLURRY_TO_CLEAR, 0, 1) == 8


def test_constant_is_constant() -> None:
    assert {sigma_at(ConstantBlur(sigma=8), epoch, 7) for epoch in range(7)} == {8}


@pytest.mark.parametrize("epoch", [-1, 10])
def test_an_epoch_outside_the_training_is_refused(epoch: int) -> None:
    with pytest.raises(ValueError, match="epoch"):
        sigma_at(BLURRY_TO_CLEAR, epoch, 10)


def test_sigma_keeps_its_share_of_the_image() -> None:
    assert scaled(8, 64, 224) == pytest.approx(2.2857, abs=1e-4)
    assert scaled(8, 224, 224) == 8
