"""Writes gallery.md beside it (`make reference`) and, with --pictures, the pictures that it shows into gallery/, by the
commands that stand below them, from images that the project draws itself: `make gallery`.

The runs are those of `make demo` on its faces, in demo/: none is trained twice.
"""

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from blurtrain.blur.blur import Blur
from blurtrain.documents import read_yaml
from blurtrain.settings import PRESETS

HERE = Path(__file__).parent
ROOT = HERE.parent
FOLDER = HERE / "gallery"
KERNELS = ("gaussian-4", "disk-4", "disk-8", "box-8", "box-16-45", "shake")
BLURS = ("sharp", "gaussian-8", "disk-8", "box-16-45", "shake")
NATURAL = ("myopia-2", "aberration-coma-0.5", "depth-focus-2", "parallax-20", "rotation-10", "dirty-lens-8")
SEEN = ("blurry-to-clear", "linear-blurry-to-clear", "any-blur", "sharp-d2-d8")
"""Curricula that are shown as the network sees their images."""
PREPARE = (
    "blurtrain data prepare --standin facescrub --reader facescrub --resolution 64 --name faces --data demo/data",
)
SETTINGS = (
    "dataset: faces",
    "regime: clear",
    "data: {root: demo/data, resolution: 64}",
    "optimisation: {batch_size: 32}",
)
DEMO = ROOT / "configs" / "grids" / "demo.yaml"
GRID = """# three.yaml: the demo's three runs on faces.
extends: {demo}
exclude:
  - {{dataset: toybox-instance}}
  - {{dataset: toybox-category}}
  - {{dataset: imagenet-12}}
  - {{dataset: imagenet-100}}
"""
TRAIN = "blurtrain grid submit three.yaml --data demo/data --runs demo/runs --wait"
REPORT = "blurtrain report demo/runs --out docs/gallery/report"


def _stages() -> str:
    """The epochs after which the demo keeps weights on faces, and the last, in words."""
    (own,) = (rule["settings"] for rule in read_yaml(DEMO)["where"] if rule["match"] == {"dataset": "faces"})
    return f"{', '.join(map(str, own['checkpoints']['keep_epochs']))} and {own['optimisation']['epochs']}"


FIGURES = {
    "accuracy": "Accuracy against blur, with intervals over images",
    "ratio": "The same, divided by that of the network trained on clear images",
    "learning-faces": "Learning curves",
    "filters-faces": f"Filters of the first layer after {_stages()} epochs: so few leave them near noise",
}
ANSWERS = ("clear", "blurry-to-clear")
"""Regimes whose networks are asked for the classes of blurred images."""


def regimes() -> list[str]:
    """The curricula that come with the project; none is one that trains nothing (`epochs: 0`)."""
    found = sorted((PRESETS / "regimes").glob("*.yaml"))
    return [path.stem for path in found if "epochs: 0" not in path.read_text()]


def curriculum(regime: str) -> str:
    return f"blurtrain curriculum {regime} --out docs/gallery/regime-{regime}.png"


def seen(regime: str) -> str:
    return f"blurtrain curriculum faces.yaml regime={regime} --images 4 --out docs/gallery/seen-{regime}.png"


def answers(regime: str) -> str:
    run = f"demo/runs/faces-{regime}-alexnet-..."
    return f"blurtrain examples {run} --blur gaussian-8 --out docs/gallery/answers-{regime}.png"


def mixed() -> str:
    return blurred(f"mix, blurs: [{', '.join(BLURS)}], probabilities: [{', '.join(['0.2'] * len(BLURS))}]", 6, "blurs")


def natural() -> str:
    """One after the other, so that each has a column; the images are otherwise the same in all of them."""
    whole = " ".join(f"'augmentation.crop_{what}=[1, 1]'" for what in ("scale", "ratio"))
    plain = f" augmentation.colour=0 {whole} optimisation.batch_size=1"
    return blurred(f"stepwise, blurs: [{', '.join(NATURAL)}]", 4, "natural", plain)


def blurred(schedule: str, images: int, name: str, more: str = "") -> str:
    own = shlex.quote(f"curriculum={{schedule: {schedule}}}")
    return f"blurtrain curriculum faces.yaml {own}{more} --images {images} --out docs/gallery/{name}.png"


def about(regime: str) -> str:
    """What its file says of it, above the settings."""
    lines = (PRESETS / "regimes" / f"{regime}.yaml").read_text().splitlines()
    return " ".join(line.removeprefix("#").strip() for line in lines if line.startswith("#"))


