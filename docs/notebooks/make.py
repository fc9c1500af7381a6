"""Writes a training notebook for each dataset of the study: its three models through the API, small by default.

Run by `make reference`; a test fails when one is stale. Outputs are not kept.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blurtrain.documents import read_yaml

HERE = Path(__file__).parent
DEMO = read_yaml(HERE.parents[1] / "configs" / "grids" / "demo.yaml")

# Of each: what it asks, the page that says how to get the real images, their recipe, that of drawn ones.
DATASETS: dict[str, dict[str, Any]] = {
    "faces": {
        "asks": "Whose face is it? FaceScrub",
        "page": "facescrub.md",
        "real": {"reader": "facescrub", "skip_unreadable": True, "val": 0.1, "test": 0.1},
        "drawn": {"standin": "facescrub", "reader": "facescrub"},
    },
    "toybox-instance": {
        "asks": "Which of the toys is it? Toybox, in other views",
        "page": "toybox.md",
        "real": {"reader": "toybox"},
        "drawn": {"standin": "toybox", "reader": "toybox block=1 gap=0 val=0.1 test=0.2"},
    },
    "toybox-category": {
        "asks": "What kind of toy is it? Toybox, on toys that were not trained on",
        "page": "toybox.md",
        "real": {"reader": "toybox view=category", "train_images": 3000},
        "drawn": {"standin": "toybox", "reader": "toybox view=category"},
    },
    "imagenet-12": {
        "asks": "What is it, among twelve kinds? Of ImageNet",
        "page": "imagenet-12.md",
        "real": {"reader": "imagenet-12", "val": 0.0588, "test": 0.0588},
        "drawn": {"standin": "imagenet-12"},
    },
    "imagenet-100": {
        "asks": "What is it, among a hundred kinds? Of ImageNet",
        "page": "imagenet-100.md",
        "real": {"reader": "imagenet-100"},
        "drawn": {"standin": "imagenet-100"},
    },
}


def optimisation(name: str) -> dict[str, Any]:
    """That of a dataset in `make demo`: few epochs, and what they want."""
    rules = [rule["settings"] for rule in DEMO.get("where", []) if rule["match"] == {"dataset": name}]
    merged: dict[str, Any] = {}
    for settings in (DEMO["settings"], *rules):
        merged |= settings.get("optimisation", {})
    return merged


def cells(name: str) -> Iterator[tuple[str, str]]:
    """Kind and text of each cell of a dataset's notebook."""
    of, as_in_demo = DATASETS[name], optimisation(name)
    said = ", ".join(f'"{key}": {value}' for key, value in {**as_in_demo, "epochs": "EPOCHS"}.items())
    yield (
        "markdown",
        f"""# Three models of {name}

{of["asks"]}. Trained on sharp images, on blurred ones, and from blurry to clear, as in the study of Jenkins,
Sanyal, Michelson & Kunda (ICDL 2025), and tested at every blur.

Small by default: images that blurtrain draws itself, 64 px, few epochs, some minutes on two cores; numbers then say
nothing about real images. [The dataset's page](../datasets/{of["page"]}) says how to get the real ones;
[the study's grid](../study.md) trains all fifteen models as they were.""",
    )
    yield (
        "code",
        """# On a hosted notebook this installs it; the folder of a clone will do as well: "./blurtrain[video]".
import importlib.util

SOURCE = "blurtrain[video]"
if importlib.util.find_spec("blurtrain") is None:
    %pip install -q {SOURCE}""",
    )
    yield (
        "code",
        f"""import matplotlib.pyplot as plt

import analysis
import blurtrain

IMAGES = None  # the folder of the real images; None: drawn ones
EPOCHS = {as_in_demo["epochs"]}  # of the study: 100
DATA, RUNS = "data", "runs"
RESOLUTION = 64  # of the study: 224""",
    )
    yield "markdown", "## Prepare\n\nOnce: what is there already is left alone."
    yield (
        "code",
        f"""drawn = {_dict(of["drawn"])}
real = {_dict(of["real"])}
recipe = real if IMAGES else drawn
dataset = blurtrain.prepare(IMAGES, "{name}", DATA, resolution=RESOLUTION, **recipe)
len(dataset.classes), dataset.manifest["counts"]""",
    )
    yield (
        "markdown",
        """## Train

Each regime is a preset. A run is trained once; interrupt the cell, run it again, and it goes on to the same bits.""",
    )
    yield (
        "code",
        f"""settings = {{
    "dataset": "{name}",
    "data": {{"root": DATA, "resolution": RESOLUTION}},
    "optimisation": {{{said}}},
    "evaluation": {{"sigmas": [0, 1, 2, 4, 8, 16, 32]}},
}}
regimes = ["clear", "blurry", "blurry-to-clear"]
runs = [blurtrain.train(settings, RUNS, regime=regime) for regime in regimes]
[run.id for run in runs]""",
    )
    yield "markdown", "## Accuracy against blur\n\nIn per cent of n test images; sigma in pixels at 224."
    yield (
        "code",
        f"""frame = analysis.load(RUNS)
frame = frame[(frame["dataset"] == "{name}") & frame["sigma"].notna()].sort_values("sigma")
frame.pivot_table(index=["regime", "n"], columns="sigma", values="top1").round(1)""",
    )
    yield (
        "code",
        """_, axes = plt.subplots(figsize=(4.5, 3))
axes.set(xlabel="sigma in pixels at 224", ylabel="top-1 in %", ylim=(0, 105))
axes.axhline(100 / len(dataset.classes), color="grey", linewidth=0.8, linestyle=":", label="chance")
for regime, of_regime in frame.groupby("regime"):
    axes.plot(of_regime["sigma"], of_regime["top1"], marker="o", label=regime)
axes.legend();""",
    )
    yield (
        "markdown",
        """One seed says little: `seed=1`, `seed=2` train others; `blurtrain report RUNS --out FOLDER` gives tables
and figures with intervals over seeds. [The study's figures](the-study.ipynb) are remade from the same folder.""",
    )


def _dict(values: dict[str, Any]) -> str:
    """As Python is written here."""
    return "{" + ", ".join(f'"{k}": {json.dumps(v) if isinstance(v, str) else v}' for k, v in values.items()) + "}"


def notebook(name: str) -> str:
    """The dataset's notebook as text."""
    made = []
    for number, (kind, text) in enumerate(cells(name)):
        lines = text.splitlines(keepends=True)
        cell: dict[str, Any] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": lines}
        made.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    document = {"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(document, indent=1) + "\n"


if __name__ == "__main__":
    for name in DATASETS:
        (HERE / f"{name}.ipynb").write_text(notebook(name), encoding="utf-8")
        print(HERE / f"{name}.ipynb")
