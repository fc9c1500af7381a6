"""Sharp and blurred activations, against the same computed by NumPy, whole and one image at a time."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evaluators
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d, relu

from blurtrain.blur.blurs import Blur
from blurtrain.data.augment import Transform
from blurtrain.data.dataset import Dataset
from blurtrain.data.loader import ResidentLoader
from blurtrain.distributed import Group
from blurtrain.errors import SettingsError
from blurtrain.evaluation.images import Images
from blurtrain.evaluation.measures.features import Features
from blurtrain.evaluation.named import measure_named
from blurtrain.evaluation.subject import Found, Subject
from blurtrain.evaluation.views import at_its_size, eight_bit_blurred, scaled
from blurtrain.models.trained import trained
from blurtrain.settings import Settings
from blurtrain.training.train import train

CPU = torch.device("cpu")
Tiny = Callable[..., Settings]
LEVELS = {"sigmas": [0, 2], "blurs": ["disk-8"], "batch_size": 4}


class TwoStages(nn.Module):
    """A convolution, rectified in place; a pooling; another one; means over places."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.pool, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(8, 5, 1)
        self.rectified = nn.ReLU(inplace=True)
        self.last = nn.Linear(5, 3)

    def forward(self, images: Tensor) -> Tensor:
        features = self.rectified(self.second(self.pool(self.rectified(self.first(images)))))
        return self.last(features.mean((2, 3)))

    def stages(self, images: Tensor) -> list[Tensor]:
        """What its two stages are, by other means: [N, C, H, W]."""
        first = relu(conv2d(images, self.first.weight, self.first.bias, padding=1))
        return [first, relu(conv2d(max_pool2d(first, 2), self.second.weight, self.second.bias))]


def subject(dataset: Dataset, settings: Settings, module: nn.Module) -> Subject:
    images = Images.of(dataset, settings.evaluation, settings.data.resolution)
    loader = ResidentLoader(images.source, CPU)
    transform = Transform.of(settings, dataset)
    network = trained(module, settings, dataset, "of a test")
    return Subject.of(network, images, loader, transform, Group(0, 1, CPU), settings.evaluation)


def found(dataset: Dataset, settings: Settings, module: nn.Module, per_image: bool = False, **options: Any) -> Found:
    return Features(**options).measure(subject(dataset, settings, module), settings.levels, per_image)


def values(outcome: Found, blur: str) -> dict[str, float]:
    return {row["metric"]: row["value"] for row in outcome.rows if row["blur"] == blur}


@torch.inference_mode()
def activations(dataset: Dataset, settings: Settings, blur: Blur) -> list[NDArray[np.float64]]:
    """Of each stage [N, H, W, C], one image at a time."""
    source = dataset.evaluation_images("test", 64)
    transform, net, each = Transform.of(settings, dataset), TwoStages(), []
    for index in source.indices:
        image = transform.resized(torch.from_numpy(source.store.read(np.array([index]))).permute(0, 3, 1, 2))
        each.append(net.stages(transform.normalise(blur.blurred(image, [index], resolution=64))))
    return [torch.cat(maps).permute(0, 2, 3, 1).double().numpy() for maps in zip(*each, strict=True)]


