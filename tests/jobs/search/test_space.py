"""The space of a search: drawing, counting, placing, and finding settings in it."""

import collections
import math

import pytest

from blurtrain.errors import SettingsError
from jobs.search.space import Dimension, draw, flat_of, grid, look_up, place, placed

RATE = Dimension(log_uniform=(1e-4, 1e-2))
SGD = Dimension(choice=("adam", "sgd"))
MOMENTUM = Dimension(uniform=(0.5, 0.9), when={"o.optimiser": "sgd"})
SPACE = {"o.rate": RATE, "o.optimiser": SGD, "o.momentum": MOMENTUM, "steps.0": Dimension(integer=(2, 4))}
DOCUMENT = {"o": {"rate": 1e-3, "optimiser": "adam", "momentum": 0.7}, "steps": [3, 1]}


def test_a_point_depends_on_seed_and_number_alone() -> None:
    points = [draw(SPACE, 5, n) for n in range(8)]
    assert draw(SPACE, 5, 6) == points[6]
    assert draw(SPACE, 6, 6) != points[6]
    assert len({repr(p) for p in points}) == 8


def test_draws_are_spread_as_they_are_said() -> None:
    points = [draw(SPACE, 0, n) for n in range(2000)]
    assert all(1e-4 <= p["o.rate"] <= 1e-2 and 0.5 <= p["o.momentum"] <= 0.9 for p in points)
    # Log-uniform: as many below the geometric mean as above it. 4 standard errors of 2000 draws.
    assert abs(sum(p["o.rate"] < 1e-3 for p in points) / 2000 - 0.5) < 4 * math.sqrt(0.25 / 2000)
    assert abs(sum(p["o.momentum"] < 0.7 for p in points) / 2000 - 0.5) < 4 * math.sqrt(0.25 / 2000)
    counts = collections.Counter(p["steps.0"] for p in points)
    assert set(counts) == {2, 3, 4} and min(counts.values()) > 550


def test_a_grid_has_every_point_once_the_last_fastest() -> None:
    points = list(grid({"a": Dimension(choice=(1, 2)), "b": Dimension(integer=(0, 1))}))
    assert points == [{"a": 1, "b": 0}, {"a": 1, "b": 1}, {"a": 2, "b": 0}, {"a": 2, "b": 1}]


def test_what_cannot_be_counted_is_no_grid() -> None:
    with pytest.raises(SettingsError, match=r"space\.o\.rate: the grid searcher needs choice or integer"):
        list(grid(SPACE))


def test_only_what_is_active_goes_into_the_settings() -> None:
    flat = {"o.rate": 0.01, "o.optimiser": "adam", "o.momentum": 0.5, "steps.0": 2}
    document, active = placed(DOCUMENT, SPACE, flat)
    assert document == {"o": {"rate": 0.01, "optimiser": "adam", "momentum": 0.7}, "steps": [2, 1]}
    assert active == {"o.rate": 0.01, "o.optimiser": "adam", "steps.0": 2}
    assert DOCUMENT["steps"] == [3, 1]  # the base itself stays as it is
    document, active = placed(DOCUMENT, SPACE, {**flat, "o.optimiser": "sgd"})
    assert document["o"] == {"rate": 0.01, "optimiser": "sgd", "momentum": 0.5}
    assert active["o.momentum"] == 0.5


def test_a_condition_may_ask_for_a_part_of_a_section_or_for_one_of_several() -> None:
    space = {
        "c": Dimension(choice=({"schedule": "linear"}, {"schedule": "steps", "sigmas": [8, 0]}, {"schedule": "none"})),
        "c.start": Dimension(uniform=(1, 2), when={"c": {"schedule": "linear"}}),
        "c.sigmas.0": Dimension(choice=(4, 16), when={"c.schedule": ["steps", "replay"]}),
    }
    flat = {"c.start": 1.5, "c.sigmas.0": 4}
    assert placed({"c": {}}, space, {**flat, "c": {"schedule": "linear"}})[0] == {
        "c": {"schedule": "linear", "start": 1.5}
    }
    steps = {"schedule": "steps", "sigmas": [8, 0]}
    assert placed({"c": {}}, space, {**flat, "c": steps})[0] == {"c": {"schedule": "steps", "sigmas": [4, 0]}}
    assert placed({"c": {}}, space, {**flat, "c": {"schedule": "none"}})[1] == {"c": {"schedule": "none"}}


def test_settings_are_found_in_the_space() -> None:
    for number in range(20):
        flat = draw(SPACE, 1, number)
        document, active = placed(DOCUMENT, SPACE, flat)
        found = flat_of(document, SPACE)
        assert found is not None
        assert placed(DOCUMENT, SPACE, found)[1] == active
        assert set(found) == set(SPACE)  # whole, for searchers that know no conditions


@pytest.mark.parametrize("outside", [{"o.rate": 0.5}, {"steps.0": 9}, {"o.optimiser": "rmsprop"}])
def test_settings_outside_the_space_are_not_found(outside: dict[str, object]) -> None:
    (path, value) = next(iter(outside.items()))
    assert flat_of(place(DOCUMENT, path, value), SPACE) is None


def test_looking_up_says_the_nearest_name() -> None:
    assert look_up(DOCUMENT, "steps.1") == 1
    with pytest.raises(SettingsError, match=r"o\.rat: unknown setting; did you mean 'rate'"):
        look_up(DOCUMENT, "o.rat")
    with pytest.raises(SettingsError, match=r"steps\.2: unknown setting"):
        look_up(DOCUMENT, "steps.2")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, "must say one of"),
        ({"uniform": [0, 1], "choice": [1]}, "must say one of"),
        ({"uniform": [1, 1]}, "1 is not below 1"),
        ({"log_uniform": [0, 1]}, "must begin above 0"),
        ({"choice": []}, "at least 1"),
    ],
)
def test_mistakes(said: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Dimension.model_validate(said)
