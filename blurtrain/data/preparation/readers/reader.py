"""What a reader is: from a folder as it is distributed to its samples, each with a key that no layout changes."""

import builtins
import fnmatch
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import model_validator

from blurtrain.data.source import Box, Source
from blurtrain.documents import parse_overrides
from blurtrain.errors import DataError
from blurtrain.schema import Section
from blurtrain.tasks.named import Named


class Sample(NamedTuple):
    """One image, where it lies and what is known of it."""

    key: str
    """Its canonical name, unlike all others, with / between its parts. Images are ordered and drawn by it, and ids are
    hashes of it: so it must say nothing of where and how the files lie."""
    file: str
    """Path below the folder, with /."""
    label: str = ""
    """Its class; "": it is stored with the others, but this dataset does not have it (another one, of the same store,
    may)."""
    group: str = ""
    """The object, person or scene that it shows, which two splits should not share; "": not known."""
    split: str = ""
    """train, val or test; "": the recipe draws it. Either all samples that have a label have one, or none."""
    box: Box | None = None
    """Of a part of the image: left, top, right, bottom in pixels, as it is seen (turned by EXIF orientation)."""
    time: float | None = None
    """Of a frame of a video: seconds from its beginning."""
    row: int | None = None
    """Of a file that is a table of images (Parquet, Arrow): the image's row, from 0 on."""
    mask: str = ""
    """Path below the folder of a mask, of the size of the image as it is seen: the class of each pixel ..."""
    outlines: bytes = b""
    """... or what it is drawn from, see `blurtrain.data.outlines`."""
    sha256: str = ""
    """What the file should have, 64 hex digits; "": not known."""

    def source(self, root: Path) -> Source:
        """What is decoded."""
        return Source(str(root / self.file), self.box, self.time, self.row, self.sha256)

    @property
    def name(self) -> str:
        """By which a user finds it: its file, and what of that it is."""
        row = "" if self.row is None else f", row {self.row}"
        return f"{self.file}{row}{' ' * bool(part := self.source(Path()).part)}{part}"


@dataclass(frozen=True)
class Found:
    """What a reader has found in a folder."""

    samples: Sequence[Sample]
    """Those that go into the store, in any order."""
    left_alone: Counter[str] = field(default_factory=Counter)
    """Files that are none, by why they were passed over."""
    empty: Sequence[str] = ()
    """Folders without any file."""
    skipped: Sequence[tuple[str, str]] = ()
    """Images that should be there, by a list or by the count of the dataset, and are not taken: name and reason. A
    reason is a few words that fit many (`no such file`)."""
    classes: Sequence[str] = ()
    """Of masks: the names of their values 0, 1, ...; 0 is the background. These are then the classes of the dataset,
    and the label of an image is that with most pixels, besides the background."""
    notes: Sequence[str] = ()
    """What else a user should know of what was found, a line each."""
    drawn: bool = False
    """Whether the reader has drawn the splits, by its own shares."""

    @property
    def labelled(self) -> list[Sample]:
        """The samples of this dataset, in the order of `samples`."""
        return [sample for sample in self.samples if sample.label]

    @property
    def listed(self) -> int:
        """How many there should be."""
        return len(self.samples) + len(self.skipped)

    def without(self, patterns: Sequence[str], root: Path) -> "Found":
        """Without the samples whose files are called like one of the patterns (`*.gif`, `*/extra/*`); raises DataError
        for a pattern that none is called like."""
        used, kept = Counter[str](), list[Sample]()
        for sample in self.samples:
            if pattern := next((p for p in patterns if fnmatch.fnmatchcase(sample.file, p)), ""):
                used[pattern] += 1
            else:
                kept.append(sample)
        check_used(patterns, used, root)
        left_alone = self.left_alone + Counter({f"excluded by {pattern}": n for pattern, n in used.items()})
        return replace(self, samples=kept, left_alone=left_alone)


def check_used(patterns: Sequence[str], used: Iterable[str], root: Path) -> None:
    """Raise DataError where a pattern of files to leave out fits none."""
    if unused := [pattern for pattern in patterns if pattern not in used]:
        raise DataError(
            f"{root}: no file is called like --exclude {unused[0]!r} (of paths below the folder: */x/*.png)"
        )


