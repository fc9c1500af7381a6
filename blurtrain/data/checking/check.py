"""The check of one prepared dataset or folder: findings that make results invalid, notes, and figures behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from blurtrain.data.checking import balance, duplicates
from blurtrain.data.checking.duplicates import Duplicate
from blurtrain.data.checking.files import ImageFiles
from blurtrain.data.checking.images import Images, Source, evenly
from blurtrain.data.checking.stored import StoredImages
from blurtrain.data.dataset import Dataset
from blurtrain.data.sharpness import MEASURES
from blurtrain.errors import DataError

SHOWN = 3
"""Examples that a finding names."""
UNEVEN = 2.0
"""Images of the largest class to those of the smallest from which that is noted."""
JUDGE = "reblur"
"""The measure by which splits are said to differ in sharpness: it told blurred photographs best (docs/sharpness.md)."""


class Limits(NamedTuple):
    """What counts as a near duplicate, and at how much is looked."""

    distance: int = 14
    """Bits of 64 in which the hashes of near duplicates differ at most, 0..15."""
    similarity: float = 0.95
    """Correlation of the thumbnails of near duplicates at least, -1 to 1."""
    images: int = 200
    """Of each split, evenly apart, whose sharpness and source size are looked at."""


class Finding(NamedTuple):
    """One thing that was found, in a sentence."""

    kind: Literal["damaged", "unreadable", "exact", "near", "classes", "balance", "objects", "sizes", "sharpness"]
    text: str
    invalidates: bool = False
    """Whether results would be invalid; else it is a note."""


@dataclass
class Check:
    """What was found."""

    where: Path
    """The dataset's folder, or that of images."""
    kind: Literal["dataset", "folder"]
    count: int = 0
    """Images."""
    findings: list[Finding] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    source: Source | None = None
    """None where its pixels are damaged."""
    near: list[Duplicate] = field(default_factory=list)

    @property
    def wrong(self) -> list[Finding]:
        """The findings by which results would be invalid."""
        return [one for one in self.findings if one.invalidates]

    @property
    def notes(self) -> list[Finding]:
        """The findings that are only to be known."""
        return [one for one in self.findings if not one.invalidates]

    def document(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {
            "name": self.where.name,
            "where": str(self.where),
            "kind": self.kind,
            "images": self.count,
            "valid": not self.wrong,
            "findings": [one._asdict() for one in self.findings],
            **self.figures,
        }


def check_dataset(dataset: Dataset, limits: Limits, threads: int) -> Check:
    """Verify every stored pixel of a prepared dataset; then look for what would make results on it invalid."""
    check = Check(dataset.folder, "dataset")
    try:
        dataset.check()
        check.source = StoredImages(dataset, limits.images, threads)
    except DataError as error:
        check.findings.append(Finding("damaged", str(error), True))
        return check
    check.figures["data_id"] = dataset.data_id
    _unreadable(check, dataset.manifest["unreadable"], skipped=True)
    _look(check, check.source, limits, threads)
    stored = f"stored at {dataset.store.size} px"
    _sizes(check, check.source, limits, dataset.store.size, stored)
    return check


def check_folder(
    folder: Path,
    limits: Limits,
    processes: int,
    level: int | None = None,
    exclude: Sequence[str] = (),
    splits: Mapping[str, str] | None = None,
) -> Check:
    """Decode every image of a folder, and look for what would make results on it invalid.

    level, exclude, splits: see the fields of `Tree`. Raises DataError where no image can be read.
    """
    check = Check(folder, "folder")
    source = ImageFiles(folder, limits.images, processes, level, exclude, splits)
    check.source = source
    _unreadable(check, source.unreadable, skipped=False)
    _look(check, source, limits, processes)
    _sizes(check, source, limits, None, "")
    if source.no_classes:
        check.findings.append(Finding("classes", f"folders are not taken for classes: {source.no_classes}"))
    return check


def _look(check: Check, source: Source, limits: Limits, threads: int) -> None:
    images = source.images
    check.count = len(images)
    check.figures["limits"] = limits._asdict()
    _duplicates(check, source, limits, threads)
    if even := int((~images.looks.comparable).sum()):
        check.findings.append(Finding("near", f"{_n(even)} of one colour: nothing to compare them by"))
    if images.classes:
        _balance(check, images)
    _sharpness(check, images)


def _unreadable(check: Check, reasons: Mapping[str, str], skipped: bool) -> None:
    check.figures["unreadable"] = dict(reasons)
    if reasons:
        shown = "; ".join(f"{path}: {why}" for path, why in list(reasons.items())[:SHOWN])
        done = "could not be read, and were skipped as it was prepared" if skipped else "cannot be read"
        more = "; ..." * (len(reasons) > SHOWN)
        check.findings.append(Finding("unreadable", f"{_n(len(reasons))} {done}: {shown}{more}", not skipped))


def _duplicates(check: Check, source: Source, limits: Limits, threads: int) -> None:
    images = source.images
    rows = check.figures["duplicates"] = []
    for split, other in duplicates.split_pairs(images):
        same = duplicates.exact(images, split, other)
        alike, compared = duplicates.near(source, split, other, limits.distance, limits.similarity, threads)
        check.near += alike
        rows.append(
            {
                "split": split,
                "of": other,
                "images": len(images.splits[split]),
                "exact": [_pair(images, one) for one in same],
                "near": [_pair(images, one) for one in alike],
                "compared": compared,
            }
        )
        if same:
            check.findings.append(_finding(images, "exact", split, other, same, ""))
        if alike:
            how = f" (hashes within {limits.distance} of 64 bits, similarity at least {limits.similarity:g})"
            check.findings.append(_finding(images, "near", split, other, alike, how))
    for name in images.splits if images.has_splits else ():
        if copies := len(duplicates.exact(images, name, name)):
            check.findings.append(Finding("exact", f"{_n(copies)} of {name} are there twice or more, byte for byte"))
        check.figures.setdefault("copies", {})[name] = copies
    if images.classes and (both := duplicates.under_several_classes(images)):
        one, two = both[0]
        text = f"the same file is under several classes, {len(both)} times: {images.paths[one]} is {images.paths[two]}"
        check.findings.append(Finding("exact", text))
    check.figures["under_several_classes"] = (
        [[images.paths[k] for k in pair] for pair in both] if images.classes else []
    )


def _pair(images: Images, one: Duplicate) -> dict[str, Any]:
    return {
        "image": images.paths[one.image],
        "of": images.paths[one.of],
        "distance": one.distance,
        "similarity": round(one.similarity, 4),
        "same_class": bool(images.label[one.image] == images.label[one.of]),
    }


def _finding(
    images: Images, kind: Literal["exact", "near"], split: str, other: str, found: Sequence[Duplicate], how: str
) -> Finding:
    """Across splits it invalidates results; where there are none yet it is a note."""
    what = "byte for byte" if kind == "exact" else "nearly"
    conflicts = sum(images.label[one.image] != images.label[one.of] for one in found) if images.classes else 0
    under = f", {conflicts} of them under another class" * bool(conflicts)
    shown = "; ".join(f"{images.paths[one.image]} is {images.paths[one.of]}" for one in found[:SHOWN])
    more = "; ..." * (len(found) > SHOWN)
    if split != other:
        head = f"{len(found)} of {len(images.splits[split])} {split} images are {what} images of {other}{how}{under}"
        return Finding(kind, f"{head}: {shown}{more}", True)
    if kind == "exact":
        fate = "are kept in one split"
    else:
        advice = "" if images.leaves_are_classes else ", unless whole leaf folders are held out"
        fate = f"may come into different splits{advice}"
    return Finding(kind, f"{len(found)} images are {what} others{how}{under}, and {fate}: {shown}{more}")


def _balance(check: Check, images: Images) -> None:
    check.figures["classes"] = {split: balance.classes_of(images, split) for split in images.splits}
    for split, row in check.figures["classes"].items():
        if missing := row["missing"]:
            shown = ", ".join(missing[:SHOWN]) + ", ..." * (len(missing) > SHOWN)
            text = f"{split} has no image of {len(missing)} of {len(images.classes)} classes: {shown}"
            check.findings.append(Finding("classes", text))
    if uneven := [_uneven(split, row) for split, row in check.figures["classes"].items() if _ratio(row) >= UNEVEN]:
        check.findings.append(Finding("balance", f"classes are of uneven size: {'; '.join(uneven)}"))
    if not images.has_splits:
        return
    objects = check.figures["objects"] = balance.objects_in_splits(images)
    if objects["in_several_splits"] and not images.leaves_are_classes:
        shown = ", ".join(f"{row['images']} of {row['of']} {k}" for k, row in objects["shown_in_training"].items())
        text = f"{objects['in_several_splits']} of {objects['objects']} objects (leaf folders) are in several splits"
        check.findings.append(Finding("objects", f"{text}; training shows those of {shown} images too"))


def _ratio(row: dict[str, Any]) -> float:
    return row["largest"]["images"] / row["smallest"]["images"]


def _uneven(split: str, row: dict[str, Any]) -> str:
    small, large = row["smallest"], row["largest"]
    return f"{split} {small['images']} ({small['class']}) to {large['images']} ({large['class']})"


def _sharpness(check: Check, images: Images) -> None:
    rows: dict[str, Any] = {}
    known = images.looks.sharpness
    for split, entries in images.splits.items():
        measured = [known[k] for k in entries.tolist() if k in known]
        rows[split] = {"images": len(measured)}
        for name in MEASURES if measured else ():
            values = np.array([one[name] for one in measured])
            values = values[~np.isnan(values)]
            quartiles = np.quantile(values, [0.25, 0.5, 0.75]).tolist() if len(values) else [None] * 3
            rows[split][name] = dict(zip(("q1", "median", "q3"), quartiles, strict=True))
    check.figures["sharpness"] = rows
    training = rows.get("train", {}).get(JUDGE)
    for split, row in rows.items():
        if split == "train" or not training or not row.get(JUDGE):
            continue
        median = row[JUDGE]["median"]
        if not training["q1"] <= median <= training["q3"]:
            sharper = MEASURES[JUDGE].sharper * (median - training["median"]) > 0
            text = f"{split} is {'sharper' if sharper else 'less sharp'} than train: median {JUDGE} {median:.3f}"
            quartiles = f"{training['q1']:.3f} to {training['q3']:.3f}"
            check.findings.append(Finding("sharpness", f"{text}, quartiles of train {quartiles} (less is sharper)"))


def _sizes(check: Check, source: Source, limits: Limits, stored: int | None, what: str) -> None:
    images = source.images
    rows: dict[str, Any] = {}
    for split, entries in images.splits.items():
        sides = source.source_sides(evenly(entries, limits.images) if stored else entries)
        small = sides.min(1) if len(sides) else np.zeros(0, np.int64)
        rows[split] = {"looked_at": len(small)}
        if len(small):
            rows[split] |= {
                "smallest": int(small.min()),
                "median": float(np.median(small)),
                "largest": int(small.max()),
            }
            if stored:
                rows[split]["enlarged"] = int((small < stored).sum())
    check.figures["source_smaller_sides"] = rows
    if stored:
        check.figures["stored_size"] = stored
        enlarged, looked = (sum(row.get(key, 0) for row in rows.values()) for key in ("enlarged", "looked_at"))
        if enlarged:
            text = (
                f"{enlarged} of {looked} source images looked at are smaller than they are {what}: enlarged, so blurred"
            )
            check.findings.append(Finding("sizes", text))


def _n(count: int) -> str:
    return f"{count} image{'s' * (count != 1)}"
