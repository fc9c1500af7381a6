"""Training against the blur that harms most."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from blurtrain.schema import Taps
from blurtrain.tasks.loss import Loss, Network, cross_entropy_alone

if TYPE_CHECKING:
    from torch import Tensor

    from blurtrain.blur.adversarial import Ascent


class AdversarialBlur(Loss):
    """Cross-entropy of images that are blurred by kernels learnt against the network as it stands (in evaluation mode),
    see `blurtrain.blur.adversarial`: projected gradient ascent (Madry et al., ICLR 2018) over kernels in place of
    pixels. Of labels alone.

    A step costs `steps` + 1 forward and `steps` backward passes through the network more than one without.
    """

    type: Literal["adversarial-blur"] = "adversarial-blur"
    size: Taps = 15
    """Taps a side, in pixels of the network's input; odd."""
    steps: int = Field(3, ge=1)
    rate: float = Field(1.0, gt=0)
    """By how much the logit of the tap that matters most moves in a step."""
    start: Literal["identity", "random"] = "random"
    distance: float = Field(0.5, gt=0)
    """Most that the blur may change, relative to the contrast of the image (root mean squares)."""
    among: int = Field(1, ge=1)
    """So many consecutive images share a kernel."""
    share: float = Field(0.5, gt=0, le=1)
    """Of the loss, that of blurred images; the rest is of the images as they are."""

    def check_batch(self, images: int) -> str:
        """See `Loss.check_batch`."""
        return "" if images % self.among == 0 else f"loss.among={self.among}: must divide them"

    @property
    def passed_together(self) -> int:
        """See `Loss.passed_together`."""
        return 1 if self.share == 1 else 2

    @property
    def ascent(self) -> "Ascent":
        from blurtrain.blur.adversarial import Ascent

        return Ascent(self.size, self.steps, self.rate, self.start, self.distance, self.among)

    def __call__(
        self,
        network: Network,
        images: "Tensor",
        targets: "Tensor",
        label_smoothing: float = 0.0,
        views: "Sequence[Tensor]" = (),
    ) -> "tuple[Tensor, Tensor]":
        from torch.nn.functional import cross_entropy

        from blurtrain.blur.adversarial import worst_blur
        from blurtrain.tasks.views import together

        def harm(shown: "Tensor") -> "Tensor":
            return cross_entropy(network.tested(shown), targets, reduction="none")

        worst = worst_blur(images, harm, self.ascent).images.to(images.dtype)
        if self.share == 1:
            logits = network(worst)
            return cross_entropy(logits, targets, label_smoothing=label_smoothing), logits
        plain, attacked = together(network, (images, worst))
        of_each = [cross_entropy(one, targets, label_smoothing=label_smoothing) for one in (plain, attacked)]
        return (1 - self.share) * of_each[0] + self.share * of_each[1], plain

    def validated(self, network: Network, images: "Tensor", targets: "Tensor") -> "tuple[Tensor, Tensor]":
        """Of the images as they are."""
        return cross_entropy_alone(network, images, targets)
