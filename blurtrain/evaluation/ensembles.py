"""Measure several networks as one: the mean of their log-probabilities, each shown the images in its own way.

So Vasiljevic et al. 2016 (Table 4, last row) put together networks that are fine-tuned for one scale each.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from blurtrain.distributed import Group
from blurtrain.errors import SettingsError
from blurtrain.evaluation.cached import about, conditions, measure_each, shown_by, together
from blurtrain.evaluation.plan import Plan
from blurtrain.evaluation.progress import ticking
from blurtrain.evaluation.subject import Subject

AVERAGED = "an ensemble"


def evaluate_ensemble(plans: Sequence[Plan], out: Path, *, group: Group) -> list[dict[str, Any]]:
    """Measure the networks of `plans` as one; a document a measure, each a file below `out`.

    Its name is a hash of its members (`members`: run and epoch, or a hash of the weights, and the protocol of each),
    whatever their order. Raises SettingsError where there are fewer than two, one is there twice, or they differ in
    classes, images, blurs, where these are defined, or measures.
    """
    together(group, lambda: _check(plans))
    first, name = plans[0], " + ".join(plan.name for plan in plans)
    members = _members(plans)
    protocols = list(dict.fromkeys(member.get("protocol", "whole") for member in members))
    depends = {
        "members": members,
        **conditions(first.images, first.transform, None, None, first.preprocessing),
        **({} if protocols == ["whole"] else {"protocol": " & ".join(protocols)}),
        "data_id": first.images.dataset.data_id,
    }
    more = {"origin": name, "dataset": first.images.dataset.name, **about(first.images, len(first.classes))}
    ready = list[Subject]()

    def opened(measure: str) -> Subject:
        """Once, however many measures are taken."""
        if not ready:
            ready.append(_opened(plans, group))
        return ticking(ready[0], f"ensemble of {len(plans)}: {measure}")

    per_image = any(plan.evaluation.per_image for plan in plans)
    measures = first.evaluation.measures
    return measure_each(measures, first.blurs, per_image, out, depends, more, group, opened, AVERAGED)


def _members(plans: Sequence[Plan]) -> list[dict[str, Any]]:
    """What the outcome depends on of each, in an order that does not depend on theirs."""
    each = [{**plan.identity, **shown_by(plan.evaluation.protocol, plan.preprocessing)} for plan in plans]
    return sorted(each, key=lambda member: json.dumps(member, sort_keys=True))


def _opened(plans: Sequence[Plan], group: Group) -> Subject:
    """All of them on the images of the first, which are read once."""
    first, *others = plans
    subject = first.opened(group)
    return replace(subject, others=tuple(other.beside(subject) for other in others))


def _check(plans: Sequence[Plan]) -> None:
    if len(plans) < 2:
        raise SettingsError("ensemble: takes two networks or more: name them all in one command")
    members = _members(plans)
    if twice := [member for k, member in enumerate(members) if member in members[:k]]:
        name = next(plan.name for plan in plans if plan.identity.items() <= twice[0].items())
        raise SettingsError(f"ensemble: {name} is there twice, and shown images alike: leave one of them out")
    first = plans[0]
    if methods := [method.label for plan in plans for method in plan.evaluation.deblur]:
        raise SettingsError(f"ensemble: evaluation.deblur={methods[0]} is for single networks: leave it out")
    for other in plans[1:]:
        if said := _difference(first, other):
            raise SettingsError(f"ensemble: {first.name} and {other.name} differ in {said}")


def _difference(a: Plan, b: Plan) -> str:
    """The first thing that two networks would have to have in common, and what to do; empty where there is none."""
    images = (a.images, b.images)
    data = [f"{some.dataset.name!r} ({some.dataset.data_id[:12]})" for some in images]
    if a.images.dataset.data_id != b.images.dataset.data_id:
        return f"the dataset, {data[0]} and {data[1]}: --dataset NAME measures all of them on one"
    if a.classes != b.classes:
        return f"their outputs, {_classes(a.classes, b.classes)}: --dataset NAME measures all of them on its classes"
    if a.images.split != b.images.split:
        return f"the split, {a.images.split} and {b.images.split}: evaluation.split=... is for all of them"
    if a.transform.resolution != b.transform.resolution:
        return (
            f"the size where images are blurred, {a.transform.resolution} and {b.transform.resolution} px: "
            "evaluation.protocol.defined_at=... is one for all of them"
        )
    if a.images.indices.tolist() != b.images.indices.tolist():
        return (
            f"which images are measured, {a.images.n} and {b.images.n}: see evaluation.drop_last and images_per_class"
        )
    units = [plan.transform.blur.model_dump() for plan in (a, b)]
    if unlike := [name for name in units[0] if units[0][name] != units[1][name]]:
        name = unlike[0]
        return f"blur.{name}, {units[0][name]} and {units[1][name]}: they would be shown other blurs of one name"
    levels = [[blur.label for blur in plan.blurs] for plan in (a, b)]
    if only := [label for label in (*levels[0], *levels[1]) if (label in levels[0]) != (label in levels[1])]:
        return f"their blurs, only one has {only[0]}: evaluation.blurs=[...] is for all of them"
    if a.evaluation.measures != b.evaluation.measures:
        return "what is measured: --measure NAME is for all of them"
    return ""


def _classes(a: Sequence[str], b: Sequence[str]) -> str:
    if len(a) != len(b):
        return f"{len(a)} and {len(b)} classes"
    place = next(k for k, names in enumerate(zip(a, b, strict=True)) if names[0] != names[1])
    return f"number {place} of which is {a[place]!r} and {b[place]!r}"
