"""The settings of many runs, of which most share nearly all: each section is parsed and validated once."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from blurtrain.documents import parse_yaml
from blurtrain.errors import SettingsError
from blurtrain.schema import validate
from blurtrain.settings import Settings, load_resolved, settings_id
from blurtrain.settings.labels import kind, model_label, regime_label

FIELDS = tuple(Settings.model_fields)
_KEY = re.compile(r"([A-Za-z_]\w*):(?:[ \n]|$)")


class SettingsReader:
    """Reads settings of runs; equal sections of several runs are one object."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}  # by their text, which begins with their name
        self._parsed: dict[str, Any] = {}
        self._texts: dict[int, str] = {}
        self._alive: list[BaseModel] = []
        self._ids: dict[tuple[Any, ...], str] = {}
        self._labels: dict[tuple[Any, ...], tuple[str, str]] = {}

    def read(self, path: Path) -> Settings:
        """As `load_resolved`, whose errors it raises."""
        try:
            blocks = _blocks(path.read_text(encoding="utf-8"))
            if blocks is not None:
                return self._settings(blocks, self._block, str(path))
        except (OSError, UnicodeDecodeError, _NotByBlocksError):
            pass  # the whole says what is wrong, or is read where it cannot be taken apart
        return self._shared(load_resolved(path))

    def restore(self, texts: Mapping[str, str], where: str) -> Settings:
        """Settings as `texts` gave them; raises SettingsError where they are not valid any more."""
        blocks = {name: f"{name}\0{text}" for name, text in texts.items()}
        return self._settings(blocks, lambda name, block: json.loads(block[len(name) + 1 :]), where)

    def texts(self, settings: Settings) -> dict[str, str]:
        """Each section, or single setting, as JSON."""
        return {name: self._text(getattr(settings, name)) for name in FIELDS}

    def settings_id(self, settings: Settings, data_id: str) -> str:
        """As `blurtrain.settings.settings_id`, of settings that this reader has given."""
        key = (*kind(settings), data_id)
        if key not in self._ids:
            self._ids[key] = settings_id(settings, data_id)
        return self._ids[key]

    def labels(self, settings: Settings) -> tuple[str, str]:
        """What the regime and the model are called, of settings that this reader has given."""
        key = kind(settings)
        if key not in self._labels:
            self._labels[key] = regime_label(settings), model_label(settings)
        return self._labels[key]

    def _settings(self, blocks: Mapping[str, str], parse: Callable[[str, str], Any], where: str) -> Settings:
        document = {
            name: self._known[text] if text in self._known else parse(name, text) for name, text in blocks.items()
        }
        settings: Settings = validate(document, where, Settings)
        if len(blocks) == len(FIELDS) and all(text in self._known for text in blocks.values()):
            return settings
        settings = self._shared(settings)
        self._known |= {text: getattr(settings, name) for name, text in blocks.items()}
        return settings

    def _shared(self, settings: Settings) -> Settings:
        """The same with the sections that are known already by their content."""
        own = {name: (value, f"{name}\0{self._text(value)}") for name, value in vars(settings).items()}
        return settings.model_copy(
            update={name: self._known.setdefault(text, value) for name, (value, text) in own.items()}
        )

    def _text(self, value: Any) -> str:
        if not isinstance(value, BaseModel):
            return json.dumps(value)
        if id(value) not in self._texts:
            self._texts[id(value)] = json.dumps(value.model_dump(mode="json"), separators=(",", ":"))
            self._alive.append(value)  # or its id would be another's
        return self._texts[id(value)]

    def _block(self, name: str, text: str) -> Any:
        """The value of `name: value`, where a line of the section that is known need not be parsed again."""
        head, *lines = re.split(r"^(?=  [A-Za-z_])", text, flags=re.M)
        if not lines or head != f"{name}:\n":
            return self._value(name, text)
        section = {}
        for line in lines:
            key = _KEY.match(line[2:])
            if key is None or key[1] in section:
                raise _NotByBlocksError
            section[key[1]] = self._value(key[1], line)
        return section

    def _value(self, name: str, text: str) -> Any:
        if text not in self._parsed:
            try:
                found = parse_yaml(text, "")
            except SettingsError:
                raise _NotByBlocksError from None
            if not isinstance(found, dict) or list(found) != [name]:
                raise _NotByBlocksError
            self._parsed[text] = found[name]
        return self._parsed[text]


class _NotByBlocksError(Exception):
    """A file that is to be parsed as a whole."""


def _blocks(text: str) -> dict[str, str] | None:
    """The text of each `key: ...` at the left margin, by key; None where it does not consist of such alone."""
    found: dict[str, str] = {}
    for block in re.split(r"^(?=\S)", text, flags=re.M):
        key = _KEY.match(block)
        if key is None or key[1] in found:
            if block.strip():
                return None
            continue
        found[key[1]] = block
    return found
