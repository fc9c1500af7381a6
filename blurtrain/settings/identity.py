"""Which settings make a run another run: the run id, and what two runs have in common."""

import functools
import hashlib
import json
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from blurtrain.settings.run import Settings

SCHEMA = 1  # raised when a change of meaning makes old run ids wrong


@functools.cache
def _identifying(kind: type[BaseModel]) -> list[tuple[str, Any]]:
    """The settings of a section that can take part in a run id, each with the value at which it is left out (or
    `...`: never)."""
    rules = []
    for name, field in kind.model_fields.items():
        part = field.json_schema_extra.get("identity", True) if isinstance(field.json_schema_extra, dict) else True
        if part:
            rules.append((name, field.default if part == "unless default" else ...))
    return rules


def identity_of(section: BaseModel) -> dict[str, Any]:
    """What of a section takes part in the run id, as plain values by name, sections within it likewise."""
    kept = {}
    for name, neutral in _identifying(type(section)):
        value = getattr(section, name)
        part = _plain(value)
        if neutral is ... or part != _plain(neutral):
            kept[name] = part
    return kept


def _plain(value: Any) -> Any:
    """Sections as what identifies them, also those that stand in a list."""
    if isinstance(value, BaseModel):
        return identity_of(value)
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def run_id(settings: Settings, data_id: str) -> str:
    """Readable name and 12 hex digits of a hash over everything that changes the trained weights.

    The same id is the same run, whatever it is started on, and however its settings were spelled.
    """
    return run_ids(settings, data_id)(settings.seed)


def run_ids(settings: Settings, data_id: str) -> Callable[[int], str]:
    """The run id by the seed, of runs that differ in nothing else."""
    identity = identity_of(settings) | {"seed": _ANY_SEED}
    label = "-".join([identity.pop("dataset"), identity.pop("regime"), identity.pop("model")])
    canonical = _canonical({"schema": SCHEMA, "data_id": data_id, **identity})
    before, after = canonical.encode().split(b'"seed":%d' % _ANY_SEED)
    begun = hashlib.sha256(before)

    def of(seed: int) -> str:
        whole = begun.copy()
        whole.update(b'"seed":%d' % seed + after)
        return f"{label}-s{seed}-{whole.hexdigest()[:12]}"

    return of


def _canonical(identity: dict[str, Any]) -> str:
    return json.dumps(identity, sort_keys=True, separators=(",", ":"))


_ANY_SEED = -314159265358979323  # no setting has this value, so that its place can be found


def settings_id(settings: Settings, data_id: str) -> str:
    """12 hex digits: the same for runs that differ in their seed alone, so that they may be averaged.

    It covers what the run id's hash covers, but the seed; names do not count, for they only say it again.
    """
    identity = {k: v for k, v in identity_of(settings).items() if k not in ("dataset", "regime", "model", "seed")}
    canonical = _canonical({"schema": SCHEMA, "data_id": data_id, **identity})
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def identifying(section: BaseModel, within: str = "") -> dict[str, Any]:
    """The settings that take part in the run id, by dotted name (`optimisation.learning_rate`), with their values."""
    values: dict[str, Any] = {}
    for name, _ in _identifying(type(section)):
        value = getattr(section, name)
        values |= identifying(value, f"{within}{name}.") if isinstance(value, BaseModel) else {within + name: value}
    return values
