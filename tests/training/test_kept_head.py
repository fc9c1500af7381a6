"""Pretrained networks whose outputs are kept: fine-tuned on a few of their classes, or measured as they are."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import safetensors.torch
import torch
from interruption import train_until

from blurtrain.data.augment import Transform
from blurtrain.data.dataset import open_dataset
from blurtrain.data.preparation import Recipe, prepare
from blurtrain.errors import BlurtrainError, DataError, SettingsError
from blurtrain.evaluation.runs import evaluate_run
from blurtrain.models import build
from blurtrain.models.trained import of_run
from blurtrain.run import Run
from blurtrain.settings import Settings, compose
from blurtrain.training.train import train

Tiny = Callable[..., Settings]
MOBILENET = "timm/mobilenetv2_035"
NAMES = ["a cat", "stripes", "a dog", "checks", "a cow", "a hen", "Rings"]
OF_CLASSES = np.array([3, 6, 1])
"""The output of each class of the tiny dataset: checks, rings, stripes."""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """`network.pretrained` of seven outputs, three of which are the classes of the tiny dataset."""
    torch.manual_seed(5)
    model = build(MOBILENET, len(NAMES)).train()
    for _ in range(5):
        model(torch.randn(8, 3, 64, 64))
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    safetensors.torch.save_file(model.state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"file": str(path), "sha256": digest, "head": "kept", "classes": NAMES}


def of(tiny: Tiny, pretrained: dict[str, Any], **parts: Any) -> Settings:
    network = {"architecture": MOBILENET, "pretrained": pretrained}
    return tiny(model="own", network=network, **{"loader": {"threads": 1}, **parts})


def measured(run: Run) -> dict[str, Any]:
    result = run.result()
    assert result
    found: dict[str, Any] = json.loads((run.evaluations / result["accuracy"]).read_text())
    return found


def of_the_file(pretrained: dict[str, Any], settings: Settings) -> tuple[torch.Tensor, np.ndarray]:
    """Logits of the file's own network on the sharp test images, and their labels as its outputs."""
    model = build(MOBILENET, len(NAMES)).eval()
    model.load_state_dict(safetensors.torch.load_file(pretrained["file"]))
    dataset = open_dataset(Path(settings.data.root), settings.dataset)
    images = dataset.evaluation_images("test", settings.data.resolution)
    pixels = torch.from_numpy(images.store.read(images.indices)).permute(0, 3, 1, 2)
    transform = Transform.of(settings, dataset)
    with torch.inference_mode():
        return model(transform.normalise(transform.resized(pixels))), OF_CLASSES[images.labels]


def test_without_an_epoch_the_network_is_measured_as_it_is(
    tiny: Tiny, kept: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = {"epochs": 0, "learning_rate_schedule": "step", "learning_rate_steps": [2], "ema": 0.9}
    settings = of(
        tiny, kept, optimisation=given, evaluation={"per_image": True, "sigmas": [0, 8]},
        curriculum={"schedule": "feature-smoothing", "at_test": True},
        validation={"every_epochs": 1, "keep_best": "top1"},
    )  # fmt: skip
    run = train(settings, tmp_path)
    after = safetensors.torch.load_file(run.weights)
    before = safetensors.torch.load_file(kept["file"])
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)
    assert run.result()["epochs"] == 0 and not run.best.exists()  # type: ignore[index]

    logits, labels = of_the_file(kept, settings)
    found = measured(run)
    sharp = {row["metric"]: row for row in found["rows"] if row["blur"] == "sharp"}
    assert found["classes"] == len(NAMES) and found["n"] == len(labels) == 9 and found["epoch"] == 0
    right = logits.argmax(1).numpy() == labels
    assert sharp["top1"]["count"] == right.sum()
    expected = torch.nn.functional.cross_entropy(logits.double(), torch.from_numpy(labels)).item()
    assert sharp["cross_entropy"]["value"] == pytest.approx(expected, rel=1e-4)
    records = pyarrow.parquet.read_table(next(run.evaluations.glob("*.parquet"))).to_pandas()
    records = records[records["blur"] == "sharp"]
    assert (records["label"] == labels).all() and (records["correct"] == right).all()
    assert (records["prediction"] == logits.argmax(1).numpy()).all()
    assert not [r.message for r in caplog.records if "too few epochs" in r.message]

    for path in run.evaluations.glob("*"):
        path.unlink()
    (again,) = evaluate_run(run.path)
    assert again["rows"] == found["rows"] and again["classes"] == len(NAMES)
    named = of_run(run.path)
    assert named.classes == tuple(NAMES)
    restricted = named.restricted(["checks", "rings", "stripes"])
    assert restricted.outputs == tuple(OF_CLASSES)


