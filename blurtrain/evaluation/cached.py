"""Measure what is not known yet: each level of blur once, whatever is asked for in which order."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from blurtrain.blur.blurs import Blur
from blurtrain.data.augment import Transform
from blurtrain.distributed import Group
from blurtrain.errors import BlurtrainError, SettingsError, nearest
from blurtrain.evaluation.accuracy import Accuracy
from blurtrain.evaluation.images import Images
from blurtrain.evaluation.measure import LogitsMeasure, Measure
from blurtrain.evaluation.outcomes import Outcomes
from blurtrain.evaluation.subject import Found, Row, Subject
from blurtrain.models.trained import Preprocessing
from blurtrain.parts import import_part, is_part_name, source_hash
from blurtrain.settings import Protocol

BY_PROTOCOL = "evaluation.protocol"
"""What averages outputs, where images are shown by a protocol."""
MEASURES: dict[str, type[Measure]] = {Accuracy.name: Accuracy}
T = TypeVar("T")


def measure_named(name: str, averaged: str = "") -> tuple[type[Measure], dict[str, str]]:
    """A measure of ours, or a user's own as package.module:Name; and, of one's own, where it is from.

    averaged: what makes averages of outputs, if anything does. Raises SettingsError, one line, for an unknown one, and
    for one that cannot be taken of averages.
    """
    kind, source = _measure(name)
    if averaged and not issubclass(kind, LogitsMeasure):
        raise SettingsError(
            f"measure {name}: does not go with {averaged}, which gives averaged outputs: only measures that "
            "look at the outputs alone (LogitsMeasure) do"
        )
    return kind, source


def _measure(name: str) -> tuple[type[Measure], dict[str, str]]:
    if is_part_name(name):
        own: type[Measure] = import_part(name, "measure", Measure)
        return own, {"part": name, "source": source_hash(name)[:16]}
    if name not in MEASURES:
        raise SettingsError(f"measure {name!r} is unknown; {nearest(name, MEASURES)}, or package.module:Name")
    return MEASURES[name], {}


def conditions(
    images: Images, transform: Transform, epoch: int | None, protocol: Protocol | None, seen: Preprocessing
) -> dict[str, Any]:
    """What an outcome depends on beside network, measure and blur. transform: at the size where images are blurred;
    seen: how the network wants its images."""
    return {
        "split": images.split,
        "epoch": epoch,
        "n": images.n,
        "drop_last": images.drops_last,
        "pixels": images.source.pixels,
        "store": images.source.store.folder.name,
        "resolution": transform.resolution,
        "reference_resolution": transform.blur.reference_resolution,
        "truncate": transform.blur.truncate,
        "light": "linear" if transform.blur.linear_light else "sRGB",
    } | shown_by(protocol, seen)


def shown_by(protocol: Protocol | None, seen: Preprocessing) -> dict[str, Any]:
    """How a protocol shows images to a network, as far as outcomes depend on it; nothing where there is none."""
    if protocol is None:
        return {}
    return {"protocol": protocol.label, "crop": seen.crop, "interpolation": seen.interpolation}


def about(images: Images, outputs: int) -> dict[str, Any]:
    """What a reader wants to know of the images, and of how many outputs (called classes) one has to be right."""
    objects = None if images.objects is None else np.bincount(images.objects).tolist()
    return {"classes": outputs, "largest_class": images.largest_class, "objects": objects}


def measure_each(
    measures: Sequence[str],
    blurs: Sequence[Blur],
    per_image: bool,
    folder: Path,
    depends: Mapping[str, Any],
    more: Mapping[str, Any],
    group: Group,
    opened: Callable[[str], Subject],
    averaged: str = "",
    of: Callable[[type[Measure]], Measure] = lambda kind: kind(),
    former: Callable[[], Sequence[Row]] = list,
) -> list[dict[str, Any]]:
    """The outcome of each of `measures` at `blurs`, a file each in `folder`, which its document names.

    depends: all that outcomes depend on beside measure and blur; more: what else a reader wants to know. opened: what
    is measured, by the name of the measure that it is for. averaged: see `measure_named`. of: the measure itself.
    former: rows of accuracy in files of an older form.
    """
    found = []
    for name in measures:
        kind, source = together(group, lambda name=name: measure_named(name, averaged))  # type: ignore[misc]
        of_metrics = {"metrics": kind.metrics} if kind.metrics else {}
        outcomes = Outcomes(folder, {"measure": kind.name, **source, **depends}, {**more, **of_metrics})
        document = measured(
            of(kind),
            outcomes,
            blurs,
            per_image,
            group,
            lambda name=name: opened(name),  # type: ignore[misc]
            former if kind is Accuracy else list,
        )
        found.append(document | {"file": str(outcomes.path)})
    return found


def measured(
    measure: Measure,
    outcomes: Outcomes,
    blurs: Sequence[Blur],
    per_image: bool,
    group: Group,
    opened: Callable[[], Subject],
    former: Callable[[], Sequence[Row]] = list,
) -> dict[str, Any]:
    """Conditions and rows of all `blurs`, of which those that are not known yet are measured, and added to `outcomes`.

    opened: gives what is measured; called only where something is missing. former: rows of files of an older form,
    which are added before anything is measured. Every process of the group calls this, and gets the same document.
    What goes wrong on one before the first image is raised on all.
    """

    # A label says all of our own blurs; one of the user's own is as its source has it now.
    sources = {blur.label: source_hash(blur.kernel)[:16] for blur in blurs if is_part_name(blur.kernel)}

    def missing() -> list[Blur]:
        known = {row["blur"] for row in outcomes.rows() if row.get("source") == sources.get(row["blur"])}
        if not known >= {blur.label for blur in blurs} and (rows := former()):
            outcomes.add(Found(list(rows)))
            known |= {row["blur"] for row in rows}
        known &= outcomes.recorded() if per_image else known
        return [blur for blur in blurs if blur.label not in known]

    if wanted := group.broadcast(together(group, missing if group.is_main else list)):
        found = measure.measure(together(group, opened), wanted, per_image)
        of = {name: outcomes.header[name] for name in ("split", "epoch")}
        rows = [{**{k: row[k] for k in ("metric", "blur", "sigma")}, **of, **row} for row in found.rows]
        rows = [row | ({"source": sources[row["blur"]]} if row["blur"] in sources else {}) for row in rows]
        together(group, lambda: outcomes.add(Found(rows, found.records)) if group.is_main else None)
    labels = [blur.label for blur in blurs]
    return group.broadcast(together(group, lambda: outcomes.document(labels) if group.is_main else {}))


def together(group: Group, action: Callable[[], T]) -> T:
    """What `action` gives on this process; if it raises a BlurtrainError on any, that is raised on all."""
    error: BlurtrainError | None = None
    value: T | None = None
    try:
        value = action()
    except BlurtrainError as raised:
        error = raised
    if first := next((e for e in group.gather(error) if e is not None), None):
        raise first
    return value  # type: ignore[return-value]
