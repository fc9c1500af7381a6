"""Test photos sharp and blurred, their masks, and what networks make of them: the panel of Figure 5 of Vasiljevic et
al. 2016."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.figures.examples import picture, save_figure
from analysis.figures.style import STYLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from blurtrain.evaluation.mask_examples import MaskExample


def masks_figure(
    shown: Sequence["MaskExample"], blur: str, networks: Sequence[str], classes: Sequence[str]
) -> "Figure":
    """A row a photo: sharp, its mask, what each network makes of it; blurred, and what they make of that. Masks are in
    VOC's colours, void white; below stands which classes these are.

    blur: what the blur is called; networks: what they are called; classes: the names of the masks' values.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    from blurtrain.data.mask_file import VOID, palette

    colours = palette() / 255
    colours[VOID] = 1.0
    columns = 3 + 2 * len(networks)
    with matplotlib.rc_context({**STYLE, "text.parse_math": False}):
        figure = Figure(figsize=(1.75 * columns, 0.7 + 1.35 * len(shown)), layout="constrained")
        seen = set[int]()
        for axes, example in zip(figure.subplots(len(shown), columns, squeeze=False), shown, strict=True):
            cells: list[tuple[NDArray[Any], str]] = [
                (example.sharp.pixels, "sharp"),
                (colours[example.truth], "labelled"),
            ]
            cells += [(colours[m], f"{n}, sharp") for m, n in zip(example.sharp.predicted, networks, strict=True)]
            cells += [(example.blurred.pixels, blur)]
            cells += [(colours[m], f"{n}, {blur}") for m, n in zip(example.blurred.predicted, networks, strict=True)]
            for place, (pixels, name) in zip(axes, cells, strict=True):
                picture(place, pixels, name)
            masks = (example.truth, *example.sharp.predicted, *example.blurred.predicted)
            seen |= {int(k) for mask in masks for k in np.unique(mask)} - {VOID}
        keys = [Patch(facecolor=colours[k], edgecolor="0.6", label=classes[k]) for k in sorted(seen)]
        figure.legend(handles=keys, loc="outside lower center", ncols=min(len(keys), 10), fontsize=7, frameon=False)
    return figure


def save(
    shown: Sequence["MaskExample"], blur: str, networks: Sequence[str], classes: Sequence[str], path: Path
) -> None:
    """Draw `masks_figure` into `path` (its folder is made). The same examples give the same bytes."""
    save_figure(masks_figure(shown, blur, networks, classes), path)