@pytest.mark.parametrize("kind", ["resident", "pytorch"])
def test_training_is_towards_the_outputs_that_the_classes_are(
    tiny: Tiny, kept: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    """A head whose outputs are in another order learns, row by row, what one in the order of the classes does."""
    order = [2, 0, 1]  # of the classes, as the kept head has them
    state = safetensors.torch.load_file(kept["file"])
    heads = {name: state[name][:3] for name in ("classifier.weight", "classifier.bias")}
    runs = []
    for rows, head in (([0, 1, 2], {}), (order, {"head": "kept", "classes": ["stripes", "checks", "rings"]})):
        path = tmp_path / f"{len(runs)}.safetensors"
        safetensors.torch.save_file(state | {name: head[rows] for name, head in heads.items()}, path)
        pretrained = {"file": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), **head}
        settings = of(
            tiny, pretrained, logging={"every_steps": 1},
            # Small steps, as larger ones make as much as they like of what sums of another order round off.
            optimisation={"batch_norm": "frozen", "optimiser": "sgd", "learning_rate": 1e-5},
            validation={"every_epochs": 1}, loader={"kind": kind, "workers": 1, "threads": 1},
        )  # fmt: skip
        runs.append(train(settings, tmp_path / "runs"))
    plain, mapped = [[e for e in run.journal() if e["event"] in ("step", "validation")] for run in runs]
    assert len(plain) == len(mapped) == 6 + 2
    for one, other in zip(plain, mapped, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-4) and other["top1"] == one["top1"]
    (look,), (same,) = ([e for e in run.journal() if e["event"] == "pretrained"] for run in runs)
    assert look["head"] == same["head"] and look["loss"] == pytest.approx(same["loss"], rel=1e-5)
    counts = [[row.get("count") for row in measured(run)["rows"]] for run in runs]
    assert counts[0] == counts[1]
    first, second = (safetensors.torch.load_file(run.weights)["classifier.weight"] for run in runs)
    assert torch.allclose(first[order], second, atol=1e-5) and not torch.allclose(first, second, atol=1e-2)


def test_a_kept_head_is_resumed_with_the_same_bits(tiny: Tiny, kept: dict[str, Any], tmp_path: Path) -> None:
    settings = of(tiny, kept, checkpoints={"every_minutes": 0})
    whole = train(settings, tmp_path / "whole")
    train_until(4, settings, tmp_path / "parts")
    parts = train(settings, tmp_path / "parts")
    assert parts.weights.read_bytes() == whole.weights.read_bytes() and measured(parts) == measured(whole)


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"classes": [*NAMES[:-1], "a pig"]}, DataError, "has no class 'rings'"),
        ({"classes": [*NAMES, "a pig"]}, DataError, "has 7 outputs, but network.pretrained.head=kept is of 8"),
        ({"classes": None}, DataError, "has no class 'checks' .nor 2 others of 3.*WordNet id"),
    ],
)
def test_outputs_that_do_not_fit_are_refused_in_a_line(
    tiny: Tiny, kept: dict[str, Any], tmp_path: Path, changed: dict[str, Any], error: type[BlurtrainError], words: str
) -> None:
    with pytest.raises(error, match=rf"^[^\n]*{words}[^\n]*$"):
        train(of(tiny, {**kept, **changed}), tmp_path / "runs")


