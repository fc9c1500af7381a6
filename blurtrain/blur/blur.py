"""What a blur is: a settings section and its behaviour in one; `blurtrain.blur.blurs` holds those there are.

In settings a blur is a mapping, `{kernel: disk, radius: 4}`, or its label, `disk-4`. Lengths are pixels of an image
whose smaller side has `at` pixels: 224, or 384 as in Vasiljevic et al. 2016 (`disk-4@384`); an image of another size
gets the same blur relative to its own. Torch is imported inside methods only.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializeAsAny, ValidationError, model_validator

from blurtrain.blur.resampling import resampled, resampled_reach
from blurtrain.errors import SettingsError, nearest
from blurtrain.kinds import Kind
from blurtrain.parts import is_part_name

if TYPE_CHECKING:
    from torch import Tensor

    Normal = tuple[Tensor, Tensor] | None

REFERENCE = 224
"""Pixels of the smaller side of an image for which a blur is defined unless it says otherwise."""


class Blur(Kind):
    """One blur. A user's own derives from this, or from `KernelBlur` if it is a convolution, and adds its fields."""

    discriminator: ClassVar[str] = "kernel"
    label_name: ClassVar[str] = ""
    """The first word of its label; none: the value of `kernel`."""
    label_fields: ClassVar[tuple[str, ...]] = ()
    """Fields that follow in the label, in this order, up to the last that is not at its default."""

    kernel: str
    at: int = Field(REFERENCE, ge=8, le=4096)
    """The smaller side, in pixels, of an image in whose pixels the blur is given."""

    @property
    def label(self) -> str:
        """What it is called in files, tables and figures; `parse` gives the blur back."""
        words = [self.label_name or self.kernel, *self._words()]
        return "-".join(words) + (f"@{self.at}" if self.at != REFERENCE else "")

    def _words(self) -> list[str]:
        if type(self).kinds.get(self.kernel) is not type(self):  # a user's own
            fields = [name for name in type(self).model_fields if name not in ("kernel", "at")]
            return [f"{name}={_word(getattr(self, name))}" for name in fields if not self._at_default(name)]
        shown = list(self.label_fields)
        while shown and self._at_default(shown[-1]):
            shown.pop()
        return [_word(getattr(self, name)) for name in shown]

    def _at_default(self, name: str) -> bool:
        return bool(getattr(self, name) == type(self).model_fields[name].default)

    @classmethod
    def parse(cls, label: str) -> "Blur":
        """The blur of this label; raises SettingsError, one line, for one that is unknown or out of range."""
        try:
            return Blur.model_validate(_document(label))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            message = first["msg"].removeprefix("Value error, ")
            raise SettingsError(f"blur {label!r}: {where}{': ' if where else ''}{message}") from None

    @model_validator(mode="wrap")
    @classmethod
    def _or_its_label(cls, value: Any, handler: Any) -> Any:
        if isinstance(value, str):
            try:
                return cls.parse(value)
            except SettingsError as error:
                raise ValueError(str(error)) from None
        return handler(value)

    def check(self, resolution: int) -> None:
        """Raise SettingsError where images of this smaller side cannot be blurred so, or a file is missing."""

    def reach(self, resolution: int, truncate: float) -> int | None:
        """Pixels from which a pixel gathers light at most, at this resolution; None: any of the image, or where it is
        in the image counts."""
        return None

    def blurred(
        self,
        images: "Tensor",
        indices: Sequence[int] | NDArray[np.integer],
        *,
        resolution: int,
        seed: int = 0,
        epoch: int = 0,
        training: bool = False,
        truncate: float = 4.0,
    ) -> "Tensor":
        """`images` (float [N, C, H, W] in 0..255, smaller side `resolution`) blurred; same shape and dtype.

        indices: the images' numbers [N]. What is drawn is a function of (seed, epoch, index) alone in training, and of
        the index alone in evaluation. `truncate`: sigmas at which Gaussians are cut. In training on a processor images
        come one at a time, from several threads.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `blurred`")

    def has_kernel(self) -> bool:
        """Whether it is a convolution whose kernels are known: those of `kernels`."""
        return False

    def kernels(
        self, indices: Sequence[int] | NDArray[np.integer], *, resolution: int, truncate: float = 4.0
    ) -> list[NDArray[np.float64]]:
        """The kernels by which `blurred` convolves the images of these numbers in evaluation, in their pixels; of
        several that have the same one, the same array. Raises SettingsError where there are none."""
        raise SettingsError(f"blur {self.label}: is no convolution by a kernel")

    def blur_one(self, image: "Tensor", index: int, out: "Tensor", normal: "Normal" = None, **draws: Any) -> None:
        """One image [C, H, W] on a processor, as `blurred` has it, into `out` of the same shape.

        normal: what is taken off the result, and what the rest is multiplied by, [C, 1, 1].
        """
        out.copy_(self.blurred(image[None], [index], **draws)[0])
        if normal:
            out.sub_(normal[0]).mul_(normal[1])


class KernelBlur(Blur):
    """A blur that is a convolution: it says its kernel, and all else follows."""

    def point_spread(self, index: int, *, seed: int = 0, epoch: int = 0, training: bool = False) -> NDArray[np.float64]:
        """The kernel of image `index`, in pixels at `at`: as those of `blurtrain.blur.kernels`. Same draws as
        `blurred`."""
        raise NotImplementedError(f"{type(self).__name__} must define `point_spread`")

    def largest(self) -> int:
        """Side of its largest kernel, in pixels at `at`; to be defined where images have kernels of different sides."""
        return len(self.point_spread(0))

    def is_convolution(self) -> bool:
        """Whether `blurred` is the convolution with `point_spread`, and nothing else."""
        return type(self).blurred is KernelBlur.blurred

    def has_kernel(self) -> bool:
        """See `Blur.has_kernel`."""
        return self.is_convolution()

    def kernels(
        self, indices: Sequence[int] | NDArray[np.integer], *, resolution: int, truncate: float = 4.0
    ) -> list[NDArray[np.float64]]:
        """See `Blur.kernels`."""
        if not self.is_convolution():
            return super().kernels(indices, resolution=resolution, truncate=truncate)
        spreads = [self.point_spread(int(index)) for index in indices]
        distinct = {id(spread): spread for spread in spreads}
        scaled = {key: resampled(spread, resolution / self.at) for key, spread in distinct.items()}
        return [scaled[id(spread)] for spread in spreads]

    def reach(self, resolution: int, truncate: float) -> int | None:
        """See `Blur.reach`."""
        return resampled_reach(self.largest(), resolution / self.at)

    def check(self, resolution: int) -> None:
        """Raise SettingsError where the kernel cannot be had, or is too large at this resolution."""
        try:
            resampled(self.point_spread(0), resolution / self.at)
        except ValueError as error:
            raise SettingsError(f"blur {self.label}: {error}") from None

    def blurred(
        self,
        images: "Tensor",
        indices: Sequence[int] | NDArray[np.integer],
        *,
        resolution: int,
        seed: int = 0,
        epoch: int = 0,
        training: bool = False,
        truncate: float = 4.0,
    ) -> "Tensor":
        from blurtrain.blur.convolution import convolve_each

        draws: dict[str, Any] = {"seed": seed, "epoch": epoch, "training": training}
        spreads = [self.point_spread(int(index), **draws) for index in indices]
        return convolve_each(images, [resampled(spread, resolution / self.at) for spread in spreads])

    def blur_one(self, image: "Tensor", index: int, out: "Tensor", normal: "Normal" = None, **draws: Any) -> None:
        """See `Blur.blur_one`. It takes few operations of torch, for at each of them threads wait for each other."""
        from blurtrain.blur.convolution import convolve_one

        if not self.is_convolution():
            return super().blur_one(image, index, out, normal, **draws)
        drawn = {name: draws[name] for name in ("seed", "epoch", "training") if name in draws}
        convolve_one(
            image, resampled(self.point_spread(index, **drawn), draws["resolution"] / self.at), out, normal=normal
        )


def stream(seed: int, epoch: int, training: bool) -> int:
    """The seed of what an image draws: another in each epoch of a training, always the same in evaluation."""
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0]) if training else 0


def draws_of(purpose: int, index: int, seed: int, epoch: int, training: bool) -> np.random.Generator:
    """What image `index` draws for one `purpose`, apart from what it draws for others."""
    words = (purpose, stream(seed, epoch, training), index)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))


def _document(label: str) -> dict[str, Any]:
    """The fields that a label says, by name; raises SettingsError where its first words are those of no blur."""
    text, _, at = label.partition("@")
    found: dict[str, Any] = {"at": at} if _ else {}
    if own := re.fullmatch(r"(.+:[A-Za-z_]\w*?)((?:-[A-Za-z_]\w*=.*)?)", text):
        name, arguments = own.groups()
        if is_part_name(name):
            given = re.findall(r"-([A-Za-z_]\w*)=((?:(?!-[A-Za-z_]\w*=).)*)", arguments)
            return {"kernel": name, **dict(given), **found}
    named = {kind.label_name or key: (key, kind) for key, kind in Blur.kinds.items()}
    named |= {key: (key, kind) for key, kind in Blur.kinds.items()}
    name = max((n for n in named if f"{text}-".startswith(f"{n}-")), key=len, default="")
    if not name:
        raise SettingsError(f"blur {label!r} is unknown; {nearest(text, named)}, or package.module:Name of your own")
    kernel, kind = named[name]
    words = text[len(name) + 1 :].split("-") if text != name else []
    if len(words) > len(kind.label_fields):
        raise SettingsError(f"blur {label!r}: {name} takes {'-'.join(kind.label_fields).upper() or 'nothing'} at most")
    return {"kernel": kernel, **dict(zip(kind.label_fields, words, strict=False)), **found}


def _word(value: Any) -> str:
    """A value in a label; of numbers as many digits as it takes to read the same number again, and no exponent."""
    if isinstance(value, bool):
        return str(value).lower()
    return np.format_float_positional(value, trim="-") if isinstance(value, int | float) else str(value)


AnyBlur = SerializeAsAny[Blur]
"""What a settings field takes: a mapping, `{kernel: disk, radius: 4}`, or a label, `disk-4`."""
