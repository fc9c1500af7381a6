"""Which parts of the user's own a run is made of."""

from collections.abc import Iterator
from typing import Any

from blurtrain.parts import is_part_name
from blurtrain.settings.run import Settings


def part_names(settings: Settings) -> list[str]:
    """The names of the user's own parts anywhere in these settings (`package.module:Name` or `file.py:Name`)."""
    document = settings.model_dump(mode="json", exclude={"data": {"root"}, "network": {"pretrained": {"file"}}})
    return sorted({text for text in _texts(document) if is_part_name(text)})


def _texts(document: Any) -> Iterator[str]:
    if isinstance(document, str):
        yield document
    elif isinstance(document, dict | list):
        for value in document.values() if isinstance(document, dict) else document:
            yield from _texts(value)
