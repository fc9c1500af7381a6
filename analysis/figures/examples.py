"""Test images sharp and blurred, each with what a network takes it for: the panel of Figures 1 and 3 of Vasiljevic et
al. 2016."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.figures.style import STYLE
from blurtrain.errors import SettingsError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from blurtrain.evaluation.examples import Example, Look

RIGHT, WRONG = "#8ec1e6", "#d3d8dd"
_LONGEST = 30
"""Letters of a class's name that are shown."""
KINDS: dict[str, dict[str, Any]] = {".png": {"Software": None}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}


def examples_figure(shown: Sequence["Example"], blur: str, title: str) -> "Figure":
    """A row an image: sharp, its five likeliest classes, blurred, and those; the right class in blue.

    blur: what the blur is called; title: the network.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**STYLE, "text.parse_math": False}):
        figure = Figure(figsize=(9.2, 0.5 + 1.75 * len(shown)), layout="constrained")
        figure.suptitle(title, fontsize=9)
        grid = figure.subplots(len(shown), 4, squeeze=False, width_ratios=(1, 1.15, 1, 1.15))
        for axes, example in zip(grid, shown, strict=True):
            for place, (look, name) in enumerate(((example.sharp, "sharp"), (example.blurred, blur))):
                picture(axes[2 * place], look.pixels, name)
                _bars(axes[2 * place + 1], look, example.label)
            axes[0].set_ylabel(_short(example.label), fontsize=7.5)
    return figure


def picture(axes: "Axes", pixels: "NDArray[Any]", name: str) -> None:
    """Pixels [H, W, 3], and what they are called above."""
    axes.imshow(pixels, interpolation="antialiased")
    axes.set(xticks=[], yticks=[])
    axes.set_title(name, fontsize=7.5, pad=2)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _bars(axes: "Axes", look: "Look", label: str) -> None:
    places = range(len(look.classes))
    colours = [RIGHT if name == label else WRONG for name in look.classes]
    axes.barh(places, look.probabilities, color=colours, height=0.86)
    for place, name, probability in zip(places, look.classes, look.probabilities, strict=True):
        text = f"{_short(name)}  {100 * probability:.0f} %"
        axes.text(0.02, place, text, va="center", fontsize=7, weight="bold" if name == label else "normal")
    axes.set(xlim=(0, 1), ylim=(4.5, -0.5), xticks=[], yticks=[])
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)


def _short(name: str) -> str:
    first = name.split(",")[0]
    return first if len(first) <= _LONGEST else first[: _LONGEST - 1] + "…"


def save(shown: Sequence["Example"], blur: str, title: str, path: Path) -> None:
    """Draw `examples_figure` into `path` (its folder is made). The same examples give the same bytes."""
    save_figure(examples_figure(shown, blur, title), path)


def save_figure(figure: "Figure", path: Path) -> None:
    """Draw a figure of pictures into `path` (its folder is made). The same figure gives the same bytes."""
    import matplotlib

    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "blurtrain"}):
        figure.savefig(path, dpi=160, metadata=KINDS[path.suffix.lower()])


def check_name(path: Path) -> None:
    """Raise SettingsError where `path` is no name of a picture."""
    if path.suffix.lower() not in KINDS:
        raise SettingsError(f"{path}: a picture's name must end in one of {', '.join(KINDS)}")
