"""Curricula over any blurs, and curricula of the user's own."""

from typing import Any

import numpy as np
import pytest

from blurtrain.blur.assignment import Assignment
from blurtrain.blur.blurs import Blur, Disk
from blurtrain.blur.curricula import Constant, Curriculum, Mix, Stepwise
from blurtrain.blur.curriculum import Moment
from blurtrain.documents import merge
from blurtrain.errors import SettingsError
from blurtrain.schema import validate
from blurtrain.settings import Settings, compose, run_id

DRAWS = (np.arange(1000) + 0.5) / 1000
PAIRS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"schedule": "constant", "sigma": 4}, {"schedule": "constant", "blur": "disk-4"}),
    ({"schedule": "half-batch", "sigma": 4}, {"schedule": "half-batch", "blur": "disk-4"}),
    ({"schedule": "fading", "sigma": 4}, {"schedule": "fading", "blur": "disk-4"}),
    ({"schedule": "stepwise", "sigmas": [8, 4, 2]}, {"schedule": "stepwise", "blurs": ["disk-8", "disk-4", "disk-2"]}),
    ({"schedule": "replay", "sigmas": [8, 4, 2]}, {"schedule": "replay", "blurs": ["disk-8", "disk-4", "disk-2"]}),
    (
        {"schedule": "mix", "sigmas": [8, 4], "probabilities": [0.3, 0.7], "draw": "batch"},
        {"schedule": "mix", "blurs": ["disk-8", "disk-4"], "probabilities": [0.3, 0.7], "draw": "batch"},
    ),
]


def made(curriculum: dict[str, Any]) -> Settings:
    return compose({"dataset": "any", "regime": "own", "curriculum": curriculum}, "test")


@pytest.mark.parametrize(("sigmas", "blurs"), PAIRS, ids=lambda c: c["schedule"])
def test_a_schedule_over_blurs_is_the_schedule_over_sigmas(sigmas: dict[str, Any], blurs: dict[str, Any]) -> None:
    for epoch in range(10):
        draws: dict[str, Any] = {"within": 0, "images": DRAWS, "batches": DRAWS[::-1]}
        gaussian = made(sigmas).curriculum.assign(epoch, 10, **draws)
        disks = made(blurs).curriculum.assign(epoch, 10, **draws)
        assert disks.which is not None and disks.mean_sigma() is None
        radii = np.array([blur.radius if isinstance(blur, Disk) else 0 for blur in disks.blurs])[disks.which]
        assert np.array_equal(radii, gaussian.sigmas)
        assert gaussian.shares() == {}


def test_shares_are_logged_by_label() -> None:
    mix = Mix.model_validate({"blurs": ["disk-4", "shake", "sharp"], "probabilities": [0.5, 0.25, 0.25]})
    assigned = mix.assign(0, 1, within=0, images=DRAWS, batches=0)
    assert assigned.summary() == {"blurs": {"disk-4": 0.5, "shake": 0.25, "sharp": 0.25}}
    assert assigned[:500].shares() == {"disk-4": 1, "shake": 0, "sharp": 0}  # the smallest draws take the first
    assert assigned.reshape(10, 100)[2].shares()["disk-4"] == 1
    assert Constant(sigma=3).assign(0, 1, within=0, images=DRAWS, batches=0).summary() == {"sigma": 3.0}


def test_what_is_said_of_it() -> None:
    assert made(PAIRS[0][1]).curriculum.describe() == "constant blur=disk-4"
    assert made(PAIRS[1][1]).curriculum.describe() == "half-batch blur=disk-4"
    assert made(PAIRS[3][1]).curriculum.describe() == "stepwise blurs=[disk-8, disk-4, disk-2]"
    steps = Stepwise.model_validate({"blurs": ["disk-8", "box-8", "sharp"]})
    assert steps.shortfall(2).endswith("never gets to level 3 (sharp)")


def test_ids_and_resolved_settings_do_not_depend_on_how_a_blur_is_spelled() -> None:
    settings = made({"schedule": "mix", "blurs": ["disk-4", "box-8-90@384"], "probabilities": [0.5, 0.5]})
    spelled = made(
        {
            "schedule": "mix",
            "blurs": [{"kernel": "disk", "radius": 4.0}, {"kernel": "box", "length": 8, "angle": 90, "at": 384}],
            "probabilities": [0.5, 0.5],
        }
    )
    assert run_id(settings, "0" * 16) == run_id(spelled, "0" * 16)
    assert Settings.model_validate(settings.model_dump(mode="json")) == settings == spelled