class Reader(Named):
    """Base of all readers. Its fields are options, given behind its name (`list table=faces.csv`) or as a section
    (`{type: list, table: faces.csv}`). A user's own is named `package.module:Name`, or `file.py:Name`."""

    type: str
    labels_from_paths: ClassVar[bool] = False
    """Whether labels, groups and splits follow from the paths alone, so that they cannot change by themselves."""
    draws_by: ClassVar[Mapping[str, str]] = {}
    """Of a reader that draws splits: which settings of the recipe it draws them by, and what they are called here."""

    def samples(self, root: Path) -> Found:
        """What the folder `root` holds. Decodes nothing.

        Raises DataError where the folder is not as it should be: what was found, and what was expected.
        """
        raise NotImplementedError

    def found(self, root: Path, exclude: Sequence[str] = ()) -> Found:
        """What a recipe takes: `samples` without files that are called like a pattern; raises DataError for one that
        fits none. A reader that draws splits or repeats samples does so here, behind that."""
        found = self.samples(root)
        return found.without(exclude, root) if exclude else found

    @staticmethod
    def as_today(document: Mapping[str, Any]) -> Mapping[str, Any]:
        """A reader as a manifest has it, as it is written today; manifests of earlier versions may differ."""
        return document

    def as_before(self, samples: Sequence[Sample]) -> Sequence[Sample]:
        """Samples as earlier versions gave them, by which datasets that are there may be known."""
        return samples

    @classmethod
    def kind_of(cls, document: Any) -> builtins.type[Section]:
        """See `Kind`; also of words."""
        return super().kind_of(_section(document))

    @model_validator(mode="wrap")
    @classmethod
    def _by_its_name(cls, value: Any, handler: Any) -> Any:
        return handler(_section(value))


def _section(value: Any) -> Any:
    """`list table=faces.csv` as a section."""
    if not isinstance(value, str):
        return value
    name, *options = shlex.split(value) or [""]
    return {**parse_overrides(options), "type": name}


def _by_parts(sample: Sample) -> str:
    """What samples are sorted by: a folder before its neighbours, whatever signs their names have."""
    return sample.key.replace("/", "\0")


def in_order(samples: Sequence[Sample], root: Path) -> Sequence[Sample]:
    """The samples by the parts of their keys; raises DataError where two have the same, or one has none."""
    if not all(_by_parts(one) < _by_parts(other) for one, other in pairwise(samples)):
        samples = sorted(samples, key=_by_parts)
    for one, other in pairwise(samples):
        if one.key == other.key:
            raise DataError(f"{root}: {one.name} and {other.name} have one key, {one.key!r}; keys must differ")
    if samples and not samples[0].key:
        raise DataError(f"{root}: {samples[0].name} has no key")
    return samples


def with_keys(samples: Sequence[Sample], root: Path, cure: str) -> list[Sample]:
    """The same samples, with keys from their labels and the names of their files, not from the folders they lie in.

    label/name where that tells them all apart; else split/label/name, label/group/name or split/label/group/name. All
    have the same form, which follows from the samples alone. Raises DataError, with the `cure`, where none does.
    """
    forms = (("label",), ("split", "label"), ("label", "group"), ("split", "label", "group"))
    for form in forms:
        keys = [_key(sample, form) for sample in samples]
        if len(set(keys)) == len(keys):
            return [sample._replace(key=key) for sample, key in zip(samples, keys, strict=True)]
    first: dict[str, Sample] = {}
    one, other = next((first[k], s) for k, s in zip(keys, samples, strict=True) if first.setdefault(k, s) is not s)
    raise DataError(
        f"{root}: {one.name} and {other.name} have the same name, label, group and split, so that nothing tells them "
        f"apart wherever they lie; {cure}"
    )


def _key(sample: Sample, form: Sequence[str]) -> str:
    name = sample.key or sample.file
    return "/".join([*(getattr(sample, part) for part in form), name.rpartition("/")[2]])


_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
"""The words that people use for splits."""


def split_called(word: str) -> str:
    """The split of a word for one, in small letters or not: validation -> val; "" for other words."""
    return _SPLIT_WORDS.get(word.lower(), "")
