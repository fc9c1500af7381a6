"""Which parts of the user's own a run is made of."""

from typing import Any

from blurtrain.parts import parts_named
from blurtrain.settings.run import Settings


def part_names(settings: Settings) -> tuple[str, ...]:
    """The names of the user's own parts anywhere in these settings (`package.module:Name` or `file.py:Name`)."""
    paths: dict[str, Any] = {"data": {"root"}, "network": {"pretrained": {"file"}}}  # which may look like one
    return parts_named(settings.model_dump(exclude=paths))
