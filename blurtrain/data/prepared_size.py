"""The network's input, where nobody says how large it is to be: the size that the dataset was prepared for."""

import logging
from pathlib import Path
from typing import Any

from blurtrain.data.dataset import open_dataset
from blurtrain.schema import validate
from blurtrain.settings import Settings

_log = logging.getLogger(__name__)


def at_prepared_size(settings: Settings) -> Settings:
    """With `data.resolution` as the dataset was prepared for, in pixels, if no file, preset or override gives one and
    the default is more than is stored: such runs cannot be trained otherwise, so that no id of one changes.

    Says so in the log. For one run, just before it is trained: a grid is planned where its data need not be. Raises
    DataError where the dataset is not prepared, SettingsError where other settings do not fit that size.
    """
    if "resolution" in settings.data.model_fields_set:
        return settings
    manifest = open_dataset(Path(settings.data.root), settings.dataset).manifest
    side = manifest.get("resolution")
    if side is None or manifest["stored_size"] >= settings.data.resolution:
        return settings
    document: dict[str, Any] = settings.model_dump(mode="json")
    document["data"]["resolution"] = side
    fitted: Settings = validate(
        document, f"dataset {settings.dataset!r}, at the size that it was prepared for", Settings
    )
    _log.info("data.resolution=%d: what dataset %r was prepared for", side, settings.dataset)
    return fitted
