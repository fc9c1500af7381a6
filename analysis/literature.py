"""Published numbers, and the order in which the blurry-to-clear study presents its datasets and regimes.

Sources, and what to bear in mind beside own results, are in `published/README.md`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from blurtrain.errors import BlurtrainError, nearest

STUDY = "Jenkins, Sanyal, Michelson & Kunda, ICDL 2025"
STUDY_SHORT = "Jenkins et al. 2025"
STUDY_RESOLUTION = 224
DATASETS = ("faces", "toybox-instance", "toybox-category", "imagenet-12", "imagenet-100")
CLEAR, BLURRY, BLURRY_TO_CLEAR = "clear", "blurry", "blurry-to-clear"
REGIMES = (CLEAR, BLURRY, BLURRY_TO_CLEAR)

_FOLDER = Path(__file__).parent / "published"


def published_names() -> list[str]:
    """The tables that `published` can load."""
    return sorted(path.stem for path in _FOLDER.glob("*.csv"))


def published(name: str) -> pd.DataFrame:
    """One table of published numbers, e.g. `b2c_accuracy_vs_sigma`: dataset, classes, regime, sigma_px_at_224 and
    top1_percent. Units and sources are in `published/README.md`. Raises BlurtrainError for an unknown name."""
    if name not in published_names():
        raise BlurtrainError(f"published table {name!r} is unknown; {nearest(name, published_names())}")
    return pd.read_csv(_FOLDER / f"{name}.csv")


def study_order(study: Sequence[str]) -> Callable[[str], tuple[int, str]]:
    """Sort key: names in the order of `study` (DATASETS or REGIMES), then all others by alphabet."""
    return lambda name: (study.index(name) if name in study else len(study), name)


def published_curves(dataset: str) -> dict[str, dict[float, float]]:
    """The study's top-1 (percent) by sigma (pixels at 224) for each of its regimes; empty for other datasets."""
    table = published("b2c_accuracy_vs_sigma")
    rows = table[table["dataset"] == dataset]
    return {
        str(regime): dict(zip(of_regime["sigma_px_at_224"].astype(float), of_regime["top1_percent"], strict=True))
        for regime, of_regime in rows.groupby("regime", sort=False)
    }
