"""YAML documents: read strictly and safely, merged, overridden by `key=value`."""

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from blurtrain.errors import SettingsError


def _mapping_without_repeats(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key_node.start_mark)
        key = loader.construct_object(key_node)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_NUMBERS = {
    "int": r"^[-+]?(0|[1-9][\d_]*|0x[\da-fA-F_]+)$",
    "float": r"^([-+]?(\d[\d_]*\.[\d_]*|\.\d[\d_]*)([eE][-+]?\d+)?|[-+]?\d[\d_]*[eE][-+]?\d+"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$",
}


def _strict(base: Any) -> Any:
    """YAML 1.1 as PyYAML reads it, but for what people do not mean by it: 1e-3 is a number; 010 is not 8, 1:30:00 not
    5400 and 2026-01-31 no date, but text, of which a setting that is a number takes what can be one (010 is 10); a key
    given twice is refused."""
    other = {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp"}
    resolvers = {
        first: [(tag, pattern) for tag, pattern in kinds if tag not in other]
        for first, kinds in base.yaml_implicit_resolvers.items()
    }
    loader: Any = type("Strict", (base,), {"yaml_implicit_resolvers": resolvers})
    for kind, pattern in _NUMBERS.items():
        loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(pattern), list("-+0123456789."))
    loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_repeats)
    return loader


# The one in C is ten times as fast, the other one says better what is wrong.
_FAST, _CLEAR = _strict(getattr(yaml, "CSafeLoader", yaml.SafeLoader)), _strict(yaml.SafeLoader)


class _Dumper(yaml.SafeDumper):
    """Puts text that this or another reader takes for a number into quotes."""


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(_NUMBERS["float"]), list("-+0123456789."))


def dump_yaml(document: Any) -> str:
    """What `parse_yaml` reads as the same document, keys in their order."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False)


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML safely; raises SettingsError, naming `where`, the line and the cause."""
    with contextlib.suppress(yaml.YAMLError, ValueError):
        return yaml.load(text, Loader=_FAST)
    try:
        return yaml.load(text, Loader=_CLEAR)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        cause = getattr(error, "problem", None) or getattr(error, "reason", error)
        raise SettingsError(f"{where}{line}: not valid YAML: {cause}") from None
    except ValueError as error:  # a date that is none, say
        raise SettingsError(f"{where}: not valid YAML: {error}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that must hold one mapping; raises SettingsError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    document = parse_yaml(text, str(path))
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise SettingsError(f"{path}: must hold `key: value` lines, not a {type(document).__name__}")
    return document


KIND_KEYS: set[str] = set()
"""The keys, such as `schedule`, by which a section says of which kind it is: see `blurtrain.kinds`, which fills it."""


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`: mappings merge, all else is replaced. A section of another kind (say, another `schedule`)
    replaces the whole section."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            other_kind = any(value[key] != old.get(key) for key in KIND_KEYS & value.keys())
            merged[key] = dict(value) if other_kind else merge(old, value)
        else:
            merged[key] = value
    return merged


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """`["optimisation.epochs=3", ...]` as a nested mapping; values are read as YAML. Raises SettingsError for what is
    no key=value, or no YAML."""
    document: dict[str, Any] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise SettingsError(f"override {override!r}: must be key=value, e.g. optimisation.epochs=10")
        # Not by `merge`: a schedule must not replace what an override before it says.
        here, (*sections, last) = document, key.split(".")
        for section in sections:
            if not isinstance(here.get(section), dict):
                here[section] = {}
            here = here[section]
        here[last] = parse_yaml(text, f"override {override!r}")
    return document


def shown(value: Any) -> str:
    """A setting's value as one would give it: `0.001`, `[8, 4]`, `none`; what has a label by that."""
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return f"[{', '.join(shown(item) for item in value)}]"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(label := getattr(value, "label", None), str):
        return label
    return value if isinstance(value, str) else json.dumps(value, default=lambda s: s.model_dump(exclude_defaults=True))
