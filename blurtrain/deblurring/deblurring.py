"""What a method of deblurring is: a settings section and its behaviour in one; `blurtrain.deblurring.methods` holds
those there are.

In settings a method is a mapping, `{type: wiener, noise: 0.01}`, or its label, `wiener noise=0.01`. Torch is imported
inside methods only.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import SerializeAsAny, model_validator

from blurtrain.blur.blurs import Blur, Sharp
from blurtrain.documents import parse_overrides, shown
from blurtrain.errors import SettingsError
from blurtrain.parts import is_part_name, source_hash
from blurtrain.tasks.named import Named

if TYPE_CHECKING:
    from torch import Tensor

Kernel = NDArray[np.float64]
AT_A_TIME = 64 * 3 * 224 * 224
"""Values of images that a GPU works on together: few enough for its memory. A processor takes an image on each core."""


class Deblurring(Named):
    """Base of all methods. A user's own derives from this, or from `NonBlind` if it is to know the kernels."""

    unnamed: ClassVar[frozenset[str]] = frozenset()
    """Fields that its label leaves out."""
    of_light: ClassVar[bool] = True
    """Whether blurs that are in linear light are undone there; else it is given pixels as they are shown."""
    type: str

    @property
    def label(self) -> str:
        """What it is called in files and tables: its type, and what is not at its default."""
        fields = type(self).model_fields
        named = [name for name in fields if name not in ("type", *self.unnamed)]
        given = [f"{name}={shown(value)}" for name in named if (value := getattr(self, name)) != fields[name].default]
        return " ".join([self.type, *given])

    @property
    def identity(self) -> dict[str, Any]:
        """What outcomes depend on of it; of one of the user's own also its source."""
        own = {"deblur_source": source_hash(self.type)[:16]} if is_part_name(self.type) else {}
        return {"deblur": self.label, **own}

    def check(self, blurs: Sequence[Blur]) -> None:
        """Raise SettingsError where images of one of these blurs cannot be deblurred so."""

    def restored(self, images: "Tensor", kernels: Sequence[Kernel]) -> "Tensor":
        """Blurred images [N, C, H, W] (float, 0..1) restored; same shape, device and dtype, in any range.

        kernels: of each image, as those of `blurtrain.blur.kernels`, in its pixels; none for blind methods.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `restored`")

    def deblurred(
        self, images: "Tensor", blur: Blur, indices: Sequence[int] | NDArray[np.integer], *, resolution: int,
        truncate: float = 4.0,
    ) -> "Tensor":  # fmt: skip
        """`images` (float [N, C, H, W] in 0..255, smaller side `resolution`) that `blur` has blurred in evaluation,
        restored, in 0..255; same shape and dtype. Arguments as those of `Blur.blurred`."""
        return self._in_parts(images, [])

    def _in_parts(self, images: "Tensor", kernels: Sequence[Kernel]) -> "Tensor":
        import torch

        from blurtrain.blur.arithmetic import in_own_arithmetic
        from blurtrain.blur.cores import image_by_image

        if images.device.type == "cpu":
            out = torch.empty_like(images, memory_format=torch.contiguous_format)

            def restore(k: int) -> None:
                found = in_own_arithmetic(self.restored)(images[k : k + 1] / 255, kernels[k : k + 1])
                torch.mul(found[0], 255, out=out[k]).clamp_(0, 255)

            image_by_image(restore, len(images))
            return out
        size = max(1, AT_A_TIME // max(1, images[0].numel())) if len(images) else 1
        parts = [
            in_own_arithmetic(self.restored)(images[k : k + size] / 255, kernels[k : k + size])
            for k in range(0, len(images), size)
        ]
        return torch.cat(parts).mul_(255).clamp_(0, 255) if parts else images

    @model_validator(mode="wrap")
    @classmethod
    def _or_its_label(cls, value: Any, handler: Any) -> Any:
        if isinstance(value, str) and (words := value.split()):
            if without := [word for word in words[1:] if "=" not in word]:
                raise ValueError(f"{value!r}: {without[0]!r} is no option; they are given as name=value")
            value = {"type": words[0], **parse_overrides(words[1:])}
        return handler(value)


class NonBlind(Deblurring):
    """Base of the methods that are given each image's kernel. Sharp images they leave as they are."""

    def check(self, blurs: Sequence[Blur]) -> None:
        """See `Deblurring.check`."""
        for blur in blurs:
            if not isinstance(blur, Sharp) and not blur.has_kernel():
                raise SettingsError(
                    f"deblurring by {self.type} needs the kernel of each image, and {blur.label} has none: leave one "
                    "of the two out, or take a method that needs no kernel, as unsharp"
                )

    def deblurred(
        self, images: "Tensor", blur: Blur, indices: Sequence[int] | NDArray[np.integer], *, resolution: int,
        truncate: float = 4.0,
    ) -> "Tensor":  # fmt: skip
        """See `Deblurring.deblurred`. Raises SettingsError where the blur has no kernel."""
        if isinstance(blur, Sharp):
            return images
        self.check([blur])
        return self._in_parts(images, blur.kernels(indices, resolution=resolution, truncate=truncate))


AnyDeblurring = SerializeAsAny[Deblurring]
"""What a settings field takes: a mapping, `{type: wiener, noise: 0.01}`, or a label, `wiener noise=0.01`."""
