"""A user's own parts by name: `package.module:Name`."""

import importlib
import re
from typing import Any

from blurtrain.errors import SettingsError

_NAME = re.compile(r"(?P<where>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<what>[A-Za-z_]\w*)")


def is_part_name(text: str) -> bool:
    """Whether `text` has the form of a part's name; nothing is looked up or imported."""
    return _NAME.fullmatch(text) is not None


def import_part(name: str, kind: str, base: type | None = None) -> Any:
    """What `name` names, imported; with `base`, a class derived from it. Raises SettingsError, one line."""
    parsed = _NAME.fullmatch(name)
    if parsed is None:
        raise SettingsError(f"{kind} {name!r}: must be package.module:Name")
    try:
        part = getattr(importlib.import_module(parsed["where"]), parsed["what"])
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"{kind} {name}: {error}") from None
    if base is not None and not (isinstance(part, type) and issubclass(part, base)):
        raise SettingsError(f"{kind} {name}: is no class derived from {base.__module__}.{base.__qualname__}")
    return part
