"""YAML documents: strict reading, overrides, merging."""

import pytest

from blurtrain.documents import dump_yaml, parse_overrides, parse_yaml


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.0e-3", ".001", "1.e-3", "+1e-3"])
def test_numbers_are_numbers_however_they_are_written(text: str) -> None:
    assert parse_yaml(text, "test") == 0.001


def test_words_that_look_a_little_like_numbers_stay_words() -> None:
    assert parse_yaml("[e3, 1e, 1e3x, 1-3]", "test") == ["e3", "1e", "1e3x", "1-3"]


def test_yaml_anchors_can_be_used() -> None:
    assert parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n", "test")["b"] == {"x": 1, "y": 3}


def test_overrides_are_one_document_and_the_last_one_counts() -> None:
    assert parse_overrides(["a.b=1", "a.c=[2]", "a.b=3", "d=x=y"]) == {"a": {"b": 3, "c": [2]}, "d": "x=y"}


@pytest.mark.parametrize("text", ["08", "010", "0123", "1:30:00", "1:30.5", "2026-01-31", "2026-01-31 10:00:00"])
def test_what_yaml_alone_takes_for_other_numbers_or_dates_stays_as_it_is_written(text: str) -> None:
    assert parse_yaml(text, "x") == text


@pytest.mark.parametrize(
    "value", ["08", "010", "1e3", "1:30", "2026-01-31", "0x10", "1_000", "yes", "~", "", ".5", 10, 0.5]
)
def test_what_is_written_is_read_as_the_same(value: str | float) -> None:
    document = {"a": [value], value: value}
    assert parse_yaml(dump_yaml(document), "x") == document
