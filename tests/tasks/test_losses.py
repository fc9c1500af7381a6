"""Losses of masks and of several views, against their formulas."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.spatial.distance import jensenshannon
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from blurtrain.settings import Settings
from blurtrain.tasks import CrossEntropy, FeatureDistance, JensenShannon, Loss, SupervisedContrastive
from blurtrain.tasks.views import together


class Given:
    """A network whose outputs for single pixels are the pixels, and so are its features."""

    def __call__(self, images: Tensor) -> Tensor:
        self.seen = images.flatten(1)
        return self.seen

    def features(self) -> Tensor:
        return self.seen

    def tested(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def opponent(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def views(n: int = 6, count: int = 3) -> list[Tensor]:
    return list(torch.randn(count, n, 5, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64))


LABELS = torch.tensor([0, 1, 0, 2, 1, 0])


def test_each_image_counts_as_much_however_much_of_it_is_void() -> None:
    logits = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    masks = torch.randint(4, (2, 3, 3), generator=torch.Generator().manual_seed(1)).byte()
    masks[0, :2] = 255
    loss, outputs = CrossEntropy()(lambda _: logits, torch.zeros(2, 3, 3, 3), masks)  # type: ignore[arg-type]
    known = [cross_entropy(logits[[k]], masks[[k]].long(), ignore_index=255) for k in range(2)]
    torch.testing.assert_close(loss, sum(known) / 2)
    assert outputs is logits
    nothing, _ = CrossEntropy()(lambda _: logits, torch.zeros(2, 3, 3, 3), torch.full_like(masks, 255))  # type: ignore[arg-type]
    assert nothing == 0


@pytest.mark.parametrize("blurred", [1, 2])
def test_jensen_shannon_is_scipy_s(blurred: Any) -> None:
    given = views(count=1 + blurred)
    loss, outputs = JensenShannon(weight=2, blurred_views=blurred)(Given(), given[0], LABELS, views=given[1:])
    predictions = [one.flatten(1).softmax(1).numpy() for one in given]
    if blurred == 1:
        expected = np.mean([jensenshannon(p, q) ** 2 for p, q in zip(*predictions, strict=True)])
    else:
        mean = np.mean(predictions, 0)
        expected = np.mean([(p * np.log(p / mean)).sum(1) for p in predictions])
    supervised = cross_entropy(given[1].flatten(1), LABELS)
    assert float(loss) == pytest.approx(float(supervised) + 2 * expected, rel=1e-10)
    torch.testing.assert_close(outputs, given[0].flatten(1), msg="metrics are of the images, not of their views")


def test_supervised_contrast_is_that_of_the_paper() -> None:
    given = views(count=2)
    kind = SupervisedContrastive(weight=1, temperature=0.2, among=3, cross_entropy="images")
    loss, _ = kind(Given(), given[0], LABELS, views=given[1:])
    expected = []
    for first in (0, 3):  # three images, and their views, are compared with each other
        z = torch.cat([normalize(one.flatten(1)[first : first + 3], dim=1) for one in given])
        labels = LABELS[first : first + 3].repeat(2)
        for i in range(6):
            others = [a for a in range(6) if a != i]
            total = sum(torch.exp(z[i] @ z[a] / 0.2) for a in others)
            alike = [p for p in others if labels[p] == labels[i]]
            expected.append(-sum(torch.log(torch.exp(z[i] @ z[p] / 0.2) / total) for p in alike) / len(alike))
    supervised = cross_entropy(given[0].flatten(1), LABELS)
    assert float(loss - supervised) == pytest.approx(float(sum(expected)) / 12, rel=1e-6)


def test_features_are_drawn_to_the_sharp_ones_and_not_the_other_way() -> None:
    blurred, sharp = (one.requires_grad_() for one in views(count=2))
    loss, _ = FeatureDistance(weight=3, cross_entropy="images")(Given(), blurred, LABELS, views=[sharp])
    a, b = (one.detach().flatten(1) for one in (blurred, sharp))
    cosine = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    expected = cross_entropy(a, LABELS) + 3 * (1 - cosine).mean()
    assert float(loss.detach()) == pytest.approx(float(expected), rel=1e-10)
    loss.backward()
    assert blurred.grad is not None and blurred.grad.any() and not sharp.grad.any()


def test_views_of_an_image_follow_each_other() -> None:
    given, network = views(count=3), Given()
    apart = together(network, given)
    for one, own in zip(apart, given, strict=True):
        torch.testing.assert_close(one, own.flatten(1))
    torch.testing.assert_close(network.seen[:3], torch.stack([one[0].flatten() for one in given]))


@pytest.mark.parametrize(
    "kind", ["jensen-shannon", "feature-distance", "supervised-contrastive", "adversarial-blur", "proposed-blur"]
)
def test_validation_reports_cross_entropy_alone(kind: str) -> None:
    (given,) = views(count=1)
    loss, _ = Loss.model_validate({"type": kind}).validated(Given(), given, LABELS)
    torch.testing.assert_close(loss, cross_entropy(given.flatten(1), LABELS))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"loss": "l1"}, "loss=l1 is not for task=classification, whose targets are labels: set loss=cross-entropy or"),
        ({"task": "segmentation", "loss": "jensen-shannon"}, r"targets are masks: set loss=cross-entropy \["),
        ({"task": "restoration"}, "targets are sharp: set loss=l1 or l2"),
        ({"task": "restoration", "loss": "l2"}, r"set data.mean=\[0, 0, 0\] and data.sd=\[1, 1, 1\]"),
        ({"loss": {"type": "adversarial-blur", "size": 4}}, "must be odd"),
        (
            {"loss": {"type": "proposed-blur", "size": 17}, "data": {"resolution": 8}},
            "does not fit data.resolution=8: loss.size=17: take at most 15",
        ),
        ({"loss": "proposed-blur", "task": "segmentation"}, r"loss=proposed-blur is not for task=segmentation"),
        (
            {"loss": {"type": "adversarial-blur", "harm": "features"}, "task": "restoration"},
            "loss=adversarial-blur is not for task=restoration, whose targets are sharp: set loss=l1 or l2",
        ),
        ({"loss": {"type": "proposed-blur", "harm": "features", "share": 1}}, "share=1 leaves no cross-entropy"),
        ({"loss": {"type": "adversarial-blur", "layer": "features"}}, "layer=features is of features: set harm=featur"),
        (
            {"loss": {"type": "proposed-blur", "harm": "features"}, "precision": {"compile": True}},
            "loss=proposed-blur looks at features, which a compiled network does not give: leave out precision.compile",
        ),
        ({"loss": "feature-distance", "precision": {"compile": True}}, "leave out precision.compile"),
        ({"early_stopping": {"patience": 1, "metric": "miou"}}, "early_stopping.metric=miou is unknown"),
    ],
)
def test_what_does_not_fit_together_is_said(overrides: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Settings.model_validate({"dataset": "d", "regime": "r", **overrides})