@pytest.mark.parametrize(
    ("changed", "epochs", "words"),
    [
        ({"head": "replaced", "classes": None}, 0, "epochs=0 takes .* as it is: set network.pretrained.head=kept"),
        ({"head": "replaced"}, 2, "classes goes with head=kept"),
        ({"last_layer": "zero"}, 2, "last_layer=zero is of a head that is replaced"),
    ],
)
def test_settings_that_contradict_each_other(
    tiny: Tiny, kept: dict[str, Any], changed: dict[str, Any], epochs: int, words: str
) -> None:
    with pytest.raises(SettingsError, match=rf"^[^\n]*{words}[^\n]*$"):
        of(tiny, {**kept, **changed}, optimisation={"epochs": epochs})


@pytest.mark.parametrize(
    ("groups", "moves"),
    [
        ([{"match": "conv_stem.*"}, {"match": "*", "frozen": True}], {"conv_stem.weight"}),  # Zhou et al. 2017
        ([{"match": "classifier.*"}, {"match": "*", "frozen": True}], {"classifier.weight", "classifier.bias"}),
    ],
    ids=["first layer", "head"],
)
def test_one_layer_alone_by_the_protocol_of_two_epochs_and_one_at_a_tenth(
    tiny: Tiny, kept: dict[str, Any], tmp_path: Path, groups: list[dict[str, Any]], moves: set[str]
) -> None:
    """Vasiljevic et al. 2016: SGD with momentum, two epochs at one rate and one at a tenth of it."""
    optimisation = {
        "optimiser": "sgd", "momentum": 0.9, "learning_rate": 1e-3, "learning_rate_schedule": "step", "epochs": 3,
        "learning_rate_steps": [2], "warmup_epochs": 0, "weight_decay": 0, "batch_norm": "frozen", "groups": groups,
    }  # fmt: skip
    run = train(of(tiny, kept, optimisation=optimisation), tmp_path)
    before, after = safetensors.torch.load_file(kept["file"]), safetensors.torch.load_file(run.weights)
    assert {name for name, tensor in after.items() if not torch.equal(tensor, before[name])} == moves
    rates = [event["learning_rate"] for event in run.journal() if event["event"] == "epoch"]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4])


@pytest.mark.images
@pytest.mark.slow
def test_the_mobilenet_of_imagenet_as_it_is(images_root: Path, tmp_path: Path) -> None:
    """Of its 1000 outputs the right one wins for more than half of 50 photographs, whose folders are WordNet ids."""
    for split in ("train", "val"):
        for folder in sorted((images_root / "imagenette" / split).iterdir()):
            (tmp_path / "tree" / split / folder.name).mkdir(parents=True)
            for image in sorted(folder.iterdir())[:5]:
                (tmp_path / "tree" / split / folder.name / image.name).symlink_to(image)
    prepare(tmp_path / "data", "imagenette", Recipe(images=str(tmp_path / "tree"), resolution=224))
    (path,) = (images_root / "weights").glob("mobilenetv2_100*.pth")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    document = {
        "dataset": "imagenette", "regime": "clear", "model": "mobilenet",
        "data": {"root": str(tmp_path / "data"), "mean": [0.5] * 3, "sd": [0.5] * 3},
        "network": {"architecture": "timm/mobilenetv2_100", "arguments": {"pad_type": "same"},
                    "pretrained": {"file": str(path), "sha256": digest, "head": "kept"}},
        "optimisation": {"batch_norm": "frozen", "epochs": 0, "batch_size": 50},
        "evaluation": {"split": "val", "sigmas": [0], "blurs": ["disk-8"]}, "logging": {"tensorboard": False},
    }  # fmt: skip
    found = measured(train(compose(document, "test"), tmp_path / "runs"))
    right = {row["blur"]: row["count"] for row in found["rows"] if row["metric"] == "top1"}
    assert found["classes"] == 1000 and found["n"] == 50
    assert right["sharp"] > 25 > right["disk-8"], right
