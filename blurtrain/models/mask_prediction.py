"""What a network for masks says of photo files: a palette PNG for each."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from blurtrain.data.dataset import open_dataset
from blurtrain.data.decode import longer_side, opened, resized
from blurtrain.data.image_files import image_files
from blurtrain.data.mask_file import write_mask
from blurtrain.errors import DataError, SettingsError
from blurtrain.models.trained import TrainedNetwork, of_run
from blurtrain.run import Run


@dataclass(frozen=True)
class MaskPredictor:
    """A network for masks, and the size at which it was tested."""

    network: TrainedNetwork
    size: int
    """Of both sides; where the aspect is kept of the smaller one, or of their geometric mean, in pixels."""
    keep_aspect: bool
    geometric: bool

    @classmethod
    def of_run(cls, folder: Path, epoch: int | None = None, data: Path | None = None) -> "MaskPredictor":
        """Of a run of task=segmentation; raises SettingsError for another one, RunError as `trained.of_run`."""
        settings = Run(folder.resolve()).settings
        if settings.task.targets != "masks":
            raise SettingsError(f"--masks: {folder} is a run of task={settings.task.type}, which gives no masks")
        dataset = open_dataset(Path(data or settings.data.root), settings.dataset)
        protocol = settings.evaluation.protocol
        size = protocol.defined_at if protocol else settings.data.resolution
        geometric = dataset.manifest.get("side") == "geometric-mean"
        return cls(of_run(folder, epoch, data), size, not dataset.squared, geometric)

    @torch.inference_mode()
    def mask(self, photo: Image.Image) -> NDArray[np.uint8]:
        """The class of each pixel [height, width] of an RGB photo, at its own size, by nearest neighbours from the size
        that the network was shown."""
        longest = longer_side(self.size, photo.size, self.geometric) if self.keep_aspect else None
        pixels, _ = resized(photo, self.size, longest, geometric=self.geometric)
        shown = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].to(self.network.device)
        logits = self.network.maps(self.network.preprocessing.normalised(shown))
        found = logits[0].argmax(0).to(torch.uint8).cpu().numpy()
        return np.asarray(Image.fromarray(found).resize(photo.size, Image.Resampling.NEAREST))


def predict_masks(predictor: MaskPredictor, folder: Path, out: Path) -> dict[str, str]:
    """The masks of all photos below a folder (or of one file) as PNGs with VOC's palette, by the same names below
    `out`; returns the names of those that cannot be read, with the reasons.

    Raises DataError where there are none, none can be read, or two photos would have one mask.
    """
    single = folder.is_file()
    paths = [Path(folder.name)] if single else image_files(folder)
    within, masks = folder.parent if single else folder, [path.with_suffix(".png") for path in paths]
    if twice := next((mask for k, mask in enumerate(masks) if mask in masks[:k]), None):
        raise DataError(
            f"{folder}: has several photos {twice.with_suffix('')}.*, which would have one mask; rename one"
        )
    wrong: dict[str, str] = {}
    for path, mask in zip(tqdm(paths, "predicting", unit="img", disable=None), masks, strict=True):
        try:
            photo = opened((within / path).read_bytes())
        except (OSError, DataError) as error:
            wrong[str(path)] = (isinstance(error, OSError) and error.strerror) or str(error)
            continue
        (out / mask).parent.mkdir(parents=True, exist_ok=True)
        write_mask(out / mask, predictor.mask(photo))
    if len(wrong) == len(paths):
        first, why = next(iter(wrong.items()))
        raise DataError(f"{folder}: none of its {len(paths)} images can be read; {first}: {why}")
    return wrong
