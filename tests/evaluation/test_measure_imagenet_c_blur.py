"""Corruption errors against the same computed by hand, one image and level at a time."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from test_accuracy import MeanColour, subject
from torch import Tensor, nn
from torch.nn.functional import interpolate

from blurtrain.blur.blurs import Blur
from blurtrain.data.dataset import Dataset
from blurtrain.errors import SettingsError
from blurtrain.evaluation.measures.imagenet_c_blur import ALEXNET, ImageNetCBlur, linear
from blurtrain.evaluation.named import measure_named
from blurtrain.evaluation.subject import Found
from blurtrain.settings import Settings

Tiny = Callable[..., Settings]
FAMILIES = ("defocus", "glass", "motion", "zoom", "gaussian")


class Edges(nn.Module):
    """Takes an image for one class or another by how strong its edges are, which a blur lowers: at every level others
    are right."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(100.0))

    def forward(self, images: Tensor) -> Tensor:
        strength = (images.diff(dim=3).abs().mean((1, 2, 3)) * self.weight).long()
        return torch.eye(3)[strength % 3]


def by_name(found: Found) -> dict[str, Any]:
    return {row["metric"]: row.get("count", row.get("value")) for row in found.rows}


@pytest.fixture
def settings(tiny: Tiny) -> Settings:
    """Five images: each is blurred in 25 ways at 224 px."""
    return tiny(evaluation={"batch_size": 5, "drop_last": True})


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def measured(dataset: Dataset, settings: Settings, form: str = "exact", per_image: bool = True, **more: Any) -> Found:
    measure = ImageNetCBlur.model_validate({"form": form})
    return measure.measure(subject(dataset, settings, **more), measure.levels([]), per_image)


def test_the_formula_of_the_paper() -> None:
    """With AlexNet's own errors every corruption error is 1, and so is their mean; Gaussian counts in none."""
    rng = np.random.default_rng(0)
    wrong = {f"error-{family}-{s}": rng.random(50) < 0.7 for family in FAMILIES for s in range(1, 6)}
    values = {name: of.mean() for name, of in linear(wrong | {"error-sharp": rng.random(50) < 0.3}).items()}
    expected = []
    for family, alexnet in ALEXNET.items():
        total = sum(wrong[f"error-{family}-{s}"].mean() for s in range(1, 6))
        assert values[f"ce-{family}"] == pytest.approx(total / (5 * alexnet))
        assert values[f"error-{family}"] == pytest.approx(total / 5)
        expected.append(total / 5)
    assert values["blur-mCE"] == pytest.approx(np.mean(np.divide(expected, list(ALEXNET.values()))))
    assert values["blur-mCE-unnormalised"] == pytest.approx(np.mean(expected))
    assert {round(a, 6) for a in ALEXNET.values()} == {0.81988, 0.826268, 0.785948, 0.79836}


@pytest.mark.parametrize("form", ["exact", "published"])
def test_errors_are_those_of_each_image_by_itself(prepared: Dataset, settings: Settings, form: str) -> None:
    found = measured(prepared, settings, form, module=Edges())
    values = by_name(found)
    assert {row["n"] for row in found.rows} == {5} and {row["blur"] for row in found.rows} == {"imagenet-c-blur"}
    assert not any("mCE" in name and "blur" not in name for name in values), "mCE is over fifteen corruptions"
    source = prepared.evaluation_images("test", 64)
    at = subject(prepared, settings, module=Edges())
    for label, name in (("defocus-2", "error-defocus-2"), ("glass-5", "error-glass-5"), ("sharp", "error-sharp")):
        blur = Blur.parse(f"{label}-published" if form == "published" and label != "sharp" else label)
        wrong = []
        for index, truth in zip(source.indices[:5], source.labels[:5], strict=True):
            image = torch.from_numpy(source.store.read(np.array([index]))).permute(0, 3, 1, 2).float()
            large = interpolate(image, [224, 224], mode="bilinear", antialias=True).round().clamp(0, 255)
            seen = blur.blurred(large, [int(index)], resolution=224)
            small = interpolate(seen, [64, 64], mode="bilinear", antialias=True)
            wrong.append(bool(at.network.logits(at.transform.normalise(small)).argmax() != truth))
        assert values[name] == sum(wrong)
        assert found.records["imagenet-c-blur"][name].tolist() == wrong
    records = found.records["imagenet-c-blur"]
    assert records["index"].tolist() == source.indices[:5].tolist()
    assert records["label"].tolist() == source.labels[:5].tolist()
    for name, value in values.items():
        assert records[name].mean() == pytest.approx(value / 5 if isinstance(value, int) else value)
    assert len({values[f"error-defocus-{severity}"] for severity in range(1, 6)} | {values["error-sharp"]}) > 1


def test_a_network_of_224_px_sees_the_blurred_pixels_themselves(prepared: Dataset, tiny: Tiny) -> None:
    """Of 256, cut to 224 before the blur: what is published is for such a square."""
    seen: list[Tensor] = []

    class Watching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3))

        def forward(self, images: Tensor) -> Tensor:
            seen.append(images)
            return images.mean((2, 3)) * self.weight

    one = tiny(data={"resolution": 256}, evaluation={"batch_size": 2, "drop_last": True, "split": "val"})
    at = subject(prepared, one, module=Watching())
    whole = at.transform.resized(next(iter(at.images.batches(at.loader))).images)
    network = replace(at.network, preprocessing=replace(at.network.preprocessing, crop=224))
    measure = ImageNetCBlur.model_validate({"form": "published"})
    measure.measure(replace(at, network=network), measure.levels([]), False)
    assert len(seen) == 26 and {tuple(images.shape) for images in seen} == {(2, 3, 224, 224)}
    expected = Blur.parse("motion-3-published").blurred(whole[..., 16:240, 16:240], at.images.indices, resolution=224)
    normal = at.transform.normalise(expected)
    assert any(torch.equal(images, normal) for images in seen)


def test_outputs_that_are_not_finite_are_wrong_and_not_averaged(prepared: Dataset, settings: Settings) -> None:
    class Broken(MeanColour):
        def forward(self, images: Tensor) -> Tensor:
            logits = super().forward(images)
            return torch.where(images.flatten(1).amax(1, keepdim=True) > 1.7, torch.nan, logits)

    found = measured(prepared, settings, module=Broken(3))
    values = by_name(found)
    bad = found.rows[0]["not_finite"]
    assert 0 < bad <= 5 and {row["not_finite"] for row in found.rows} == {bad}
    assert values["blur-mCE"] is None and values["ce-zoom"] is None and values["error-sharp"] >= 1


def test_options_and_what_it_does_not_go_with() -> None:
    named = measure_named("imagenet-c-blur form=published")
    assert named.identity == {"measure": "imagenet-c-blur", "options": {"form": "published"}}
    assert named.kind.model_validate(named.options).levels([Blur.parse("disk-4")]) == ["imagenet-c-blur"]
    with pytest.raises(SettingsError, match=r"measure imagenet-c-blur: form: .*'exact' or 'published'"):
        measure_named("imagenet-c-blur form=jpeg")
    with pytest.raises(SettingsError, match=r"does not go with evaluation\.protocol"):
        measure_named("imagenet-c-blur", "evaluation.protocol")
