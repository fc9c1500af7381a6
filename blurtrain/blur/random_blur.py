"""The blurs of a run for anyone's own loop: a module that blurs an image, or a batch, as a curriculum says."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from blurtrain.blur.assignment import Assignment
from blurtrain.blur.blur import Blur
from blurtrain.blur.blurs import Sharp
from blurtrain.blur.curricula import Curriculum
from blurtrain.blur.light import linear_light as to_light
from blurtrain.blur.light import srgb
from blurtrain.blur.operators import gaussian_blur_each
from blurtrain.blur.resampling import scaled
from blurtrain.errors import SettingsError
from blurtrain.schema import validate

_DRAWS = 4  # apart from what else is drawn of a seed and an index, see blurs and corruptions


Index: TypeAlias = int | Sequence[int] | NDArray[np.integer] | Tensor


class RandomBlur(nn.Module):
    """Blurs images [C, H, W] or [N, C, H, W], uint8 (0..255) or float, and keeps shape, dtype and device.

    what: a curriculum (`Curriculum`, or its settings as a mapping), a blur or its label ("disk-4"), or a mixture of
    those, evenly or as {label: weight}. epochs: of the whole training, which a curriculum needs; the current one is
    said by `set_epoch`, also to the persistent workers of a DataLoader. resolution: pixels of the smaller side of the
    images; None: what each image has. reference_resolution, truncate, linear_light: as in the settings' `blur`.
    p: share of the images that are blurred at all; the others stay as they are.

    With `index` the outcome is a function of (seed, epoch, index) alone, but for what a curriculum draws once a batch;
    without, as in a torchvision v2 `Compose`, it is drawn from torch's generator, which differs between workers. Shares
    of a batch (half-batch) hold on average. Float images may have any range, say 0..1, or normalised; `linear_light`
    takes those of uint8 to be in 0..255 and others in 0..1.
    Raises SettingsError for a blur, curriculum or weight that will not do.
    """

    def __init__(
        self,
        what: Curriculum | Blur | str | Mapping[Any, Any] | Sequence[Blur | str],
        epochs: int = 1,
        *,
        resolution: int | None = None,
        reference_resolution: int = 224,
        truncate: float = 4.0,
        linear_light: bool = False,
        seed: int = 0,
        p: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise SettingsError(f"RandomBlur: p={p} must be in 0..1")
        if epochs < 1:
            raise SettingsError(f"RandomBlur: epochs={epochs} must be at least 1")
        self.curriculum, self.epochs = _curriculum(what), epochs
        self.resolution, self.reference_resolution = resolution, reference_resolution
        self.truncate, self.linear_light, self.seed, self.p = truncate, linear_light, seed, p
        if resolution:
            for blur in self.curriculum.used():
                blur.check(resolution)
        # Shared memory: persistent workers have a copy of this module from before the epoch was said.
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """The 0-based epoch, in every process that has a copy. Raises ValueError for one outside the training."""
        if not 0 <= epoch < self.epochs:
            raise ValueError(f"epoch {epoch} is not among {self.epochs} epochs")
        self._epoch[0] = epoch

    @property
    def epoch(self) -> int:
        """The 0-based epoch that was set last, in whichever process."""
        return int(self._epoch[0])

    def forward(self, images: Tensor, *others: Any, index: Index | None = None) -> Any:
        """`images` blurred; `others` (labels, as in a v2 `Compose` of samples) come back as they are, in a tuple.

        index: the number of the image, or those of the batch. Raises ValueError for images of another shape.
        """
        if not isinstance(images, Tensor) or images.ndim not in (3, 4):
            given = list(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise ValueError(f"images must be a tensor [C, H, W] or [N, C, H, W], not {given} (v2.ToImage makes one)")
        batch = images.as_subclass(Tensor)
        batch = batch if batch.ndim == 4 else batch[None]
        if index is None:
            indices, seed = torch.randint(2**31, (len(batch),)).numpy(), int(torch.randint(2**31, ()))
        else:
            indices, seed = np.atleast_1d(np.asarray(index, np.int64)), self.seed
        if len(indices) != len(batch):
            raise ValueError(f"{len(batch)} images but {len(indices)} indices")
        blurred = self._blurred(batch, indices, seed) if len(batch) else batch
        blurred = (blurred if images.ndim == 4 else blurred[0]).as_subclass(type(images))
        return (blurred, *others) if others else blurred

    def _blurred(self, batch: Tensor, indices: NDArray[np.integer], seed: int) -> Tensor:
        resolution = self.resolution or min(batch.shape[-2:])
        assignment, epoch = self._assigned(indices, seed)
        most = 1.0 if batch.is_floating_point() else 255.0
        pixels = batch if batch.dtype == torch.float64 else batch.to(torch.float32)
        light = to_light(pixels * (255 / most)) if self.linear_light else pixels
        if assignment.which is None:
            sigmas = scaled(assignment.sigmas, resolution, self.reference_resolution)
            light = gaussian_blur_each(light, sigmas, self.truncate)
        else:
            draws: dict[str, Any] = {"seed": seed, "epoch": epoch, "training": True, "truncate": self.truncate}
            light = assignment.applied(light, indices, resolution=resolution, **draws)
        shown = srgb(light) * (most / 255) if self.linear_light else light
        return (shown if batch.is_floating_point() else shown.round().clamp(0, 255)).to(batch.dtype)

    def _assigned(self, indices: NDArray[np.integer], seed: int) -> tuple[Assignment, int]:
        epoch = self.epoch
        draws = np.stack([_uniform(seed, epoch, int(index)) for index in indices])
        # Of a batch that shares a draw, the first image draws it.
        assignment = self.curriculum.assign(
            epoch, self.epochs, within=np.zeros(1), images=draws[:, 0], batches=draws[:1, 1]
        )
        blurred = draws[:, 2] < self.p
        if assignment.which is None:
            return Assignment.gaussian(np.where(blurred, assignment.sigmas, 0.0)), epoch
        sharp = len(assignment.blurs)
        return Assignment.of((*assignment.blurs, Sharp()), np.where(blurred, assignment.which, sharp)), epoch


def _curriculum(what: Any) -> Curriculum:
    """The curriculum that `RandomBlur` was given, in whichever form."""
    if isinstance(what, Curriculum):
        return what
    if isinstance(what, Blur | str) or (isinstance(what, Mapping) and Blur.discriminator in what):
        return validate({"schedule": "constant", "blur": what}, "RandomBlur", Curriculum)
    if isinstance(what, Mapping) and Curriculum.discriminator in what:
        return validate(what, "RandomBlur", Curriculum)
    weights = dict(what) if isinstance(what, Mapping) else dict.fromkeys(what, 1.0)
    total = sum(weights.values())
    if not total > 0 or min(weights.values()) < 0:
        raise SettingsError("RandomBlur: a mixture needs blurs with weights >= 0, and one above")
    shares = [weight / total for weight in weights.values()]
    return validate({"schedule": "mix", "blurs": list(weights), "probabilities": shares}, "RandomBlur", Curriculum)


def _uniform(seed: int, epoch: int, index: int) -> NDArray[np.float64]:
    """Three numbers in [0, 1), a function of the arguments alone."""
    words = (_DRAWS, seed, epoch, index)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words))).random(3)
