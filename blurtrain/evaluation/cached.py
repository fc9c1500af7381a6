"""Measure what is not known yet: each level of blur once, whatever is asked for in which order."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from blurtrain.blur.blurs import Blur
from blurtrain.data.augment import Transform
from blurtrain.data.pixel_check import PixelCheck
from blurtrain.distributed import Group
from blurtrain.errors import BlurtrainError
from blurtrain.evaluation.images import Images
from blurtrain.evaluation.measure import LogitsMeasure, Measure
from blurtrain.evaluation.measures.accuracy import Accuracy
from blurtrain.evaluation.named import measure_named
from blurtrain.evaluation.outcomes import Outcomes, level_of
from blurtrain.evaluation.subject import Found, Row, Subject
from blurtrain.evaluation.sweep import sweep
from blurtrain.models.trained import Preprocessing
from blurtrain.parts import is_part_name, source_hash
from blurtrain.settings import Protocol

T = TypeVar("T")


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
        **({} if transform.deblur is None else transform.deblur.identity),
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
    of: Callable[[type[Measure], Mapping[str, Any]], Measure] = lambda kind, options: kind.model_validate(options),
    former: Callable[[], Sequence[Row]] = list,
) -> list[dict[str, Any]]:
    """The outcome of each of `measures` at `blurs`, a file each in `folder`, which its document names. What is not
    known yet is measured, and added to the file; all that follows from logits alone in one pass over the images.

    depends: all that outcomes depend on beside measure and blur; more: what else a reader wants to know. opened: what
    is measured, by the names of the measures that it is for; called only where something is missing. averaged: see
    `measure_named`. of: the measure itself. former: rows of accuracy in files of an older form, which are added before
    anything is measured.

    Every process of the group calls this, and gets the same documents. What goes wrong on one before the first image
    is raised on all.
    """

    def wanted(words: str) -> "_Wanted":
        named = measure_named(words, averaged)
        metrics = {"metrics": named.kind.metrics} if named.kind.metrics else {}
        outcomes = Outcomes(folder, {**named.identity, **depends}, {**more, **metrics})
        measure = of(named.kind, named.options)
        older = former if isinstance(measure, Accuracy) else list
        return _Wanted(measure, outcomes, list(measure.levels(blurs)), older)

    each = [together(group, lambda words=words: wanted(words)) for words in dict.fromkeys(measures)]  # type: ignore[misc]
    missing = [group.broadcast(together(group, lambda one=one: one.missing(per_image, group))) for one in each]  # type: ignore[misc]
    of_logits = [(one, levels) for one, levels in zip(each, missing, strict=True) if levels and one.is_of_logits]
    if of_logits:
        subject = together(group, lambda: _checked(opened, *(one.measure for one, _ in of_logits)))
        with PixelCheck([subject.images.source.store], group) as pixels:
            found = sweep([(one.measure, levels) for one, levels in of_logits], subject, per_image)
            pixels.has_passed(wait=True)
        for (one, _), of_one in zip(of_logits, found, strict=True):
            one.add(of_one, group)
    for one, levels in zip(each, missing, strict=True):
        if levels and not one.is_of_logits:
            subject = together(group, lambda one=one: _checked(opened, one.measure))  # type: ignore[misc]
            with PixelCheck([subject.images.source.store], group) as pixels:
                of_one = one.measure.measure(subject, levels, per_image)
                pixels.has_passed(wait=True)
            one.add(of_one, group)
    return [one.document(group) for one in each]


def _checked(opened: Callable[[str], Subject], *measures: Measure) -> Subject:
    """What is opened for `measures`; raises SettingsError where one of them cannot be taken of it."""
    subject = opened(", ".join(measure.name for measure in measures))
    for measure in measures:
        for network in subject.networks:
            measure.check_classes(network.classes)
    return subject


@dataclass(frozen=True)
class _Wanted:
    """A measure, its file, and the levels that are asked for."""

    measure: Measure
    outcomes: Outcomes
    levels: Sequence[Blur | str]
    former: Callable[[], Sequence[Row]]

    @property
    def is_of_logits(self) -> bool:
        """Whether it can share a pass over the images with others."""
        return type(self.measure).measure is LogitsMeasure.measure

    @cached_property
    def sources(self) -> dict[str, str]:
        """A label says all of our own blurs; one of the user's own is as its source has it now."""
        blurs = [level for level in self.levels if isinstance(level, Blur)]
        return {blur.label: source_hash(blur.kernel)[:16] for blur in blurs if is_part_name(blur.kernel)}

    def missing(self, per_image: bool, group: Group) -> list[Blur | str]:
        """The levels that are not known yet, as the leading process finds."""
        if not group.is_main:
            return []
        known = {level_of(row) for row in self.outcomes.rows() if row.get("source") == self.sources.get(row["blur"])}
        if not known >= {label_of(level) for level in self.levels} and (rows := self.former()):
            self.outcomes.add(Found(list(rows)))
            known |= {row["blur"] for row in rows}
        known &= self.outcomes.recorded() if per_image and self.measure.keeps_records else known
        return [level for level in self.levels if label_of(level) not in known]

    def add(self, found: Found, group: Group) -> None:
        of = {name: self.outcomes.header[name] for name in ("split", "epoch")}
        rows = [{**{k: row[k] for k in ("metric", "blur", "sigma")}, **of, **row} for row in found.rows]
        rows = [row | ({"source": self.sources[row["blur"]]} if row["blur"] in self.sources else {}) for row in rows]
        whole = replace(found, rows=rows)
        together(group, lambda: self.outcomes.add(whole) if group.is_main else None)

    def document(self, group: Group) -> dict[str, Any]:
        """Conditions and rows of all levels."""
        labels = [label_of(level) for level in self.levels]
        document = together(group, lambda: self.outcomes.document(labels) if group.is_main else {})
        return group.broadcast(document | {"file": str(self.outcomes.path)})


def label_of(level: Blur | str) -> str:
    """What a level is called in files."""
    return level if isinstance(level, str) else level.label


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
