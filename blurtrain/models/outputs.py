"""What the outputs of a network are called, and which of them are meant by the classes of a dataset."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blurtrain.errors import DataError, SettingsError, nearest
from blurtrain.settings import Network

Synonyms = tuple[frozenset[str], ...]


@dataclass(frozen=True)
class Outputs:
    """Of a network that a run trains."""

    names: tuple[str, ...]
    """Of its outputs, in their order."""
    synonyms: Synonyms | None = None
    """Other names of each output, such as WordNet ids; none are known where there is none."""
    targets: NDArray[np.int64] | None = None
    """The output of each class of the dataset, in the order of these; None: they are the outputs."""


def outputs_of(network: Network, classes: Sequence[str]) -> Outputs:
    """The outputs of the network of a run on a dataset of these `classes`.

    They are these classes, or, where the pretrained head is kept, all that the weights have. Raises DataError where
    a class is not among those, SettingsError where it is not known what those are.
    """
    if network.pretrained is None or network.pretrained.head == "replaced":
        return Outputs(tuple(classes))
    names, synonyms = network.pretrained.classes, None
    if names is None:
        names, synonyms = imagenet_names(), imagenet_synonyms()
        if not names:
            raise SettingsError(
                "network.pretrained.head=kept: timm, which knows the classes of ImageNet, is not installed: "
                "pip install timm, or name the outputs by network.pretrained.classes"
            )
    found = places_of(classes, names, synonyms, "network.pretrained.head=kept: the network")
    return Outputs(names, synonyms, np.array(found, np.int64))


def places_of(classes: Sequence[str], names: Sequence[str], synonyms: Synonyms | None, whose: str) -> tuple[int, ...]:
    """Where each of `classes` stands among `names`, found by name or else by synonym, however it is spelled.

    Raises DataError, in the name of `whose`, where one is not among them, or several are (ImageNet has a crane that
    flies, and one that lifts), or two are the same one.
    """
    by_name, by_synonym = defaultdict[str, list[int]](list), defaultdict[str, list[int]](list)
    for place, name in enumerate(names):
        by_name[_plain(name)].append(place)
        for known in {_plain(synonym) for synonym in synonyms[place]} if synonyms else ():
            by_synonym[known].append(place)
    places = {name: by_name.get(_plain(name)) or by_synonym.get(_plain(name), []) for name in classes}
    if lacking := [name for name, found in places.items() if not found]:
        raise DataError(
            f"{whose} has no class {lacking[0]!r}"
            + (f" (nor {len(lacking) - 1} others of {len(classes)})" if len(lacking) > 1 else "")
            + f"; {nearest(lacking[0], names[:20])}: name the folders as its classes, or by WordNet id"
        )
    if vague := next((name for name, found in places.items() if len(found) > 1), None):
        raise DataError(f"{whose} has {len(places[vague])} classes {vague!r}: name the folder by its WordNet id")
    found = tuple(places[name][0] for name in classes)
    if twice := next((k for k, place in enumerate(found) if place in found[:k]), None):
        raise DataError(
            f"{whose} has one class for {classes[found.index(found[twice])]!r} and {classes[twice]!r}: "
            f"{names[found[twice]]!r}"
        )
    return found


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", " ").replace("-", " ")


def imagenet_names() -> tuple[str, ...]:
    """Names of ImageNet's 1000 classes, in their usual order; empty where timm, which knows, is not installed."""
    return tuple(name for name, _ in _imagenet())


def imagenet_synonyms() -> Synonyms | None:
    """The WordNet id, and each of the words that make up the name, of ImageNet's 1000 classes; None as above."""
    return tuple(frozenset({*name.split(", "), word}) for name, word in _imagenet()) or None


def _imagenet() -> list[tuple[str, str]]:
    from blurtrain.models import torchvision_ops

    # isort: split
    try:
        # isort: split
        from timm.data import ImageNetInfo

        from blurtrain.models import torchvision_ops  # noqa: F401  (before torchvision, which timm imports)
    except ImportError:
        return []
    info = ImageNetInfo()
    return [(info.index_to_description(k), info.index_to_label_name(k)) for k in range(info.num_classes())]
