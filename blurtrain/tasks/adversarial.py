"""Training against the blur that harms most."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from blurtrain.schema import Taps, added_later
from blurtrain.tasks.loss import Loss, Network, cross_entropy_alone
from blurtrain.tasks.views import apart, feature_distances, together

if TYPE_CHECKING:
    from torch import Tensor, nn

    from blurtrain.blur.adversarial import Ascent, Harm


class AgainstBlur(Loss):
    """Base of these: cross-entropy of images as they are, and the harm of kernels to blurred ones. Of labels alone."""

    size: Taps = 15
    """Taps a side, in pixels of the network's input; odd."""
    distance: float = Field(0.5, gt=0)
    """Most that the blur may change, relative to the contrast of the image (root mean squares)."""
    share: float = Field(0.5, gt=0, le=1)
    """Of the loss, that of blurred images; the rest is of the images as they are."""
    harm: Literal["labels", "features"] = added_later("labels")
    """What kernels raise and the network lowers: cross-entropy of blurred images (nats), or, for encoders, 1 - cosine
    similarity of their features with those of the images as they are, through which no gradient flows."""
    layer: str = added_later("")
    """As of feature-distance; of harm=features."""

    @model_validator(mode="after")
    def _harm_fits(self) -> "AgainstBlur":
        if self.harm == "features" and self.share == 1:
            raise ValueError("share=1 leaves no cross-entropy, and with harm=features the same features for all images "
                             "would do: take less than 1")  # fmt: skip
        if self.harm == "labels" and self.layer:
            raise ValueError(f"layer={self.layer} is of features: set harm=features, or leave it out")
        return self

    @property
    def watched(self) -> str | None:
        """See `Loss.watched`."""
        return self.layer if self.harm == "features" else None

    @property
    def passed_together(self) -> int:
        """See `Loss.passed_together`."""
        return 1 if self.share == 1 else 2

    def check_side(self, side: int) -> str:
        """See `Loss.check_side`."""
        return "" if self.size // 2 < side else f"loss.size={self.size}: take at most {2 * side - 1}"

    def validated(self, network: Network, images: "Tensor", targets: "Tensor") -> "tuple[Tensor, Tensor]":
        """Of the images as they are."""
        return cross_entropy_alone(network, images, targets)

    def _of_both(
        self, network: Network, images: "Tensor", blurred: "Tensor", targets: "Tensor", label_smoothing: float
    ) -> "tuple[Tensor, Tensor]":
        from torch.nn.functional import cross_entropy

        if self.share == 1:
            logits = network(blurred)
            return cross_entropy(logits, targets, label_smoothing=label_smoothing), logits
        plain, attacked = together(network, (images, blurred))
        supervised = cross_entropy(plain, targets, label_smoothing=label_smoothing)
        if self.harm == "features":
            sharp, features = apart(network.features(), 2)
            harm = feature_distances(features, sharp.detach()).mean()
        else:
            harm = cross_entropy(attacked, targets, label_smoothing=label_smoothing)
        return (1 - self.share) * supervised + self.share * harm, plain


class AdversarialBlur(AgainstBlur):
    """Cross-entropy of images that are blurred by kernels learnt against the network as it stands (in evaluation mode),
    see `blurtrain.blur.adversarial`: projected gradient ascent (Madry et al., ICLR 2018) over kernels in place of
    pixels. With harm=features the kernels are learnt against the network's features, and it is trained to keep them;
    that form is ours.

    A step costs `steps` + 1 forward and `steps` backward passes through the network more than one without; with
    harm=features one forward pass more, of the images as they are.
    """

    type: Literal["adversarial-blur"] = "adversarial-blur"
    steps: int = Field(3, ge=1)
    rate: float = Field(1.0, gt=0)
    """By how much the logit of the tap that matters most moves in a step."""
    start: Literal["identity", "random"] = "random"
    among: int = Field(1, ge=1)
    """So many consecutive images share a kernel."""

    def check_batch(self, images: int) -> str:
        """See `Loss.check_batch`."""
        return "" if images % self.among == 0 else f"loss.among={self.among}: must divide them"

    @property
    def ascent(self) -> "Ascent":
        """How kernels are learnt, by these settings."""
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
        from blurtrain.blur.adversarial import worst_blur

        worst = worst_blur(images, self.harm_of(network, images, targets), self.ascent).images.to(images.dtype)
        return self._of_both(network, images, worst, targets, label_smoothing)

    def harm_of(self, network: Network, images: "Tensor", targets: "Tensor") -> "Harm":
        """What an ascent raises, of each of `images` [N, 3, S, S] once they are blurred; in evaluation mode."""
        from torch.nn.functional import cross_entropy

        if self.harm == "labels":
            return lambda shown: cross_entropy(network.tested(shown), targets, reduction="none")

        def features(shown: "Tensor") -> "Tensor":
            network.tested(shown)
            return network.features()

        sharp = features(images).detach()
        return lambda shown: feature_distances(features(shown), sharp)


class ProposedBlur(AgainstBlur):
    """As adversarial-blur, but a second, small network (`blurtrain.blur.proposer`) proposes the kernel of each image,
    and both are trained at once: one descends on the harm to blurred images (their cross-entropy, or the distance of
    their features), the other ascends on it minus `fidelity` times what its kernel changes. The network form of the
    attack is ours; one backward pass serves both, by reversed gradients (Ganin & Lempitsky, ICML 2015).

    The second network has the run's optimiser, and no weight decay; checkpoints hold it, published weights do not.
    """

    type: Literal["proposed-blur"] = "proposed-blur"
    width: int = Field(16, ge=1, le=256)
    """Channels of the second network's first convolution."""
    rate: float = Field(1.0, gt=0)
    """Its learning rate, as a multiple of optimisation.learning_rate."""
    fidelity: float = Field(1.0, ge=0)
    """What it costs to leave nothing of an image, in the unit of the harm (nats, or 1 - cosine similarity); in between
    by the square of what is changed."""

    def opponent(self) -> "nn.Module":
        """See `Loss.opponent`."""
        from blurtrain.blur.proposer import Proposer

        return Proposer(self.size, self.width)

    @property
    def opponent_rate(self) -> float:
        """See `Loss.opponent_rate`."""
        return self.rate

    def __call__(
        self,
        network: Network,
        images: "Tensor",
        targets: "Tensor",
        label_smoothing: float = 0.0,
        views: "Sequence[Tensor]" = (),
    ) -> "tuple[Tensor, Tensor]":
        from blurtrain.blur.proposer import proposed_blur, reversed_gradient

        found = proposed_blur(images, reversed_gradient(network.opponent(images)), self.distance)
        loss, outputs = self._of_both(network, images, found.images.to(images.dtype), targets, label_smoothing)
        cost = self.share * self.fidelity * found.changed.mean()
        # Of the second network alone: what is reported is the loss of the first one.
        return loss - (cost - cost.detach()).to(loss.dtype), outputs