def cka(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Kornblith et al. (2019), features x features."""
    a, b = (own.reshape(-1, own.shape[-1]) for own in (a, b))
    a, b = a - a.mean(0), b - b.mean(0)
    return float(np.sum((b.T @ a) ** 2) / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)))


def test_each_stage_is_compared_as_numpy_does(prepared: Dataset, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blurtrain.evaluation.measures.features.NUMBERS", 64 * 64 * 8 * 3)  # two images at a time
    settings = tiny(evaluation=LEVELS)
    outcome = found(prepared, settings, TwoStages(), per_image=True, examples=2)
    sharp = activations(prepared, settings, settings.levels[0])
    for blur in settings.levels[1:]:
        row, records, arrays = values(outcome, blur.label), outcome.records[blur.label], outcome.arrays[blur.label]
        for k, (a, b) in enumerate(zip(sharp, activations(prepared, settings, blur), strict=True), 1):
            differ = (a > 0) != (b > 0)
            np.testing.assert_allclose(records[f"hamming.stage{k}"], differ.mean((1, 2, 3)), atol=1e-4)
            assert row[f"hamming.stage{k}"] == pytest.approx(records[f"hamming.stage{k}"].mean(), abs=1e-12)
            np.testing.assert_allclose(arrays[f"hamming.stage{k}"], differ.mean((0, 3)), atol=2e-2)
            np.testing.assert_allclose(arrays[f"hamming.stage{k}"].mean(), row[f"hamming.stage{k}"], rtol=1e-5)
            np.testing.assert_allclose(arrays[f"hamming.stage{k}.examples"], differ[[0, 4]].mean(3), atol=0.2001)
            norms = np.sqrt((a**2).sum((1, 2, 3)) * (b**2).sum((1, 2, 3)))
            cosines = (a * b).sum((1, 2, 3)) / norms
            np.testing.assert_allclose(records[f"cosine.stage{k}"], cosines, atol=1e-5)
            assert row[f"cosine.stage{k}"] == pytest.approx(cosines.mean(), abs=1e-6)
            assert row[f"cka.stage{k}"] == pytest.approx(cka(a, b), abs=1e-5)
            assert 0.01 < row[f"hamming.stage{k}"] < 0.9 and row[f"cka.stage{k}"] < 0.999
        assert records["index"].tolist() == prepared.evaluation_images("test", 64).indices.tolist()
    shown = outcome.arrays["sharp"]["examples"]
    assert outcome.arrays["sharp"]["examples.index"].tolist() == records["index"][[0, 4]].tolist()
    source = prepared.evaluation_images("test", 64).store.read(records["index"][[0, 4]])
    resized = Transform.of(settings, prepared).resized(torch.from_numpy(source).permute(0, 3, 1, 2))
    assert (shown == resized.permute(0, 2, 3, 1).numpy()).all()


def test_the_same_images_are_exactly_alike(prepared: Dataset, tiny: Tiny) -> None:
    outcome = found(prepared, tiny(evaluation={"sigmas": [0], "batch_size": 4}), TwoStages(), examples=0)
    assert values(outcome, "sharp") == {
        f"{metric}.stage{k}": value for k in (1, 2) for metric, value in (("hamming", 0), ("cosine", 1), ("cka", 1))
    }
    assert [row["layer"] for row in outcome.rows[::3]] == ["rectified", "rectified"]
    assert {row["n"] for row in outcome.rows} == {9} and not outcome.records
    assert set(outcome.arrays["sharp"]) == {"hamming.stage1", "hamming.stage2"}


def test_what_never_varies_is_defined(prepared: Dataset, tiny: Tiny) -> None:
    """A stage that is always 0: nothing differs, and both maps point nowhere alike."""
    module = TwoStages()
    nn.init.zeros_(module.second.weight)
    nn.init.constant_(module.second.bias, -1)
    row = values(found(prepared, tiny(evaluation=LEVELS), module), "disk-8")
    assert [row[f"{name}.stage2"] for name in ("hamming", "cosine", "cka")] == [0, 1, 1]


def test_nan_is_reported_and_not_averaged(prepared: Dataset, tiny: Tiny) -> None:
    module = TwoStages()
    nn.init.constant_(module.second.bias, float("nan"))
    module.train()
    outcome = found(prepared, tiny(evaluation=LEVELS), module)
    for row in outcome.rows:
        bad = row["metric"].endswith("stage2")
        assert (row["value"] is None) == bad and row.get("not_finite", 0) == (9 if bad else 0)
    assert "hamming.stage2" not in outcome.arrays["disk-8"] and "hamming.stage1" in outcome.arrays["disk-8"]


def test_the_network_is_left_as_it_was(prepared: Dataset, tiny: Tiny) -> None:
    module = TwoStages().train()
    own = subject(prepared, tiny(evaluation=LEVELS), module)
    module.train()
    Features().measure(own, tiny(evaluation=LEVELS).levels, False)
    assert module.training and module.first.training
    assert not any(part._forward_hooks for part in module.modules())


def test_scales_are_those_of_the_protocol_or_given(prepared: Dataset, tiny: Tiny) -> None:
    """The maps of an image at a scale, blurred at 96 px and rounded."""
    protocol = {"defined_at": 96, "scales": [80, 48]}
    settings = tiny(evaluation={"sigmas": [0], "blurs": ["disk-8"], "batch_size": 9, "protocol": protocol})
    module = TwoStages()
    own = subject(prepared, settings, module)
    outcome = Features().measure(own, settings.levels, False)
    assert list(values(outcome, "sharp"))[::3] == [f"hamming.stage{k}@{scale}" for scale in (80, 48) for k in (1, 2)]
    assert outcome.arrays["disk-8"]["hamming.stage2@48"].shape == (24, 24)
    images = own.images.source
    first = torch.from_numpy(images.store.read(images.indices)).permute(0, 3, 1, 2)
    large = at_its_size(first, own.transform)
    maps = []
    for blur in settings.levels:
        blurred = eight_bit_blurred(large, blur, images.indices, own.transform)
        with torch.inference_mode():
            maps.append(module.stages(own.transform.normalise(scaled(blurred, 0.5, "bilinear")))[1])
    expected = ((maps[0] > 0) != (maps[1] > 0)).double().mean()
    assert values(outcome, "disk-8")["hamming.stage2@48"] == pytest.approx(float(expected), abs=1e-4)
    only = Features(scales=(48,)).measure(own, settings.levels, False)
    assert values(only, "disk-8")["hamming.stage2"] == values(outcome, "disk-8")["hamming.stage2@48"]


def test_named_layers_are_called_by_their_names(prepared: Dataset, tiny: Tiny) -> None:
    settings = tiny(evaluation=LEVELS)
    module = TwoStages()
    own = values(found(prepared, settings, module, layers=("second", "last")), "disk-8")
    assert list(own) == [f"{metric}.{layer}" for layer in ("second", "last") for metric in ("hamming", "cosine", "cka")]
    whole = values(found(prepared, settings, module), "disk-8")
    assert own["hamming.second"] == whole["hamming.stage2"]  # a rectifier keeps what is above 0
    assert own["cosine.second"] != pytest.approx(whole["cosine.stage2"], abs=1e-3)  # as it was before the rectifier
    with pytest.raises(SettingsError, match=r"has no layer 'secnd'; did you mean 'second'\?"):
        found(prepared, settings, module, layers=("secnd",))


def test_a_scale_that_the_layers_do_not_take_is_one_line(prepared: Dataset, tiny: Tiny) -> None:
    class Large(TwoStages):
        def forward(self, images: Tensor) -> Tensor:
            if images.shape[-1] < 32:
                raise ValueError("images must have 32 px\nor more")
            return super().forward(images)

    with pytest.raises(SettingsError, match=r"scale 16 is none that its layers take \(images must have 32 px\)"):
        found(prepared, tiny(evaluation=LEVELS), Large(), scales=(64, 16))


def test_it_goes_with_a_protocol_and_not_with_an_ensemble() -> None:
    assert measure_named("features scales=64,128", "evaluation.protocol").identity == {
        "measure": "features",
        "options": {"scales": [64, 128]},
    }
    with pytest.raises(SettingsError, match=r"measure features: does not go with an ensemble"):
        measure_named("features", "an ensemble")
    with pytest.raises(SettingsError, match=r"measure features: scales\.0: .*greater than or equal to 8"):
        measure_named("features scales=4")


@pytest.mark.slow
def test_two_processes_find_what_one_does(tiny: Tiny, tmp_path: Path) -> None:
    settings = tiny(optimisation={"epochs": 1, "warmup_epochs": 0}, evaluation={"batch_size": 2})
    run = train(settings, tmp_path / "runs").path
    documents, arrays = [], []
    for ranks in (1, 2):
        words = [run, "--measure", "features", "--json", "evaluation.sigmas=[0,4]", "evaluation.per_image=true"]
        ended = evaluators.run(words, tmp_path / f"log-{ranks}", ranks)
        assert [code for code, _ in ended] == [0] * ranks, ended
        documents.append(json.loads(next(line for line in ended[0][1].splitlines() if line.startswith("{"))))
        (path,) = (run / "evaluations").glob("features-*.npz")
        arrays.append(dict(np.load(path)))
        for file in (run / "evaluations").glob("features-*"):
            file.unlink()
    one, two = documents
    assert len(one["rows"]) == 2 * 4 * 3
    for a, b in zip(one["rows"], two["rows"], strict=True):
        exact = a["metric"].startswith("hamming")
        assert a | {"value": 0} == b | {"value": 0}
        assert a["value"] == (b["value"] if exact else pytest.approx(b["value"], abs=1e-6))
    assert arrays[0].keys() == arrays[1].keys()
    assert all((arrays[0][name] == arrays[1][name]).all() for name in arrays[0])