@pytest.mark.parametrize(
    ("curriculum", "why"),
    [
        ({"schedule": "constant", "blur": "disk-4", "sigma": 2}, "give sigma or blur, not both (sigma=2, blur=disk-4)"),
        ({"schedule": "stepwise", "blurs": ["sharp"], "sigmas": [2]}, "give sigmas or blurs, not both"),
        ({"schedule": "stepwise", "blurs": []}, "give at least one level"),
        ({"schedule": "mix", "blurs": ["disk-4"]}, "1 blurs but 5 probabilities"),
        ({"schedule": "stepwise", "blurs": ["disc-4"]}, "curriculum.blurs.0: "),
        ({"schedule": "stepwise", "blurs": [{"kernel": "disc"}]}, "curriculum.blurs.0.kernel: 'disc' is unknown; did"),
        ({"schedule": "stepwise", "blurs": [{"kernel": "disk", "radios": 4}]}, "curriculum.blurs.0.radios: unknown"),
        ({"schedule": "stepwise", "blurs": [{"kernel": "disk", "radios": 4}]}, "did you mean 'radius'?"),
        ({"schedule": "constant", "blur": {"radius": 4}}, "curriculum.blur.kernel: missing"),
        ({"schedule": "constant", "blur": {"kernel": "disk", "radius": -1}}, "curriculum.blur.radius: input should be"),
        ({"schedule": "none.such:Thing"}, "curriculum.schedule: curriculum none.such:Thing: "),
        ({"schedule": f"{__name__}:Disk"}, "is no class derived from blurtrain.blur.curriculum.Curriculum"),
        ({"schedule": f"{__name__}:Saw", "peek": 3}, "curriculum.peek: unknown setting; did you mean 'peak'?"),
    ],
)
def test_a_mistake_is_one_line_with_its_place_and_its_cure(curriculum: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingsError) as caught:
        made(curriculum)
    assert why in str(caught.value) and "\n" not in str(caught.value)


class Saw(Curriculum):
    """A user's own: from `peak` to 0, again and again."""

    peak: float = 8.0
    period: int = 2

    def sigma_at(self, at: Moment) -> float:
        return self.peak * (1 - at.epoch % self.period / self.period)


class Alternate(Curriculum):
    """A user's own over blurs."""

    def decide(self, at: Moment) -> Assignment:
        return Assignment.of(self.used(), np.full(at.images.shape, at.epoch % 2))

    def used(self) -> tuple[Blur, ...]:
        return Blur.parse("disk-4"), Blur.parse("sharp")


def test_a_curriculum_of_the_user_s_own_is_one_like_any_other() -> None:
    settings = made({"schedule": f"{__name__}:Saw", "peak": 4})
    assert type(settings.curriculum).__name__ == "Saw" and settings.curriculum.schedule == f"{__name__}:Saw"
    seen = [settings.curriculum.assign(k, 4, within=0, images=DRAWS, batches=0).mean_sigma() for k in range(4)]
    assert seen == [4, 2, 4, 2]
    assert Settings.model_validate(settings.model_dump(mode="json")) == settings
    assert run_id(settings, "0" * 16) != run_id(made({"schedule": f"{__name__}:Saw"}), "0" * 16)
    other = made({"schedule": f"{__name__}:Alternate"}).curriculum
    assert other.assign(1, 2, within=0, images=DRAWS, batches=0).shares() == {"disk-4": 0, "sharp": 1}


def test_another_kind_replaces_a_section_and_the_same_kind_is_merged() -> None:
    below = {"curriculum": {"schedule": "constant", "blur": {"kernel": "disk", "radius": 4, "at": 384}}}
    same = merge(below, {"curriculum": {"blur": {"kernel": "disk", "radius": 2}}})
    assert same["curriculum"]["blur"] == {"kernel": "disk", "radius": 2, "at": 384}
    other = merge(below, {"curriculum": {"blur": {"kernel": "box", "length": 4}}})
    assert other["curriculum"] == {"schedule": "constant", "blur": {"kernel": "box", "length": 4}}
    assert merge(below, {"curriculum": {"blur": "shake"}})["curriculum"]["blur"] == "shake"


def test_levels_of_an_evaluation_are_sigmas_and_blurs() -> None:
    evaluation = {"sigmas": [0, 8], "blurs": ["disk-4", "shake"]}
    document = {"dataset": "any", "regime": "clear", "evaluation": evaluation}
    assert [blur.label for blur in compose(document, "test").levels] == ["sharp", "gaussian-8", "disk-4", "shake"]
    at_256 = compose({**document, "blur": {"reference_resolution": 256}}, "test")
    assert [blur.label for blur in at_256.levels] == ["sharp", "gaussian-8@256", "disk-4", "shake"]
    for twice in (["disk-4", {"kernel": "disk", "radius": 4}], ["gaussian-8"], ["sharp"]):
        with pytest.raises(SettingsError, match="is given twice, by sigma or by label"):
            compose({**document, "evaluation": {**evaluation, "blurs": twice}}, "test")
    with pytest.raises(SettingsError, match=r"evaluation.blurs.0: .*did you mean 'disk'"):
        validate({"dataset": "any", "regime": "clear", "evaluation": {"blurs": ["disq-4"]}}, "test", Settings)
