"""The peers' curricula as their papers and their code define them; values, worked out here."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from blurtrain.blur.curricula import (
    Curriculum,
    Developmental,
    Fading,
    FeatureSmoothing,
    Mix,
    Replay,
    Stepwise,
    Uniform,
)
from blurtrain.data.loader import training_assignment
from blurtrain.documents import read_yaml
from blurtrain.settings import PRESETS, compose

EVERY_DRAW = np.linspace(0, 1, 30_000, endpoint=False)
"""Draws at equal distances, so that shares are exact (to 1/30,000)."""


def own(curriculum: Curriculum, epoch: int, epochs: int, draws: Any) -> NDArray[np.float64]:
    """Sigma at the beginning of an epoch, for images with these draws of their own."""
    return curriculum.assign(epoch, epochs, within=0, images=draws, batches=0.3).sigmas


def shared(curriculum: Curriculum, epoch: int, epochs: int, draws: Any) -> NDArray[np.float64]:
    """The same for images of batches with these draws."""
    return curriculum.assign(epoch, epochs, within=0, images=0.1, batches=draws).sigmas


def shares(drawn: NDArray[np.float64]) -> dict[float, float]:
    """Share of the images at each level."""
    levels, counts = np.unique(drawn, return_counts=True)
    return dict(zip(levels.tolist(), (counts / len(drawn)).tolist(), strict=True))


def near(expected: dict[float, float]) -> Any:
    return pytest.approx(expected, abs=1e-4)


# --- unequal stages, and draws of a whole batch ---------------------------------------------------------------------


def vac(epoch: int) -> dict[float, float]:
    """Visual Acuity Curriculum for 200 epochs: sigmas of an epoch and their probabilities, as the authors define them.

    Stages of 13, 27 and 160 epochs; of those begun, each as likely as the epochs from 0 to its end.
    """
    ends = [13, 40, 200]
    begun = [end for k, end in enumerate(ends) if k == 0 or ends[k - 1] <= epoch]
    return {sigma: end / sum(begun) for sigma, end in zip((2.0, 1.0, 0.0), begun, strict=False)}


def test_replay_has_the_authors_unequal_stages() -> None:
    curriculum = Replay(sigmas=(2, 1, 0), durations=(13, 27, 160), draw="batch")
    for epoch in (0, 12, 13, 39, 40, 199):
        assert shares(shared(curriculum, epoch, 200, EVERY_DRAW)) == near(vac(epoch))
    assert vac(199) == pytest.approx({2: 0.05, 1: 0.16, 0: 0.79}, abs=0.005)
    assert vac(199) == pytest.approx({2: 13 / 253, 1: 40 / 253, 0: 200 / 253})
    sharp = np.mean([(shared(curriculum, epoch, 200, EVERY_DRAW) == 0).mean() for epoch in range(200)])
    assert sharp == pytest.approx(0.8 * 200 / 253, abs=1e-4) == pytest.approx(0.63, abs=0.005)


def test_durations_are_shares_of_a_run_of_any_length() -> None:
    curriculum = Replay(sigmas=(4, 2, 0), durations=(0.1, 0.2, 0.7))
    newest = [own(curriculum, epoch, 10, 0.9999).item() for epoch in range(10)]
    assert newest == [4, 2, 2, 0, 0, 0, 0, 0, 0, 0]
    assert shares(own(curriculum, 9, 10, EVERY_DRAW)) == near({4: 0.1 / 1.4, 2: 0.3 / 1.4, 0: 1 / 1.4})
    equal, plain = Replay(durations=(3, 3, 3, 3, 3)), Replay()
    for epochs in (1, 3, 7, 50):
        for epoch in range(epochs):
            assert np.array_equal(own(equal, epoch, epochs, EVERY_DRAW), own(plain, epoch, epochs, EVERY_DRAW))


@pytest.mark.parametrize("durations", [(1, 2), (0, 1, 1, 1, 1), (1, 1, 1, 1, -1)])
def test_durations_that_do_not_fit_are_refused(durations: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match=r"5 sigmas but 2 durations|greater than 0"):
        Replay(durations=durations)


@pytest.mark.parametrize(
    "curriculum",
    [Mix(draw="batch"), Replay(draw="batch"), Fading(draw="batch"),
     Replay(sigmas=(2, 1, 0), durations=(1, 2, 3), draw="batch")],
    ids=str,
)  # fmt: skip
def test_all_images_of_a_batch_share_its_draw(curriculum: Curriculum) -> None:
    order = np.random.default_rng(0).permutation(4000)
    epoch = training_assignment(curriculum, 3, 15, 20, order, 8).sigmas
    assert not np.ptp(epoch, axis=1).any()
    assert len(np.unique(epoch)) > 1
    # Levels come as often as for images with draws of their own: 500 batches, five standard errors.
    alone = shares(own(curriculum.model_copy(update={"draw": "image"}), 15, 20, EVERY_DRAW))
    drawn = shares(epoch[:, 0])
    for level, p in alone.items():
        assert drawn.get(level, 0) == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / 500) + 1e-9)


def test_a_share_of_each_batch_has_the_sigma_that_the_batch_draws() -> None:
    order = np.random.default_rng(0).permutation(4000)
    epoch = training_assignment(Uniform(low=1, high=3, share=0.5, draw="batch"), 3, 3, 20, order, 8).sigmas
    assert ((epoch > 0).sum(axis=1) == 4).all()
    assert all(len(np.unique(batch)) == 2 for batch in epoch)
    drawn = epoch.max(axis=1)
    assert (drawn.min(), drawn.max()) == pytest.approx((1, 3), abs=0.05)
    assert drawn.mean() == pytest.approx(2, abs=5 * (2 / math.sqrt(12)) / math.sqrt(500))


@pytest.mark.parametrize("batch", [2, 7, 64])
def test_random_mix_blurs_one_half_of_each_batch_by_sigmas_of_their_own(batch: int) -> None:
    """Of odd batches, whose halves are not equal, one image more or less, in turn."""
    order = np.random.default_rng(0).permutation(500 * batch)
    epoch = training_assignment(Uniform(share=0.5), 3, 0, 20, order, batch).sigmas
    blurred = (epoch > 0).sum(axis=1)
    assert set(blurred.tolist()) == {batch // 2, (batch + 1) // 2}
    assert blurred.sum() == 250 * batch
    drawn = epoch[epoch > 0]
    assert np.quantile(drawn, [0, 0.25, 0.5, 0.75, 1]) == pytest.approx([0, 1.25, 2.5, 3.75, 5], abs=0.4)
    assert len(np.unique(drawn)) == len(drawn)


def test_other_shares_hold_on_average() -> None:
    order = np.random.default_rng(0).permutation(64_000)
    for share in (0.1, 0.8):
        epoch = training_assignment(Uniform(low=2, high=4, share=share), 3, 0, 20, order, 64).sigmas
        # Half of the images have a certain outcome, as draws are stratified.
        assert (epoch > 0).mean() == pytest.approx(share, abs=5 * 0.5 / math.sqrt(64_000))
        assert epoch[epoch > 0].mean() == pytest.approx(3, abs=0.05)


def test_the_developmental_diet_ages_with_every_batch() -> None:
    steps = 1000
    first = training_assignment(Developmental(ageing="batch"), 0, 0, 100, np.arange(4 * steps), 4).sigmas
    assert not np.ptp(first, axis=1).any()
    assert first[0, 0] == 18.06 + 1.60
    assert first[500, 0] == pytest.approx(18.06 * math.exp(-0.79) + 1.60 * math.exp(-0.027))
    # The integral over two months; the authors' coefficients of more digits give 10.60.
    mean = 18.06 * (1 - math.exp(-1.58)) / 1.58 + 1.60 * (1 - math.exp(-0.054)) / 0.054
    assert first.mean() == pytest.approx(mean, abs=0.01) == pytest.approx(10.6, abs=0.05)
    second = training_assignment(Developmental(ageing="batch"), 0, 1, 100, np.arange(4 * steps), 4).sigmas
    assert second[0, 0] == own(Developmental(), 1, 100, 0.5) < first[-1, 0]


# --- every preset by its source's definition ------------------------------------------------------------------------


def table(*rows: tuple[int, float, float, float, float]) -> Callable[[Curriculum, int], None]:
    """Rows of epoch, how much of it is over, draw of the image, draw of the batch, and the sigma to be."""

    def check(curriculum: Curriculum, epochs: int) -> None:
        for epoch, within, image, batch, sigma in rows:
            found = curriculum.assign(epoch, epochs, within=within, images=image, batches=batch).sigmas
            assert float(found) == pytest.approx(sigma, rel=1e-9, abs=1e-12), (epoch, within, image, batch)

    return check


def plainly(**levels: float) -> Callable[[Curriculum, int], None]:
    """`e19=8`: all images of epoch 19 have sigma 8, whatever is drawn, as the epoch begins and as it ends."""
    return table(*((int(e[1:]), w, d, 1 - d, s) for e, s in levels.items() for w in (0, 0.99) for d in (0, 0.6)))


def mixed(expected: dict[str, float], sharp: int = 0) -> Callable[[Curriculum, int], None]:
    """In every epoch, after some `sharp` ones, such a share of the images has each blur; what the batch draws does not
    matter."""

    def check(curriculum: Curriculum, epochs: int) -> None:
        for epoch in range(epochs):
            draws, others = (np.arange(200) + 0.5) / 200, np.linspace(0, 1, 200, endpoint=False)
            found = curriculum.assign(epoch, epochs, within=0.5, images=draws, batches=others)
            if epoch < sharp:
                assert found.which is None and not found.sigmas.any()
            else:
                assert found.shares() == pytest.approx(expected)

    return check


HALVES = ((0, 4), (0.49, 4), (0.5, 0), (1, 0))
FIFTHS = ((0.1, 8), (0.3, 4), (0.5, 2), (0.7, 1), (0.9, 0))
WEAK = ((0.0018, 5), (0.002, 4), (0.008, 4), (0.0082, 3), (0.028, 3), (0.0282, 2), (0.0933, 2), (0.0935, 1),
        (0.3062, 1), (0.3064, 0), (0.999, 0))  # fmt: skip
LAST_STAGE = ((0.051, 2), (0.052, 1), (0.209, 1), (0.21, 0))
FADING = ((0, 0.99, 2), (6, 0.5, 2), (7, 0.5, 0), (89, 0.0001, 2), (89, 0.0002, 0))


def aged(curriculum: Curriculum, epochs: int, months: float = 2) -> None:
    """So many months an epoch, older with every eighth of it, and all that the authors' code does to images."""
    for epoch, within in ((0, 0.0), (0, 0.5), (epochs // 2 - 1, 0.875)):
        (blur,) = curriculum.assign(epoch, epochs, within=within, images=0.3, batches=0.3).blurs
        expected = {"kernel": "sight", "at": 224, "months": months * (epoch + within), "threshold": 0.1, "slope": 150}
        assert blur.model_dump() == {**expected, "acuity": True, "colour": True, "contrast": True}


ALL_TO_8 = table((0, 0, 0, 0.9, 8), (59, 0.9, 0.75, 0, 2))
HALF_TO_8 = table((0, 0, 0, 0.9, 8), (59, 0.9, 0.25, 0, 4), (59, 0, 0.5, 0, 0), (9, 0, 0.99, 0.1, 0))
DEFINED: dict[str, tuple[int, Callable[[Curriculum, int], None]]] = {
    # Jenkins et al. 2025
    "clear": (100, plainly(e0=0, e99=0)),
    "blurry": (100, plainly(e0=8, e99=8)),
    "blurry-to-clear": (100, plainly(e0=8, e19=8, e20=4, e39=4, e40=2, e59=2, e60=1, e79=1, e80=0, e99=0)),
    # and what varies it
    "clear-to-blurry": (100, plainly(e0=0, e19=0, e20=1, e40=2, e60=4, e79=4, e80=8, e99=8)),
    "linear-blurry-to-clear": (81, plainly(e0=8, e1=7.9, e40=4, e79=0.1, e80=0)),
    "cosine-blurry-to-clear": (81, plainly(e0=8, e20=4 + 8**0.5, e40=4, e60=4 - 8**0.5, e80=0)),
    # Yoshihara et al. 2023
    "single-step": (60, plainly(e0=4, e29=4, e30=0, e59=0)),
    "multi-step": (60, plainly(e0=4, e9=4, e10=3, e19=3, e20=2, e29=2, e30=1, e39=1, e40=0, e59=0)),
    "geometric": (60, plainly(e0=4, e4=4, e5=3.6, e9=3.6, e10=3.24, e59=4 * 0.9**11)),
    "half-batch": (60, table(*((e, 0, i, b, s) for e in (0, 59) for i, s in HALVES for b in (0, 1)))),
    "random-uniform": (
        60,
        table(
            (0, 0, 0, 0.9, 5), (0, 0, 0.25, 0.9, 2.5), (59, 0.9, 0.4, 0, 1), (59, 0, 0.5, 0, 0), (9, 0, 0.99, 0.1, 0)
        ),
    ),
    # Jang & Tong 2024; limits are sums of probabilities from the blurriest
    "mix-strong": (60, table(*((e, 0, i, 0, s) for e in (0, 59) for i, s in FIFTHS))),
    "mix-weak": (60, table(*((3, 0, i, 0.5, s) for i, s in WEAK))),
    # Visual Acuity Curriculum 2025: whatever the image draws
    "replay": (
        200,
        table(
            *((12, w, i, b, 2) for w in (0, 0.9) for i in (0, 0.9) for b in (0, 0.5, 0.99)),
            *((e, 0, i, b, s) for e in (13, 39) for i in (0, 0.9) for b, s in ((0.24, 2), (0.25, 1), (0.99, 1))),
            *((e, 0, i, b, s) for e in (40, 199) for i in (0, 0.9) for b, s in LAST_STAGE),
        ),
    ),
    "fading": (90, table(*((e, w, i, b, s) for e, b, s in FADING for w in (0, 0.9) for i in (0, 0.9)))),
    # Developmental Visual Diet 2026
    "developmental": (
        100,
        table(
            *(
                (int(m / 2), m / 2 % 1, d, d, 18.06 * math.exp(-0.79 * m) + 1.60 * math.exp(-0.027 * m))
                for m in (0, 0.5, 1.9, 2, 3, 24, 199)
                for d in (0, 0.7)
            )
        ),
    ),
    "developmental-diet": (200, aged),
    # Vasiljevic et al. 2016, pixels at smaller side 384
    "sharp-d4": (3, mixed({"sharp": 0.5, "disk-4@384": 0.5})),
    "sharp-d2-d8": (3, mixed(dict.fromkeys(("sharp", *(f"disk-{r}@384" for r in (2, 4, 6, 8))), 0.2))),
    "sharp-d8": (3, mixed({"sharp": 0.5, "disk-8@384": 0.5})),
    "d8": (3, mixed({"disk-8@384": 1.0})),
    "sharp-shake": (3, mixed({"sharp": 0.2, "shake@384": 0.8})),
    "sharp-then-d2-d8": (
        38, mixed(dict.fromkeys(("sharp", *(f"disk-{r}@384" for r in (2, 4, 6, 8))), 0.2), sharp=30)
    ),
    # and beside them
    "sharp-gaussian": (3, mixed({"sharp": 0.5, "gaussian-4@384": 0.25, "gaussian-8@384": 0.25})),
    "sharp-motion": (3, mixed({"sharp": 0.5, "box-4-random@384": 0.25, "box-8-random@384": 0.25})),
    # for networks that restore images, and for denoisers
    "any-blur": (
        3,
        mixed(
            {"sharp": 0.08, "disk-2@384": 0.12, "disk-4@384": 0.14, "disk-6@384": 0.14, "disk-8@384": 0.16,
             "shake@384": 0.2, "gaussian-2@384": 0.08, "gaussian-4@384": 0.08}
        ),
    ),
    "noise": (3, mixed(dict.fromkeys((f"noise-{sd}" for sd in (0.5, 1, 2, 4, 8, 16, 30, 50)), 0.125))),
    # Curriculum by Smoothing 2020
    "feature-smoothing": (200, plainly(e0=0, e199=0)),
    # configs/grids/methods.yaml: columns as of random-uniform
    "blur-augmentation": (60, HALF_TO_8),
    "antialiased": (60, HALF_TO_8),
    "antialiased-learnt": (60, HALF_TO_8),
    "frontend": (60, HALF_TO_8),
    "restorer": (60, HALF_TO_8),
    "blur-consistency": (60, ALL_TO_8),
    "feature-distance": (60, ALL_TO_8),
    "supervised-contrastive": (60, ALL_TO_8),
    "adversarial-kernel": (60, plainly(e0=0, e59=0)),
    "proposed-kernel": (60, plainly(e0=0, e59=0)),
    "developmental-diet-30": (30, lambda curriculum, epochs: aged(curriculum, epochs, months=10)),
}  # fmt: skip


@pytest.mark.parametrize("regime", sorted(path.stem for path in (PRESETS / "regimes").glob("*.yaml")))
def test_a_preset_is_what_its_source_defines(regime: str) -> None:
    if regime == "original":  # no curriculum, as there is no step
        assert read_yaml(PRESETS / "regimes" / "original.yaml")["optimisation"]["epochs"] == 0
        return
    epochs, check = DEFINED[regime]
    check(compose({"dataset": "any", "regime": regime}, "test").curriculum, epochs)


def test_the_preset_of_feature_smoothing_is_what_its_authors_code_has() -> None:
    curriculum = compose({"dataset": "any", "regime": "feature-smoothing"}, "test").curriculum
    assert [curriculum.feature_sigma(epoch) for epoch in (0, 4, 5, 199)] == pytest.approx([1, 1, 0.9, 0.9**39])
    # Tested after each epoch with the kernels of that epoch.
    assert [curriculum.feature_sigma_at_test(epochs) for epochs in (1, 5, 6, 200)] == pytest.approx(
        [1, 1, 0.9, 0.9**39]
    )
    assert FeatureSmoothing().feature_sigma_at_test(6) == Stepwise().feature_sigma_at_test(6) == 0
