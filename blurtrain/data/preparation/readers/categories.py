"""Categories, and what ImageNet and COCO call them: the files in configs/categories that readers take, or one's own."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from blurtrain.documents import read_yaml
from blurtrain.errors import DataError, SettingsError
from blurtrain.schema import Section
from blurtrain.settings import PRESETS

FOLDER = PRESETS / "categories"


class Names(Section):
    """What one category is called."""

    imagenet: tuple[str, ...] = ()
    """WordNet ids."""
    coco: tuple[str, ...] = ()
    """Categories of COCO, in words."""


def categories_of(file: Path) -> dict[str, Names]:
    """Categories in their order in a YAML file {category: {imagenet: [id, ...], coco: [name, ...]}}; raises DataError,
    also where one ImageNet class or COCO category is in two."""
    try:
        found: Mapping[str, Names] = TypeAdapter(dict[str, Names]).validate_python(read_yaml(file))
    except SettingsError as error:
        raise DataError(str(error)) from None
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise DataError(
            f"{file}: {where}: {error.errors()[0]['msg']}; must be {{category: {{imagenet: [id, ...], coco: [...]}}}}"
        ) from None
    if len(found) < 2:
        raise DataError(f"{file}: has {len(found)} categories, and two are needed")
    for source in ("imagenet", "coco"):
        first: dict[str, str] = {}
        for category, names in found.items():
            for name in getattr(names, source):
                if (other := first.setdefault(name, category)) != category:
                    raise DataError(f"{file}: {source} {name} is in two categories, {other} and {category}")
    return dict(found)
