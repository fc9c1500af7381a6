"""What `predict` and `examples` do with runs of task=segmentation."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from blurtrain.errors import SettingsError


def are_given_by(name: str) -> bool:
    """Whether this is a run whose network gives masks."""
    from blurtrain.run import Run

    return Path(name).is_dir() and Run(Path(name).resolve()).settings.task.targets == "masks"


def predict(options: argparse.Namespace) -> int:
    """Write a mask for each photo of a folder; the exit code. Raises SettingsError for a network that is no run, and
    for overrides."""
    import torch

    from blurtrain.device import cores
    from blurtrain.models.mask_prediction import MaskPredictor, predict_masks

    if not Path(options.network).is_dir() or options.overrides:
        raise SettingsError("predict --masks: takes a run of task=segmentation, as it was tested, and no overrides")
    torch.set_num_threads(len(cores()))
    predictor = MaskPredictor.of_run(Path(options.network), options.epoch, options.data)
    wrong = predict_masks(predictor, options.folder, options.masks)
    for path, why in wrong.items():
        print(f"blurtrain: {path}: {why}", file=sys.stderr)
    print(options.masks)
    return 0


def draw(options: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Test photos, their masks, and what runs make of them, side by side. Raises SettingsError where `--names` are not
    as many as the runs."""
    from analysis.figures.masks import save
    from blurtrain.blur.blurs import Blur
    from blurtrain.evaluation.mask_examples import mask_examples
    from blurtrain.evaluation.runs import run_plan

    runs = [(options.network, options.epoch), *map(_run_at, options.beside or ())]
    names = options.names.split(",") if options.names else [Path(name).name for name, _ in runs]
    if len(names) != len(runs):
        raise SettingsError(f"--names {options.names}: names {len(names)} of {len(runs)} networks")
    plans = [run_plan(Path(name), overrides, epoch=epoch) for name, epoch in runs]
    blur = Blur.parse(options.blur)
    save(mask_examples(plans, blur, options.images), blur.label, names, plans[0].classes, options.out)


def _run_at(name: str) -> tuple[str, int | None]:
    run, _, epoch = name.rpartition("@")
    if Path(name).is_dir() or not run:
        return name, None
    if not epoch.isdigit():
        raise SettingsError(f"--beside {name}: is no run directory, and {epoch!r} no epoch of one")
    return run, int(epoch)
