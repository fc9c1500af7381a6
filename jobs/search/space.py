"""The space of a search: which settings are tried, over which values.

optimisation.learning_rate: {log_uniform: [1e-4, 1e-2]}
optimisation.optimiser: {choice: [adam, sgd]}
optimisation.momentum: {uniform: [0.5, 0.99], when: {optimisation.optimiser: sgd}}
curriculum.sigmas.0: {integer: [2, 12]}

A setting is named by its dotted path, a place in a list by its number. A dimension with `when` is active only where the
settings, with the dimensions before it, have these values. A *flat* point has a value for every dimension, so that any
searcher can learn from it; what is active of it goes into the settings.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from blurtrain.errors import SettingsError, nearest
from blurtrain.schema import Section

Flat = dict[str, Any]
Pair = tuple[float, float]


class Dimension(Section):
    """The values that one setting may have: one of the first four, and on what it depends."""

    uniform: Pair | None = None
    log_uniform: Pair | None = None
    integer: tuple[int, int] | None = None
    """Both ends included."""
    choice: tuple[Any, ...] | None = Field(None, min_length=1)
    when: dict[str, Any] = Field({})
    """The value that another setting must have, by its path; a list: one of these."""

    @model_validator(mode="after")
    def _one_kind(self) -> "Dimension":
        kinds = [name for name in ("uniform", "log_uniform", "integer", "choice") if getattr(self, name) is not None]
        if len(kinds) != 1:
            raise ValueError("must say one of uniform, log_uniform, integer, choice")
        if kinds != ["choice"]:
            low, high = self.limits
            if not low < high:
                raise ValueError(f"{kinds[0]}: {low:g} is not below {high:g}")
            if kinds == ["log_uniform"] and low <= 0:
                raise ValueError("log_uniform: must begin above 0")
        return self

    @property
    def limits(self) -> Pair:
        """The lowest and the highest value of a number."""
        pair = self.uniform or self.log_uniform or self.integer
        assert pair
        return pair

    def values(self) -> Sequence[Any] | None:
        """All values there are; None where they cannot be counted."""
        if self.choice is not None:
            return self.choice
        return range(self.integer[0], self.integer[1] + 1) if self.integer else None

    def draw(self, generator: np.random.Generator) -> Any:
        """One value."""
        if (values := self.values()) is not None:
            return values[int(generator.integers(len(values)))]
        low, high = self.limits
        if self.log_uniform:
            return float(np.clip(math.exp(generator.uniform(math.log(low), math.log(high))), low, high))
        return float(generator.uniform(low, high))

    def holds(self, value: Any) -> bool:
        """Whether this is one of the values."""
        if (values := self.values()) is not None:
            return any(_same(value, one) for one in values)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.limits[0] <= value <= self.limits[1]

    def some(self) -> Sequence[Any]:
        """Values by which to try whether all would do: every one, or both ends."""
        return self.choice if self.choice is not None else self.integer or self.limits


Space = Mapping[str, Dimension]


def draw(space: Space, seed: int, number: int) -> Flat:
    """The `number`-th point of the random search with this seed, whatever was drawn before it."""
    generator = np.random.default_rng([seed, number])
    return {path: dimension.draw(generator) for path, dimension in space.items()}


def grid(space: Space) -> Iterator[Flat]:
    """Every point; the last dimension changes fastest. Raises SettingsError where one cannot be counted."""
    for path, dimension in space.items():
        if dimension.values() is None:
            raise SettingsError(f"space.{path}: the grid searcher needs choice or integer")
    listed = [dimension.values() or () for dimension in space.values()]
    return (dict(zip(space, values, strict=True)) for values in itertools.product(*listed))


def placed(document: Mapping[str, Any], space: Space, flat: Mapping[str, Any]) -> tuple[dict[str, Any], Flat]:
    """`document` with what is active of a flat point, and that part of the point."""
    active: Flat = {}
    found = dict(document)
    for path, dimension in space.items():
        if path in flat and _met(dimension, found):
            found = place(found, path, flat[path])
            active[path] = flat[path]
    return found, active


def _met(dimension: Dimension, document: Mapping[str, Any]) -> bool:
    for path, wanted in dimension.when.items():
        value = look_up(document, path, None)
        if not any(_same(value, one) for one in (wanted if isinstance(wanted, list) else [wanted])):
            return False
    return True


def flat_of(document: Mapping[str, Any], space: Space) -> Flat | None:
    """The flat point that settings have, where they lie in the space; a dimension that is not active has its first
    value. None where they do not."""
    flat: Flat = {}
    for path, dimension in space.items():
        if not _met(dimension, document):
            flat[path] = dimension.some()[0]
            continue
        value = look_up(document, path, None)
        if not dimension.holds(value):
            return None
        flat[path] = next(v for v in dimension.values() or [value] if _same(v, value))
    return flat


_MISSING = object()


def look_up(document: Any, path: str, default: Any = _MISSING) -> Any:
    """The value at a dotted path. Raises SettingsError with the nearest name where there is none and no default."""
    here = document
    for part in path.split("."):
        if isinstance(here, Mapping) and part in here:
            here = here[part]
        elif isinstance(here, list | tuple) and part.isdigit() and int(part) < len(here):
            here = here[int(part)]
        elif default is not _MISSING:
            return default
        else:
            beside = here if isinstance(here, Mapping) else map(str, range(len(here))) if _is_list(here) else ()
            raise SettingsError(f"{path}: unknown setting; {nearest(part, list(beside))}")
    return here


def place(document: Any, path: str, value: Any) -> Any:
    """A copy with another value at a dotted path; whatever stood there is replaced."""
    first, _, rest = path.partition(".")
    if _is_list(document) and first.isdigit() and int(first) < len(document):
        changed = list(document)
        changed[int(first)] = place(changed[int(first)], rest, value) if rest else value
        return changed
    inner = document if isinstance(document, Mapping) else {}
    return {**inner, first: place(inner.get(first), rest, value) if rest else value}


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _same(a: Any, b: Any) -> bool:
    """Equal as YAML means it: 1 and 1.0 are, true and 1 are not; of a section, as much as is said."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if _is_list(a) and _is_list(b):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return all(key in a and _same(a[key], value) for key, value in b.items())
    return bool(a == b)
