"""What a blur-type detector is worth, from its probabilities on photos whose type is known: tables with intervals."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.estimates import paired, summary

SHARP = "sharp"
BINS = 10


class Verdicts(NamedTuple):
    """One detector on some photos."""

    name: str
    classes: Sequence[str]
    files: Sequence[str]
    scenes: Sequence[str]
    """[n]: what each photo shows, by any name; photos of one scene are not independent."""
    labels: NDArray[np.int64]
    """[n]: places in `classes`."""
    probabilities: NDArray[np.float64]
    """[n, classes]."""

    @property
    def taken(self) -> NDArray[np.int64]:
        """[n]: the most probable class."""
        return self.probabilities.argmax(1)

    @property
    def right(self) -> NDArray[np.bool_]:
        """[n]: whether the most probable class is the label."""
        return self.taken == self.labels


def report(verdicts: Verdicts, by: str) -> dict[str, Any]:
    """Accuracy, confusion matrix, recall and precision of each class, false alarms on sharp photos (None where no class
    is called so), reliability, and accuracy by group, as plain values; shares as `share` gives them.

    by: a regular expression, which is looked for in the names of files, without folders; what it finds is the group.
    """
    count = len(verdicts.classes)
    cells = np.bincount(verdicts.labels * count + verdicts.taken, minlength=count**2).reshape(count, count)
    groups = np.array([_group(file, by) for file in verdicts.files])
    scenes, right = np.array(verdicts.scenes), verdicts.right

    def of(chosen: NDArray[np.bool_]) -> dict[str, Any]:
        return share(right[chosen], scenes[chosen])

    return {
        "network": verdicts.name,
        "classes": list(verdicts.classes),
        "n": len(verdicts.labels),
        "scenes": len(np.unique(scenes)),
        "accuracy": share(right, scenes),
        "confusion": cells.tolist(),
        "recall": {n: of(verdicts.labels == k) for k, n in enumerate(verdicts.classes)},
        "precision": {n: of(verdicts.taken == k) for k, n in enumerate(verdicts.classes)},
        "false_alarms": _false_alarms(verdicts, scenes),
        "reliability": _reliability(verdicts),
        "groups": {group: of(groups == group) for group in sorted(set(groups.tolist()))},
    }


def compared(own: Verdicts, base: Verdicts) -> dict[str, Any]:
    """The difference of two detectors on the same photos, in pairs: that of their accuracy, own minus base, with its
    95 % interval and test, over scenes where some have several photos (None where there is none); on how many photos
    only one is right. Raises ValueError where the photos differ."""
    if [*own.files] != [*base.files] or [*own.scenes] != [*base.scenes]:
        raise ValueError("the two were not shown the same photos")
    found = paired(own.right, base.right, _clusters(own.scenes))
    d = found.difference
    return {
        "own": own.name, "base": base.name, "n": len(own.files), "scenes": len({*own.scenes}),
        "only_own": int((own.right & ~base.right).sum()), "only_base": int((~own.right & base.right).sum()),
        "difference": d.value, "low": _known(d.low), "high": _known(d.high), "p": _known(found.p),
        "test": found.test.replace("objects", "scenes"),
    }  # fmt: skip


def worst(verdicts: Verdicts, most: int) -> list[int]:
    """Places of the photos that are taken for something else with most confidence, the worst first."""
    given = verdicts.probabilities.max(1)
    wrong = np.flatnonzero(~verdicts.right)
    return [int(k) for k in wrong[np.argsort(-given[wrong], kind="stable")][:most]]


def share(values: NDArray[np.bool_], scenes: Sequence[str] | NDArray[np.str_]) -> dict[str, Any]:
    """Of values [n] of photos of scenes [n]: count, n, scenes, and the share in 0..1 with its 95 % interval, which is
    Wilson's, at the number of photos that they amount to where a scene has several of them (`summary`).

    None where there are no photos; no interval for several photos of one scene alone."""
    n, of = len(values), {"count": int(values.sum()), "n": len(values), "scenes": len(np.unique(scenes))}
    if not n:
        return {**of, "share": None, "low": None, "high": None}
    found = summary(values, _clusters(scenes))
    return {**of, "share": found.value, "low": _known(found.low), "high": _known(found.high)}


def _false_alarms(verdicts: Verdicts, scenes: NDArray[np.str_]) -> dict[str, Any] | None:
    if SHARP not in verdicts.classes:
        return None
    sharp = verdicts.labels == list(verdicts.classes).index(SHARP)
    return share(~verdicts.right[sharp], scenes[sharp])


def _clusters(scenes: Sequence[str] | NDArray[np.str_]) -> NDArray[np.str_] | None:
    """None where each scene has one photo: these are independent then."""
    return np.array(scenes) if len(np.unique(scenes)) < len(scenes) else None


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def as_text(document: Mapping[str, Any]) -> str:
    """A report in lines."""
    names = document["classes"]
    width = max(map(len, names))
    alone, alarms = document["scenes"] == document["n"], document["false_alarms"]
    lines = [
        f"{document['network']}: n = {_photos(document)} "
        f"(95 % intervals: {'Wilson' if alone else 'Wilson, over scenes where these have several photos'})",
        f"right {_words(document['accuracy'])}" + (f"; false alarms on sharp {_words(alarms)}" if alarms else ""),
        "",
        f"{'is, down; taken for, across':{width}}  " + "  ".join(f"{n[:12]:>12}" for n in names) + f"  {'recall':>25}",
    ]
    for name, row in zip(names, document["confusion"], strict=True):
        counts = "  ".join(f"{n:12}" for n in row)
        lines.append(f"{name:27}  {counts}  {_words(document['recall'][name]):>25}")
    lines.append(f"{'precision':27}  " + "  ".join(f"{_short(document['precision'][n]):>12}" for n in names))
    lines += ["", *(f"{n}: precision {_words(of)}" for n, of in document["precision"].items())]
    lines += ["", *(f"group {group or '(none)'}: right {_words(of)}" for group, of in document["groups"].items())]
    lines += ["", "confidence  photos  mean confidence  right"]
    lines += [
        f"{k / BINS:.1f} - {(k + 1) / BINS:.1f}  {int(n):7}  {100 * mean:13.1f} %  {100 * right:4.0f} %"
        for k, (n, mean, right) in enumerate(document["reliability"]) if n
    ]  # fmt: skip
    return "\n".join(lines)


def comparison_as_text(of: Mapping[str, Any]) -> str:
    """In a line."""
    interval = "no interval" if of["low"] is None else f"{100 * of['low']:+.1f} to {100 * of['high']:+.1f}"
    test = "no test" if of["p"] is None else f"p = {of['p']:.3g} ({of['test']})"
    return (
        f"{of['own']} minus {of['base']}: {100 * of['difference']:+.1f} points ({interval}), "
        f"{of['only_own']} photos right by the one alone, {of['only_base']} by the other, {test}, n = {_photos(of)}"
    )


def _photos(of: Mapping[str, Any]) -> str:
    return f"{of['n']} photos of {of['scenes']} scene{'s' * (of['scenes'] != 1)}"


def _words(of: Mapping[str, Any]) -> str:
    if not of["n"]:
        return "-"
    interval = "one scene" if of["low"] is None else f"{100 * of['low']:.1f} to {100 * of['high']:.1f}"
    return f"{_short(of)} ({interval}), {of['count']} of {of['n']}"


def _short(of: Mapping[str, Any]) -> str:
    return f"{100 * of['share']:.1f} %" if of["n"] else "-"


def _group(file: str, by: str) -> str:
    found = re.search(by, PurePosixPath(file).name)
    return found[0] if found else ""


def _reliability(verdicts: Verdicts) -> list[list[float]]:
    """[bins, 3]: photos, mean confidence and share of right answers."""
    confidence = verdicts.probabilities.max(1)
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    n = np.bincount(place, minlength=BINS)
    sums = [np.bincount(place, weights=v, minlength=BINS) / np.maximum(n, 1) for v in (confidence, verdicts.right)]
    return np.column_stack([n, *sums]).tolist()
