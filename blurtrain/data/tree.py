"""The images of a tree of folders, for who wants to look at them without preparing a dataset."""

from pathlib import Path

from blurtrain.data.preparation.readers import Sample, Tree


def scan(root: Path, level: int | None = None) -> list[Sample]:
    """All images below `root` that have a label, by path: that of their leaf folder, or of the folder at `level` below
    the split (1 = topmost). Raises DataError as the reader `tree` does."""
    return Tree(label=level or "leaf").samples(root).labelled
