"""Losses over several views of an image, which are decoded and cropped alike: sharp ones beside those of the
curriculum."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from blurtrain.tasks.loss import Loss, Network, View, cross_entropy_alone

if TYPE_CHECKING:
    from torch import Tensor


class OfViews(Loss):
    """Base of these: cross-entropy of the images, and `weight` times what the views add."""

    weight: float = Field(1.0, ge=0)
    """Of what the views add, beside cross-entropy; 0: cross-entropy alone."""
    cross_entropy: Literal["images", "sharp", "all"] = "all"
    """Of which views: those of the curriculum, the sharp ones, or both (their mean)."""

    @property
    def views(self) -> tuple[View, ...]:
        """See `Loss.views`."""
        return ("sharp",)

    def validated(self, network: Network, images: "Tensor", targets: "Tensor") -> "tuple[Tensor, Tensor]":
        """Cross-entropy alone: there is one view then."""
        return cross_entropy_alone(network, images, targets)

    def _supervised(self, logits: "Sequence[Tensor]", targets: "Tensor", label_smoothing: float) -> "Tensor":
        """logits: of the images, then of their sharp views, then of others."""
        import torch
        from torch.nn.functional import cross_entropy

        chosen = {"images": logits[:1], "sharp": logits[1:2], "all": logits}[self.cross_entropy]
        return torch.stack([cross_entropy(one, targets, label_smoothing=label_smoothing) for one in chosen]).mean()


class JensenShannon(OfViews):
    """Consistency of what is predicted for the sharp image and for blurred ones: the Jensen-Shannon divergence of the
    predictions (nats), in the form of AugMix (Hendrycks et al., ICLR 2020; there weight 12, three views, and
    cross-entropy of the unchanged image alone)."""

    type: Literal["jensen-shannon"] = "jensen-shannon"
    weight: float = Field(12.0, ge=0)
    """Of the divergence, beside cross-entropy."""
    cross_entropy: Literal["images", "sharp", "all"] = "sharp"
    blurred_views: Literal[1, 2] = 1
    """2: a second one by a further draw of the curriculum."""

    @property
    def views(self) -> tuple[View, ...]:
        return ("sharp", "blurred") if self.blurred_views == 2 else ("sharp",)

    def __call__(
        self,
        network: Network,
        images: "Tensor",
        targets: "Tensor",
        label_smoothing: float = 0.0,
        views: "Sequence[Tensor]" = (),
    ) -> "tuple[Tensor, Tensor]":
        import torch

        logits = together(network, (images, *views))
        log = torch.stack([one.log_softmax(1) for one in logits])
        mean = log.exp().mean(0).clamp(min=torch.finfo(log.dtype).tiny).log()
        divergence = (log.exp() * (log - mean)).sum(2).mean()
        return self._supervised(logits, targets, label_smoothing) + self.weight * divergence, logits[0]


class FeatureDistance(OfViews):
    """Features of the blurred image are drawn to those of the sharp one, which stay where they are (no gradient):
    1 - their cosine similarity."""

    type: Literal["feature-distance"] = "feature-distance"
    layer: str = ""
    """The module whose output is meant, by its name in the network; none: what the last linear layer is given."""

    @property
    def watched(self) -> str:
        return self.layer

    def __call__(
        self,
        network: Network,
        images: "Tensor",
        targets: "Tensor",
        label_smoothing: float = 0.0,
        views: "Sequence[Tensor]" = (),
    ) -> "tuple[Tensor, Tensor]":
        logits = together(network, (images, *views))
        blurred, sharp, *_ = apart(network.features(), 1 + len(views))
        distance = feature_distances(blurred, sharp.detach()).mean()
        return self._supervised(logits, targets, label_smoothing) + self.weight * distance, logits[0]


class SupervisedContrastive(OfViews):
    """Views of images of one class are drawn together, those of others apart: the supervised contrastive loss L_out of
    Khosla et al. (NeurIPS 2020), of the features themselves (there is no projection head), beside cross-entropy."""

    type: Literal["supervised-contrastive"] = "supervised-contrastive"
    temperature: float = Field(0.1, gt=0)
    """By which cosine similarities are divided."""
    among: int = Field(64, ge=2)
    """So many consecutive images are compared with each other, whatever the number of processes and micro-batches."""
    layer: str = ""
    """As of feature-distance."""

    @property
    def watched(self) -> str:
        return self.layer

    def check_batch(self, images: int) -> str:
        """See `Loss.check_batch`."""
        return "" if images % self.among == 0 else f"loss.among={self.among}: must divide them"

    def __call__(
        self,
        network: Network,
        images: "Tensor",
        targets: "Tensor",
        label_smoothing: float = 0.0,
        views: "Sequence[Tensor]" = (),
    ) -> "tuple[Tensor, Tensor]":
        import torch
        from torch.nn.functional import normalize

        logits = together(network, (images, *views))
        features = normalize(network.features().flatten(1).float(), dim=1)
        count = self.among * (1 + len(views))
        each = features.unflatten(0, (-1, count))
        labels = targets.repeat_interleave(1 + len(views)).unflatten(0, (-1, count))
        alike = each @ each.mT / self.temperature
        itself = torch.eye(count, dtype=torch.bool, device=alike.device)
        log = alike - alike.masked_fill(itself, -torch.inf).logsumexp(2, keepdim=True)
        same = (labels[:, :, None] == labels[:, None]) & ~itself
        # Each has a positive: its other view.
        contrast = -(log * same).sum(2) / same.sum(2)
        return self._supervised(logits, targets, label_smoothing) + self.weight * contrast.mean(), logits[0]


def together(network: Network, views: "Sequence[Tensor]") -> "Sequence[Tensor]":
    """Outputs [N, ...] of each of the views [N, 3, S, S], from one forward pass in which the views of an image follow
    each other: so batch norm sees the same images together, however a batch is cut."""
    import torch

    return apart(network(torch.stack(list(views), 1).flatten(0, 1)), len(views))


def apart(values: "Tensor", views: int) -> "Sequence[Tensor]":
    """What belongs to each view, [N, ...], of values [N * views, ...] as `together` has them."""
    return values.unflatten(0, (-1, views)).unbind(1)


def feature_distances(features: "Tensor", others: "Tensor") -> "Tensor":
    """1 - cosine similarity of the features of each image [N, ...] with its others, 0..2: [N], in float32 or better."""
    from torch.nn.functional import cosine_similarity

    from blurtrain.blur.arithmetic import at_least_single

    return 1 - cosine_similarity(*(at_least_single(values.flatten(1)) for values in (features, others)), dim=1)
