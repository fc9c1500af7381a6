"""Measure a network that is no run: on a prepared dataset, with the network's own preprocessing."""

from pathlib import Path
from typing import Any

from blurtrain.data.augment import Transform
from blurtrain.data.dataset import Dataset
from blurtrain.data.loader import open_loader
from blurtrain.distributed import Group
from blurtrain.errors import DataError
from blurtrain.evaluation.cached import about, conditions, measure_named, measured, together
from blurtrain.evaluation.images import Images
from blurtrain.evaluation.outcomes import Outcomes
from blurtrain.evaluation.progress import ticking
from blurtrain.evaluation.subject import Subject
from blurtrain.evaluation.views import blurred_at
from blurtrain.models.trained import TrainedNetwork
from blurtrain.settings import Augmentation, BlurUnits, Evaluation, Loader


def evaluate_network(
    network: TrainedNetwork, dataset: Dataset, evaluation: Evaluation, out: Path, *, group: Group
) -> list[dict[str, Any]]:
    """Measure `network` on its outputs for the classes of `dataset`; a document a measure, each a file below `out`.

    The stored images are square. They are resized to the network's `resize`, and blurred there, so that sigma and all
    lengths are of an image of that side; then its central square is cut out. By `evaluation.protocol` they are shown at
    its scales and crops instead. Raises DataError where the dataset has a
    class that the network does not know, or is stored smaller than the network's input.
    """
    network = together(group, lambda: network.restricted(dataset.classes))
    p, rules = network.preprocessing, BlurUnits()
    protocol = evaluation.protocol
    images = together(group, lambda: Images.of(dataset, evaluation, p.resize))
    if protocol is None and images.source.store.size < p.crop:
        raise DataError(
            f"dataset {dataset.name!r} is stored at {images.source.store.size} px, less than the network's "
            f"{p.crop}: prepare it with --resolution {p.resize}"
        )
    network = network.to(group.device)
    transform = Transform(Augmentation(), p.resize, p.mean, p.sd, rules, 0)
    at = blurred_at(transform, protocol)
    depends = {**conditions(images, at, None, protocol, p), "crop": p.crop, "data_id": dataset.data_id}
    digest = network.digest()

    def opened(name: str) -> Subject:
        loader = open_loader(Loader(workers=group.cores), images.source, group.device)
        subject = Subject.of(network, images, loader, transform, group, evaluation)
        return ticking(subject, f"{network.origin}: {name}")

    found = []
    blurs = evaluation.levels(rules.reference_resolution)
    for name in evaluation.measures:
        kind, source = together(group, lambda name=name: measure_named(name, protocol))  # type: ignore[misc]
        whole = {"measure": kind.name, **source, "network": digest, **depends}
        more = {"origin": network.origin, "dataset": dataset.name, **about(images, len(network.classes))}
        outcomes = Outcomes(out, whole, more)
        document = measured(
            kind(),
            outcomes,
            blurs,
            evaluation.per_image,
            group,
            lambda name=name: opened(name),  # type: ignore[misc]
        )
        found.append(document | {"file": str(outcomes.path)})
    return found
