"""How a measure is named: its name, then its options, `minimal-blur largest=16`. A user's own is `package.module:Name`,
or `file.py:Name`."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blurtrain.deblurring import Deblurring
from blurtrain.documents import parse_overrides
from blurtrain.errors import SettingsError, nearest
from blurtrain.evaluation.measure import LogitsMeasure, Measure
from blurtrain.evaluation.measures import MEASURES
from blurtrain.parts import import_part, is_part_name, source_hash
from blurtrain.schema import validate
from blurtrain.tasks import Task

BY_PROTOCOL = "evaluation.protocol"
"""What averages outputs, where images are shown by a protocol."""


@dataclass(frozen=True)
class Named:
    """A measure as it was asked for."""

    kind: type[Measure]
    options: Mapping[str, Any]
    """As they were given; those left out are at their defaults."""
    part: Mapping[str, str]
    """Of one's own, where it is from."""

    @property
    def identity(self) -> dict[str, Any]:
        """What an outcome depends on of it."""
        # What is at its default is left out, so that a measure may come to have more options.
        document = self.kind.model_validate(self.options).model_dump(mode="json", exclude_defaults=True)
        given = {name: document[name] for name in self.options if name in document}
        return {"measure": self.kind.name, **self.part, **({"options": given} if given else {})}


def measure_named(words: str, averaged: str = "") -> Named:
    """The measure of these words.

    averaged: what makes averages of outputs, if anything does. Raises SettingsError, one line, for an unknown one, for
    options that do not fit, and for one that cannot be taken of averages.
    """
    name, *given = words.split()
    part: dict[str, str] = {}
    if is_part_name(name):
        kind: type[Measure] = import_part(name, "measure", Measure)
        part = {"part": name, "source": source_hash(name)[:16]}
    elif name in MEASURES:
        file, _, of = MEASURES[name].partition(":")
        kind = getattr(importlib.import_module(f"blurtrain.evaluation.measures.{file}"), of)
    else:
        raise SettingsError(f"measure {name!r} is unknown; {nearest(name, MEASURES)}, or package.module:Name")
    scales_itself = averaged == BY_PROTOCOL and kind.of_protocols
    if averaged and not issubclass(kind, LogitsMeasure) and not scales_itself:
        raise SettingsError(
            f"measure {name}: does not go with {averaged}, which gives averaged outputs: only measures that "
            "look at the outputs alone (LogitsMeasure) do"
        )
    if words_without := [word for word in given if "=" not in word]:
        raise SettingsError(f"measure {name}: {words_without[0]!r} is no option; they are given as name=value")
    options = parse_overrides(given)
    validate(options, f"measure {name}", kind)
    return Named(kind, options, part)


def check_deblurred(measures: Sequence[str], methods: Sequence[Deblurring]) -> None:
    """Raise SettingsError where one of these measures would be the same whatever images are deblurred by."""
    for words in measures if methods else ():
        if not (kind := measure_named(words).kind).of_blurred:
            raise SettingsError(
                f"measure {kind.name}: does not look at blurred images, so it is the same whatever these are deblurred "
                "by: measure it without evaluation.deblur"
            )


def check_task(measures: Sequence[str], task: Task) -> None:
    """Raise SettingsError where one of these measures cannot be taken of networks for this task."""
    for words in measures:
        if task.targets not in (kind := measure_named(words).kind).of_targets:
            raise SettingsError(
                f"measure {kind.name}: is not of networks for task={task.type}, which give {task.targets}; "
                f"they are measured by {task.measure}"
            )