def gallery_page() -> str:
    """The page, with the command below each picture."""
    lines = [
        "<!-- Written by docs/gallery.py (`make reference`): change that, not this page. -->",
        "# Gallery",
        "",
        "Made by `make gallery`, and so by `make docs`, from images that the project draws itself: nothing here says",
        "anything about real images. A clone has no pictures until then; afterwards they lie in `docs/gallery/`.",
        "",
        f"`faces.yaml` below is settings: `{'`, `'.join(SETTINGS)}`;",
        "`three.yaml` is a grid that extends the demo's and excludes its other datasets.",
        "",
        "## Kernels",
        "",
        f"![{', '.join(KERNELS)}](gallery/kernels.png)",
        "",
        "Each scaled by its largest weight; `Blur.parse('disk-8').kernels([0], resolution=224)` are such arrays.",
        "",
        f"![Training images under {', '.join(BLURS)}](gallery/blurs.png)",
        "",
        *_code(mixed()),
        "",
        "## Natural blur",
        "",
        f"![Training images under {', '.join(NATURAL)}](gallery/natural.png)",
        "",
        *_code(natural()),
        "",
        "What each is, in which units: [methods](methods.md#natural-blur).",
        "",
        "## Curricula as the network sees them",
        "",
    ]
    for regime in SEEN:
        lines += [f"![{regime}: four images over a run](gallery/seen-{regime}.png)", "", *_code(seen(regime)), ""]
    lines += ["## What a report shows", "", *_code(*PREPARE, TRAIN, REPORT), ""]
    for name, words in FIGURES.items():
        lines += [f"![{words}](gallery/report/figures/{name}.png)", "", f"{words}.", ""]
    lines += ["## What networks take blurred images for", ""]
    for regime in ANSWERS:
        lines += [f"![Answers of a network trained by {regime}](gallery/answers-{regime}.png)", ""]
        lines += [*_code(answers(regime)), ""]
    lines += ["## Every curriculum of `configs/regimes`", ""]
    for regime in regimes():
        lines += [f"### {regime}", "", *([about(regime), ""] if about(regime) else [])]
        lines += [f"![{regime} over a run](gallery/regime-{regime}.png)", "", *_code(curriculum(regime)), ""]
    return "\n".join(lines).rstrip() + "\n"


def _code(*commands: str) -> list[str]:
    return ["```sh", *commands, "```"]


def kernels(file: Path) -> None:
    """Draw the kernels side by side."""
    figure = Figure(figsize=(9, 9 / len(KERNELS) + 0.3), layout="constrained")
    for axes, label in zip(figure.subplots(1, len(KERNELS)), KERNELS, strict=True):
        axes.imshow(Blur.parse(label).kernels([0], resolution=224)[0], cmap="magma", vmin=0)
        axes.set_title(label, fontsize=9)
        axes.set_axis_off()
    figure.savefig(file, dpi=150)


def pictures() -> None:
    """Make all pictures, from the root of the project; raises CalledProcessError where a command fails."""
    FOLDER.mkdir(exist_ok=True)
    kernels(FOLDER / "kernels.png")
    with tempfile.TemporaryDirectory() as place:
        grid, settings = Path(place) / "grid.yaml", Path(place) / "faces.yaml"
        grid.write_text(GRID.format(demo=os.path.relpath(DEMO, place)))
        settings.write_text("\n".join(SETTINGS) + "\n")
        views = [mixed(), natural(), *map(seen, SEEN), *map(answers, ANSWERS)]
        own = {"three.yaml": str(grid), "faces.yaml": str(settings)}
        for command in [*PREPARE, TRAIN, REPORT, *views, *map(curriculum, regimes())]:
            _run(command, own)
    for name in FIGURES:
        if not (file := FOLDER / "report" / "figures" / f"{name}.png").exists():
            sys.exit(
                f"{file}: not drawn; demo/runs are of an earlier version: remove them, and say `make gallery` again"
            )


def _run(command: str, own: Mapping[str, str]) -> None:
    print(command, flush=True)
    words = [own.get(word, word) for word in shlex.split(command)]
    words = [str(min(ROOT.glob(word.replace("...", "*")))) if word.endswith("-...") else word for word in words]
    subprocess.run([sys.executable, "-m", *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    (HERE / "gallery.md").write_text(gallery_page())
    print(HERE / "gallery.md")
    if "--pictures" in sys.argv:
        pictures()
