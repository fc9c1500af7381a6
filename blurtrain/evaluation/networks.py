"""Measure a network that is no run: on a prepared dataset, with the network's own preprocessing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from blurtrain.data.augment import Transform
from blurtrain.data.dataset import Dataset
from blurtrain.deblurring import Deblurring
from blurtrain.distributed import Group
from blurtrain.errors import DataError
from blurtrain.evaluation.cached import about, conditions, measure_each, together
from blurtrain.evaluation.images import Images
from blurtrain.evaluation.named import BY_PROTOCOL, check_deblurred, measure_named
from blurtrain.evaluation.plan import Plan
from blurtrain.evaluation.progress import ticking
from blurtrain.evaluation.subject import Subject
from blurtrain.models.outputs import places_of
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
    plan = together(group, lambda: network_plan(network, dataset, evaluation))
    p, protocol = plan.preprocessing, evaluation.protocol
    more = {"origin": plan.name, "dataset": dataset.name, **about(plan.images, len(plan.classes))}
    averaged = BY_PROTOCOL if protocol else ""
    documents = []
    together(group, lambda: check_deblurred(evaluation.measures, evaluation.deblur))
    for deblur in (None, *evaluation.deblur):
        shown = replace(plan.transform, deblur=deblur)
        depends = {
            **plan.identity,
            **conditions(plan.images, shown, None, protocol, p),
            "crop": p.crop,
            "data_id": dataset.data_id,
        }
        title = plan.name if deblur is None else f"{plan.name}, {deblur.label}"

        def opened(name: str, deblur: Deblurring | None = deblur, title: str = title) -> Subject:
            return ticking(plan.opened(group).deblurred(deblur), f"{title}: {name}")

        documents += measure_each(
            evaluation.measures, plan.blurs, evaluation.per_image, out, depends, more, group, opened, averaged
        )
    return documents


def network_plan(network: TrainedNetwork, dataset: Dataset, evaluation: Evaluation, all_outputs: bool = False) -> Plan:
    """`network` as `evaluate_network` measures it, on its outputs for the classes of `dataset` alone, or on all; where
    no measure is of classes, it need not know them.

    Raises as that does.
    """
    if not any(measure_named(words).kind.of_classes for words in evaluation.measures):
        targets = None
    elif all_outputs:
        found = places_of(dataset.classes, network.classes, network.synonyms, f"{network.origin}:")
        targets = np.array(found, np.int64)
    else:
        network, targets = network.restricted(dataset.classes), None
    p = network.preprocessing
    images = Images.of(dataset, evaluation, p.resize)
    if evaluation.protocol is None and images.source.store.size < p.crop:
        raise DataError(
            f"dataset {dataset.name!r} is stored at {images.source.store.size} px, less than the network's "
            f"{p.crop}: prepare it with --resolution {p.resize}"
        )
    rules = BlurUnits()
    return Plan.of(
        name=network.origin,
        identity={"network": network.digest()},
        load=lambda: network,
        classes=network.classes,
        preprocessing=p,
        transform=Transform(Augmentation(), p.resize, p.mean, p.sd, rules, 0),
        images=images,
        evaluation=evaluation,
        blurs=evaluation.levels(rules.reference_resolution),
        reading=Loader(),
        targets=targets,
    )
