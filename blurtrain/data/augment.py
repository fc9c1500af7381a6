"""From stored pixels to the network's input, on the device: geometry, colour, erasing, blur, normalisation."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.blur import fused, gaussian_blur, resized_crop_blur
from blurtrain.blur.assignment import Assignment
from blurtrain.blur.blur import Blur
from blurtrain.blur.cores import image_by_image, keep_freed_memory
from blurtrain.blur.light import linear_light, srgb
from blurtrain.blur.one_image import blur_image, crop_image
from blurtrain.blur.operators import by_image
from blurtrain.blur.resampling import scaled
from blurtrain.blur.shared import NO_BOX
from blurtrain.data import affine, erasing, hsv, scaled_crop
from blurtrain.data.affine import Warps, warp
from blurtrain.data.colour import DRAWS, Operations, colour, colour_image, drawn
from blurtrain.data.dataset import Dataset
from blurtrain.data.draws import uniform
from blurtrain.data.erasing import Rectangles, erase
from blurtrain.data.hsv import Gains
from blurtrain.data.scaled_crop import ScaledCrop, ScaledCrops
from blurtrain.deblurring import Deblurring
from blurtrain.device import any_order
from blurtrain.settings import Augmentation, BlurUnits, Settings

_ATTEMPTS = 10  # at a crop that fits into the image, before the whole image is taken (as torchvision does)
_GEOMETRY = 4 * _ATTEMPTS + 1
_BEFORE_ERASING = _GEOMETRY + DRAWS
_BEFORE_AFFINE = _BEFORE_ERASING + erasing.DRAWS
_BEFORE_HSV = _BEFORE_AFFINE + affine.DRAWS
_BEFORE_SCALED = _BEFORE_HSV + hsv.DRAWS
# Of n images: top, left, height, width (pixels) and flip.
Crops = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]


@dataclass(frozen=True)
class Transform:
    """What happens to uint8 images [N, 3, S, S]; all randomness is a function of (seed, epoch, sample index)."""

    augmentation: Augmentation
    resolution: int
    mean: Sequence[float]
    sd: Sequence[float]
    blur: BlurUnits
    seed: int
    arithmetic: torch.dtype = torch.float32
    """Of the training images, float32 or bfloat16; evaluation is in float32 always."""
    crop_and_blur: Literal["plain", "fused"] = "plain"
    """How they are done on a GPU where they are one operator, see `precision.crop_and_blur`."""
    deblur: Deblurring | None = None
    """What restores blurred images in evaluation; none: they stay as they are."""

    @classmethod
    def of(cls, settings: Settings, dataset: Dataset) -> "Transform":
        """The transform of a run, with normalisation as set, or as measured on the training split.

        Of a run with published weights: settings as `blurtrain.models.normalisation.as_published` gives them.
        """
        pretrained = settings.network.pretrained
        if pretrained and pretrained.published and not (settings.data.mean and settings.data.sd):
            raise RuntimeError("data.mean and data.sd of published weights are those of their record: see as_published")
        mean, sd = settings.data.mean or dataset.manifest["mean"], settings.data.sd or dataset.manifest["sd"]
        # Others have no such arithmetic here: float16 and float64 networks are shown what float32 ones are.
        arithmetic = torch.bfloat16 if settings.precision.arithmetic == "bfloat16" else torch.float32
        a, resolution, chosen = settings.augmentation, settings.data.resolution, settings.precision.crop_and_blur
        return cls(a, resolution, mean, sd, settings.blur, settings.seed, arithmetic, chosen)

    def without_fused(self, device: torch.device) -> str | None:
        """Why training images on `device` do not go through the fused kernel although that was chosen; None: they do,
        or it was not chosen."""
        if self.crop_and_blur == "plain":
            return None
        if self.augmentation.scaled or not self._in_one:
            return "something stands between crop and blur (colour, erasing, a warp, HSV jitter, scales, linear light)"
        return fused.unavailable(device, self.arithmetic)

    def train(
        self,
        images: Tensor,
        indices: NDArray[np.integer],
        epoch: int,
        assignment: Assignment | None = None,
        sides: NDArray[np.int64] | None = None,
    ) -> Tensor:
        """Random resized crop and flip, affine warp, HSV jitter, colour operations, erasing, blur, normalisation.

        sides: height and width [N, 2] of images that do not fill their canvas, see `blurtrain.data.store`; these need
        `augmentation.scaled`. assignment: the blur of each image [N]; none: all stay sharp. What is erased gets the
        normalisation mean, not rounded to 8 bits: 0 in the end, and before a blur in linear light the light of that
        colour. Returns [N, 3, resolution, resolution], in the dtype of `arithmetic`. An image comes out the same
        whatever batch it is in, on a processor also for any number of threads.
        """
        if self.augmentation.scaled:
            return self._scaled(images, indices, epoch, assignment, sides)
        if assignment is not None and assignment.which is not None:
            exact = replace(self, arithmetic=torch.float32)
            if by_image(images):  # blurred while it is in the caches of its core
                blurs, which, draws = assignment.blurs, assignment.which, self._draws(epoch)
                normal = _normalisation(tuple(self.mean), tuple(self.sd), images.device)

                def blur_one(image: Tensor, k: int, out: Tensor) -> None:
                    blur, index = blurs[which[k]], int(indices[k])
                    if not self.blur.linear_light:
                        blur.blur_one(image, index, out, normal, **draws)
                        return
                    blur.blur_one(linear_light(image), index, out, **draws)
                    self.normalise(srgb(out), out)

                return exact._gaussian(images, indices, epoch, 0.0, normal=False, own=blur_one).to(self.arithmetic)
            sharp = exact._gaussian(images, indices, epoch, 0.0, normal=False)
            return self._each_its_own(sharp, indices, epoch, assignment).to(self.arithmetic)
        sigma: float | NDArray[np.float64] = 0.0
        if assignment is not None:
            own = scaled(assignment.sigmas, self.resolution, self.blur.reference_resolution)
            sigma = own if assignment.varied else float(own[0])
        return self._gaussian(images, indices, epoch, sigma)

    def _gaussian(
        self,
        images: Tensor,
        indices: NDArray[np.integer],
        epoch: int,
        sigma: float | NDArray[np.float64],
        normal: bool = True,
        own: Callable[[Tensor, int, Tensor], None] | None = None,
    ) -> Tensor:
        """`train` by `sigma` (pixels of the input, one or [N]); values in 0..255 where not `normal`, for float32, or
        what `own` makes of those of an image, given its place, where images are treated one by one."""
        a, size, truncate, device = self.augmentation, self.resolution, self.blur.truncate, images.device
        draws = uniform(self.seed, epoch, indices, _BEFORE_AFFINE - _GEOMETRY, first=_GEOMETRY)
        crops = self.crops(indices, epoch, images.shape[-1])
        operations = drawn(draws[:, :DRAWS], a.colour, a.jitter)
        erased = erasing.drawn(draws[:, DRAWS:], size, a)
        warps = self.warps(indices, epoch)
        gains = None
        if a.jitters_hsv:
            gains = hsv.drawn(uniform(self.seed, epoch, indices, hsv.DRAWS, first=_BEFORE_HSV), a)
        if device.type == "cpu":
            keep_freed_memory()
        if by_image(images):
            return self._image_by_image(images, crops, operations, erased, sigma, warps, gains, normal, own)
        blur = sigma if isinstance(sigma, float) else torch.from_numpy(sigma)
        in_one = self._in_one
        top, left, height, width, flip = (torch.from_numpy(g) for g in crops)
        if in_one and normal and self.crop_and_blur == "fused" and not fused.unavailable(device, self.arithmetic):
            return fused.normalised_crop_blur(
                images, top, left, height, width, size, flip, blur, a.interpolation, truncate,
                mean=self.mean, sd=self.sd, dtype=self.arithmetic,
            )  # fmt: skip
        first, work = (blur, self.arithmetic) if in_one else (0.0, torch.float32)
        if warps is not None:
            first = torch.from_numpy(warps.softening())
        cropped = resized_crop_blur(
            images, top, left, height, width, size, flip, first, a.interpolation, truncate, compute=work
        )
        least, _ = _normalisation(tuple(self.mean), tuple(self.sd), device)
        if in_one:
            return self.normalise(cropped).to(self.arithmetic) if normal else cropped
        if warps is not None:
            cropped = warp(cropped, warps, a.interpolation)
        if self._eight_bit:
            cropped = cropped.clamp_(0, 255).round_()
            cropped = colour(cropped if gains is None else hsv.jitter(cropped, gains), operations)
        if not normal:
            return erase(cropped, erased, least) if a.erasing else cropped
        if not a.erasing or self.blur.linear_light:
            shown = erase(cropped, erased, least) if a.erasing else cropped
            light = linear_light(shown) if self.blur.linear_light else shown
            light = gaussian_blur(light, blur, truncate, compute=self.arithmetic, finite=True)
            return self.normalise(srgb(light) if self.blur.linear_light else light).to(self.arithmetic)
        # The blur commutes with the normalisation, and after it what is erased is exactly 0 in any arithmetic.
        shown = erase(self.normalise(cropped), erased, torch.zeros((), device=device))
        return gaussian_blur(shown, blur, truncate, compute=self.arithmetic, finite=True).to(self.arithmetic)

    def crops(self, indices: NDArray[np.integer], epoch: int, side: int) -> Crops:
        """Where these images [n], of `side` pixels, are cropped in an epoch."""
        return random_crops(uniform(self.seed, epoch, indices, _GEOMETRY), side, self.augmentation)

    def warps(self, indices: NDArray[np.integer], epoch: int) -> Warps | None:
        """How they are warped behind that; None: not at all."""
        if not self.augmentation.warps:
            return None
        draws = uniform(self.seed, epoch, indices, affine.DRAWS, first=_BEFORE_AFFINE)
        return affine.drawn(draws, self.augmentation)

    def scaled_crops(
        self, indices: NDArray[np.integer], epoch: int, sides: NDArray[np.int64], stored: int
    ) -> ScaledCrops:
        """Where images of these `sides` [n, (height, width)], in a store of size `stored`, are cropped, by object and
        network scales."""
        a = self.augmentation
        assert a.scaled
        draws = uniform(self.seed, epoch, indices, scaled_crop.DRAWS, first=_BEFORE_SCALED)
        return ScaledCrops.drawn(draws, sides, stored, self.resolution, a.scaled, a.flip)

    def _scaled(
        self,
        images: Tensor,
        indices: NDArray[np.integer],
        epoch: int,
        assignment: Assignment | None,
        sides: NDArray[np.int64] | None,
    ) -> Tensor:
        """`train` by object and network scales."""
        a = self.augmentation
        assert a.scaled
        crop = ScaledCrop(a.scaled, self.resolution, self.blur, a.interpolation, self.seed)
        if sides is None:
            sides = np.tile(np.array(images.shape[2:], np.int64), (len(images), 1))
        crops = self.scaled_crops(indices, epoch, sides, min(images.shape[2:]))
        out = torch.empty(len(images), 3, self.resolution, self.resolution, dtype=self.arithmetic, device=images.device)

        def augment(chosen: NDArray[np.int64], transposed: bool) -> None:
            at = torch.from_numpy(chosen).to(images.device, non_blocking=True)
            own = None if assignment is None else assignment[chosen]
            stored = images[at].mT if transposed else images[at]
            shown = crop(stored, crops.of(chosen), indices[chosen], epoch, own)
            with any_order():  # each image once
                out[at] = self.normalise(shown).to(self.arithmetic)

        portrait = sides[:, 0] > sides[:, 1]
        if images.device.type == "cpu":
            image_by_image(lambda k: augment(np.array([k]), bool(portrait[k])), len(images))
        else:
            for transposed in (False, True):
                if len(chosen := np.flatnonzero(portrait == transposed)):
                    augment(chosen, transposed)
        return out

    def _each_its_own(
        self,
        sharp: Tensor,
        indices: NDArray[np.integer],
        epoch: int,
        assignment: Assignment,
    ) -> Tensor:
        """Images of 0..255, each blurred by the blur it is assigned, and normalised."""
        light = linear_light(sharp) if self.blur.linear_light else sharp
        blurred = assignment.applied(light, indices, **self._draws(epoch))
        return self.normalise(srgb(blurred) if self.blur.linear_light else blurred)

    def _draws(self, epoch: int) -> dict[str, Any]:
        """What `Blur.blurred` wants to know in training."""
        return {"resolution": self.resolution, "seed": self.seed, "epoch": epoch, "training": True,
                "truncate": self.blur.truncate}  # fmt: skip

    def _image_by_image(
        self,
        images: Tensor,
        crops: Crops,
        operations: Operations,
        erased: Rectangles,
        sigma: float | NDArray[np.float64],
        warps: Warps | None,
        gains: Gains | None,
        normal: bool,
        own: Callable[[Tensor, int, Tensor], None] | None,
    ) -> Tensor:
        """`_gaussian` on a processor."""
        size, truncate, interpolation = self.resolution, self.blur.truncate, self.augmentation.interpolation
        places, work = list(zip(*(g.tolist() for g in crops), strict=True)), self.arithmetic
        sigmas = np.broadcast_to(sigma, len(images)).tolist()
        rectangles = list(zip(*(side.tolist() for side in erased), strict=True))
        at_once = normal and not self._eight_bit and warps is None
        softening = [0.0] * len(images) if warps is None else warps.softening().tolist()
        least, factor = _normalisation(tuple(self.mean), tuple(self.sd), images.device)
        normalising = (-least * factor, factor)
        out = torch.empty(len(images), 3, size, size, dtype=work)

        def augment(k: int) -> None:
            top, left, height, width = rectangles[k]
            if at_once and not height:
                crop_image(images[k], places[k], sigmas[k], interpolation, truncate, NO_BOX, work, out[k], normalising)
                return
            image = torch.empty(3, size, size)
            crop_image(images[k], places[k], 0.0, interpolation, truncate, NO_BOX, torch.float32, image)
            if warps is not None:
                if softening[k]:
                    blur_image(image, softening[k], truncate, torch.float32, image)
                image = warp(image[None], warps.of(k), interpolation)[0]
            if gains is not None:
                image = hsv.jitter(image.clamp_(0, 255).round_()[None], gains.of(k))[0]
            if self._eight_bit:
                image = colour_image(image, k, operations)
            image[:, top : top + height, left : left + width] = least
            if not normal:
                out[k].copy_(image) if own is None else own(image, k, out[k])
            elif self.blur.linear_light:
                blur_image(linear_light(image), sigmas[k], truncate, work, image)
                torch.addcmul(normalising[0], srgb(image), factor, out=out[k])
            else:
                blur_image(image, sigmas[k], truncate, work, out[k], normalising)

        image_by_image(augment, len(images))
        return out

    @property
    def _eight_bit(self) -> bool:
        """Whether the crop is rounded to 8 bits: colour operations are defined on those, and linear light is not linear
        in them."""
        return self.augmentation.colour > 0 or self.augmentation.jitters_hsv or self.blur.linear_light

    @property
    def _in_one(self) -> bool:
        """Whether crop and blur are one operator: nothing stands between them."""
        return not (self._eight_bit or self.augmentation.erasing or self.augmentation.warps)

    def resized(self, images: Tensor, sides: NDArray[np.int64] | None = None) -> Tensor:
        """Whole images [N, 3, H, W] at the network's resolution S, [N, 3, S, S], as 8-bit values in float32: the start
        of every evaluation.

        Images that have it already, as those of a test store do, keep their pixels, whatever the device. Those that are
        not square (`sides`, as in `train`) are squeezed.
        """
        if images.shape[-1] == images.shape[-2] == self.resolution:
            return images.to(torch.float32, memory_format=torch.contiguous_format)
        lying = np.array([images.shape[2:]]) if sides is None else np.sort(sides, axis=1)
        height, width = torch.from_numpy(lying.T.astype(np.int64))
        zero = torch.zeros_like(height)  # one geometry, where it is the same for all images
        shown = resized_crop_blur(images, zero, zero, height, width, self.resolution, interpolation="bilinear")
        shown = shown.clamp_(0, 255).round_()
        if sides is None:
            return shown
        upright = torch.from_numpy(sides[:, 0] > sides[:, 1]).to(shown.device, non_blocking=True)
        return torch.where(upright[:, None, None, None], shown.mT, shown)

    def blurred(self, images: Tensor, blur: Blur, indices: NDArray[np.integer]) -> Tensor:
        """Images [N, 3, S, S] in 0..255 at the resolution, as `resized` gives them, blurred for evaluation and
        normalised; where they are deblurred, rounded to 8 bits before and after."""
        return self.normalise(self.blurred_pixels(images, blur, indices))

    def blurred_pixels(self, images: Tensor, blur: Blur, indices: NDArray[np.integer]) -> Tensor:
        """As `blurred`, in 0..255."""
        light = linear_light(images) if self.blur.linear_light else images
        light = blur.blurred(light, indices, resolution=self.resolution, truncate=self.blur.truncate)
        pixels = srgb(light) if self.blur.linear_light else light
        return pixels if self.deblur is None else self.deblurred(pixels, blur, indices)

    def deblurred(self, images: Tensor, blur: Blur, indices: NDArray[np.integer]) -> Tensor:
        """Images [N, 3, S, S] in 0..255 that were blurred by `blur`, rounded to 8 bits, restored by `deblur`, and
        rounded again."""
        assert self.deblur
        pixels = images.clamp(0, 255).round()
        linear = self.blur.linear_light and self.deblur.of_light
        light = linear_light(pixels) if linear else pixels
        light = self.deblur.deblurred(light, blur, indices, resolution=self.resolution, truncate=self.blur.truncate)
        return (srgb(light) if linear else light).clamp(0, 255).round()

    def normalise(self, images: Tensor, out: Tensor | None = None) -> Tensor:
        """(pixel / 255 - mean) / sd of images [N, 3, H, W], per channel, where asked into `out`; commutes with unit-sum
        blur."""
        least, factor = _normalisation(tuple(self.mean), tuple(self.sd), images.device)
        return torch.sub(images, least, out=out).mul_(factor)


@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)
def _normalisation(mean: tuple[float, ...], sd: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """What is taken off pixels in 0..255, and what the rest is multiplied by."""
    centre, spread = (torch.tensor(v, device=device).view(3, 1, 1) for v in (mean, sd))
    return 255 * centre, 1 / (255 * spread)


def random_crops(draws: NDArray[np.float64], side: int, augmentation: Augmentation) -> Crops:
    """Crops of n images of `side` pixels, from uniform draws [n, 41].

    As torchvision's RandomResizedCrop: area uniform in crop_scale, aspect log-uniform in crop_ratio, up to ten tries
    until the crop fits into the image of `side`, then the largest centred crop with an allowed aspect.
    """
    scale, ratio, down, across = np.split(draws[:, :-1], 4, axis=1)
    (low, high), (narrow, wide) = augmentation.crop_scale, np.log(augmentation.crop_ratio)
    area = side * side * (low + (high - low) * scale)
    aspect = np.exp(narrow + (wide - narrow) * ratio)
    width = np.round(np.sqrt(area * aspect)).astype(np.int64)
    height = np.round(np.sqrt(area / aspect)).astype(np.int64)
    fits = (width > 0) & (width <= side) & (height > 0) & (height <= side)
    first = np.where(fits.any(1), fits.argmax(1), -1)
    rows = np.arange(len(draws))
    height, width = height[rows, first], width[rows, first]
    top = np.floor(down[rows, first] * (side - height + 1)).astype(np.int64)
    left = np.floor(across[rows, first] * (side - width + 1)).astype(np.int64)
    none = first < 0
    if none.any():
        aspect_of_all = float(np.clip(1.0, *augmentation.crop_ratio))
        height[none] = round(side / max(aspect_of_all, 1.0))
        width[none] = round(side * min(aspect_of_all, 1.0))
        top[none], left[none] = (side - height[none]) // 2, (side - width[none]) // 2
    return top, left, height, width, draws[:, -1] < augmentation.flip
