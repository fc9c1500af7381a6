"""Accuracy under the worst blur."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn.functional import cosine_similarity, cross_entropy

from blurtrain.data.augment import Transform
from blurtrain.data.dataset import Dataset
from blurtrain.data.loader import ResidentLoader
from blurtrain.distributed import Group
from blurtrain.errors import SettingsError
from blurtrain.evaluation.images import Images
from blurtrain.evaluation.measures.adversarial_blur import AdversarialBlur, AdversarialFeatures
from blurtrain.evaluation.subject import Found, Subject
from blurtrain.models.trained import trained
from blurtrain.settings import Settings

CPU = torch.device("cpu")
Tiny = Callable[..., Settings]


def subject(prepared: Dataset, tiny: Tiny, batch_size: int = 4) -> Subject:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 5, 4), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 3)
    )
    settings = tiny(evaluation={"batch_size": batch_size})
    images = Images.of(prepared, settings.evaluation, settings.data.resolution)
    network = trained(module, settings, prepared, "of a test")
    loader = ResidentLoader(images.source, CPU)
    return Subject(network, images, loader, Transform.of(settings, prepared), Group(0, 1, CPU))


def measured(of: Subject, **options: Any) -> Found:
    measure = AdversarialBlur(**options)
    return measure.measure(of, measure.levels([]), per_image=True)


def test_the_worst_blur_harms_and_keeps_the_bound(prepared: Dataset, tiny: Tiny) -> None:
    of = subject(prepared, tiny)
    found = measured(of, distances=[0.1, 0.5], size=9, steps=4, restarts=1)
    rows = {(row["blur"], row["metric"]): row for row in found.rows}
    for bound in (0.1, 0.5):
        records = found.records[f"learnt-{bound:g}"]
        assert (records["distance"] <= bound + 1e-4).all() and (records["distance"] > 0).any()
        own = {name: rows[f"learnt-{bound:g}", name] for name in ("top1", "top1_sharp")}
        assert all(row["n"] == 9 for row in own.values())
        assert own["top1"]["count"] == records["top1"].sum() <= own["top1_sharp"]["count"]
    assert rows["learnt-0.5", "psnr"]["value"] < rows["learnt-0.1", "psnr"]["value"]
    module = of.network.module
    assert all(p.requires_grad and p.grad is None for p in module.parameters()), "the network is as it was"


def test_images_have_their_worst_blur_whatever_batch_they_are_in(prepared: Dataset, tiny: Tiny) -> None:
    options: dict[str, Any] = {"distances": [0.3], "size": 7, "steps": 3, "families": ["disk-8"]}
    one, other = (measured(subject(prepared, tiny, size), **options) for size in (2, 9))
    for level in ("learnt-0.3", "families-0.3"):
        for name in ("index", "top1", "top1_sharp"):
            np.testing.assert_array_equal(one.records[level][name], other.records[level][name])
        np.testing.assert_allclose(one.records[level]["psnr"], other.records[level]["psnr"], atol=0.05)


def test_of_families_the_blur_of_the_largest_loss_is_taken(prepared: Dataset, tiny: Tiny) -> None:
    of, families = subject(prepared, tiny), ["gaussian-8", "disk-20", "box-30"]
    records = measured(of, distances=[100], families=families, steps=1, size=3).records["families-100"]
    blurs = AdversarialBlur(families=families).families
    of.network.module.eval()
    for batch in of.images.batches(of.loader):
        assert batch is not None
        sharp = of.transform.resized(batch.images)
        shown = [sharp, *(of.transform.blurred_pixels(sharp, blur, batch.indices) for blur in blurs)]
        with torch.no_grad():
            logits = torch.stack([of.network.logits(of.transform.normalise(one)) for one in shown])
        labels = batch.labels
        worst = torch.stack([cross_entropy(one, labels, reduction="none") for one in logits]).argmax(0)
        right = logits[worst, torch.arange(len(labels))].argmax(1) == labels
        own = np.searchsorted(records["index"], batch.indices)
        np.testing.assert_array_equal(records["top1"][own], right.numpy())


@pytest.mark.parametrize("options", [{"size": 4}, {"distances": [0]}, {"distances": []}, {"families": ["dsk-4"]}])
def test_options_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AdversarialBlur(**options)


def test_a_kernel_wider_than_the_image_is_refused(prepared: Dataset, tiny: Tiny) -> None:
    of = subject(prepared, tiny)
    small = Subject(of.network, of.images, of.loader, Transform.of(tiny(data={"resolution": 16}), prepared), of.group)
    with pytest.raises(SettingsError, match="size=33 is too wide for images of 16 px"):
        measured(small, size=33)


# --- representations ------------------------------------------------------------------------------------------------


def features(of: Subject, **options: Any) -> Found:
    measure = AdversarialFeatures(**options)
    return measure.measure(of, measure.levels([]), per_image=True)


def test_the_representation_turns_more_the_more_may_change(prepared: Dataset, tiny: Tiny) -> None:
    of = subject(prepared, tiny)
    found = features(of, distances=[0.1, 0.5], size=9, steps=4, restarts=0)
    less, more = (found.records[f"learnt-{bound:g}"] for bound in (0.1, 0.5))
    assert (more["cosine"] <= less["cosine"] + 1e-6).mean() > 0.8 and more["cosine"].mean() < less["cosine"].mean() < 1
    assert (less["distance"] <= 0.1 + 1e-4).all() and (less["distance"] > 0).all()
    assert all(row["n"] == 9 for row in found.rows)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in of.network.module.modules())


def test_of_families_the_blur_of_the_largest_angle_is_taken(prepared: Dataset, tiny: Tiny) -> None:
    of, families = subject(prepared, tiny), ["gaussian-8", "disk-20", "box-30"]
    found = features(of, distances=[100], families=families, steps=1, size=3, layer="2").records["families-100"]
    of.network.module.eval()
    first = of.network.module[:3]  # type: ignore[index]
    for batch in of.images.batches(of.loader):
        assert batch is not None
        sharp = of.transform.resized(batch.images)
        shown = [
            of.transform.blurred_pixels(sharp, blur, batch.indices)
            for blur in AdversarialBlur(families=families).families
        ]
        with torch.no_grad():
            wanted, *others = (first(of.transform.normalise(one)).flatten(1).double() for one in (sharp, *shown))
        worst = torch.stack([cosine_similarity(one, wanted) for one in others]).amin(0)
        own = np.searchsorted(found["index"], batch.indices)
        np.testing.assert_allclose(found["cosine"][own], worst.numpy(), atol=1e-6)


def test_a_layer_that_is_none_is_told(prepared: Dataset, tiny: Tiny) -> None:
    with pytest.raises(SettingsError, match="adversarial-features: layer=stage: the network has no such module"):
        features(subject(prepared, tiny), layer="stage")
