"""A look at pretrained weights before the first step: right figures, warnings where they are due, and no trace left."""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from blurtrain.data.augment import Transform
from blurtrain.data.dataset import Dataset
from blurtrain.data.preparation import Recipe, prepare
from blurtrain.evaluation import first_look as module
from blurtrain.evaluation.first_look import FirstLook, class_mean_accuracy, first_look, sample
from blurtrain.models import build
from blurtrain.settings import Settings, compose

Tiny = Callable[..., Settings]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # so little work is slower with more, most of all beside other programs
    yield
    torch.set_num_threads(before)


def one_by_one(features: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The definition: every image against the means of all others."""
    right = 0
    for i in range(len(labels)):
        others = np.arange(len(labels)) != i
        means = {c: features[others & (labels == c)].mean(0) for c in np.unique(labels)}
        right += min(means, key=lambda c: float(((features[i] - means[c]) ** 2).sum())) == labels[i]
    return right / len(labels)


@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0])
def test_the_nearest_class_mean_leaves_each_image_out(spread: float) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([2, 5, 11], [2, 9, 20])[rng.permutation(31)]
    features = 1e3 + labels[:, None] * 0.3 + rng.normal(0, spread, (31, 4))
    expected = one_by_one(features, labels)
    assert class_mean_accuracy(torch.from_numpy(features), labels) == pytest.approx(expected)
    assert (expected == 1) == (spread == 0.1)


def test_features_without_sense_are_at_chance() -> None:
    labels = np.repeat(np.arange(4), 50)
    noise = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    assert class_mean_accuracy(noise, labels) < 0.35
    assert class_mean_accuracy(torch.zeros(200, 8), labels) <= 0.25
    assert class_mean_accuracy(torch.full((200, 8), math.nan), labels) == 0
    one_bad = torch.eye(4)[labels]
    one_bad[0] = math.inf  # and so is the mean of its class
    assert class_mean_accuracy(one_bad, labels) == 0


def test_images_are_spread_over_classes_and_within_them(prepared: Dataset) -> None:
    indices, labels = sample(prepared)
    known = dict(zip(*prepared.split("train"), strict=True))
    assert [known[i] for i in indices] == list(labels) and len(set(indices)) == len(indices) == 30
    assert set(labels[:3]) == set(labels[-3:]) == {0, 1, 2}, "class by class in turn, so that batches hold all"


def test_at_most_200_images_of_20_classes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    labels = np.repeat(np.arange(60), 40)
    labels[:39] = 1  # class 0 has but one image
    dataset = Dataset(tmp_path)
    monkeypatch.setattr(Dataset, "split", lambda *_: (np.arange(len(labels)) * 3, labels))
    indices, chosen = sample(dataset)
    classes, counts = np.unique(chosen, return_counts=True)
    assert len(classes) == 20 and classes[0] == 1 and classes[-1] == 59 and set(counts) == {10}
    assert (labels[indices // 3] == chosen).all()
    within = np.sort(indices[chosen == 59]) // 3
    assert within[0] == 59 * 40 and within[-1] == 60 * 40 - 1
    monkeypatch.setattr(Dataset, "split", lambda *_: (np.arange(5), np.array([0, 1, 2, 3, 3])))
    assert len(sample(dataset)[0]) == 0, "one class with two images: nothing to compare"


# --- warnings -------------------------------------------------------------------------------------------------------

GOOD = FirstLook(
    n=200,
    classes=10,
    drawn=0.2,
    loaded=0.7,
    batch=0.68,
    head=None,
    loss=2.4,
    all_classes=10,
    identity=False,
    normalisation=((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
    usual=((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"batch": None},
        {"usual": None},
        {"drawn": 0.9, "loaded": 0.9, "batch": 0.85},  # classes that any features tell apart
        {"drawn": 0.1, "loaded": 0.4, "batch": 0.4},  # a hard task
        {"head": 0.8, "loss": 30},
        {"classes": 2, "all_classes": 2, "drawn": 0.55, "loaded": 0.8, "batch": 0.8, "loss": 0.7},
        {"loaded": 0.1},  # running statistics that training replaces
    ],
)
def test_no_warning_where_weights_behave(changes: dict[str, Any]) -> None:
    assert replace(GOOD, **changes).warnings() == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"loaded": 0.12, "batch": 0.2},
            ["near chance: the usual cause is normalisation", "set data.mean and data.sd"],
        ),
        ({"loaded": 0.3, "batch": None}, ["pretrained 30.0 %, freshly drawn 20.0 %, chance 10.0 %", "200 training"]),
        ({"loaded": 0.3, "batch": None}, ["this run has mean [0.5, 0.5, 0.5], sd", "want mean [0.485, 0.456, 0.406]"]),
        ({"loaded": 0.3, "batch": None, "identity": True}, ["lacks the running statistics"]),
        ({"loaded": 0.1, "batch": 0.1, "head": 0.1, "loss": 30}, ["the usual cause is normalisation"]),
        ({"batch": 0.11}, ["do not work with the batch statistics of training: set optimisation.batch_norm=frozen"]),
        ({"batch": 0.11, "identity": True}, ["folded into their convolutions", "batch_norm=frozen", "62.0 %"]),
        ({"loss": 17.6}, ["begins at a loss of 17.6 (guessing: 2.3, n = 200)", "network.pretrained.last_layer=zero"]),
        ({"head": 0.12}, ["last layer of the pretrained weights was kept, and is right for 12.0 %", "another order"]),
    ],
)
def test_each_fault_is_one_line_with_its_figures_its_cause_and_its_cure(
    changes: dict[str, Any], said: list[str]
) -> None:
    (line,) = replace(GOOD, **{"loaded": 0.62, **changes}).warnings()
    assert "\n" not in line
    for words in said:
        assert words in line


# --- networks -------------------------------------------------------------------------------------------------------

RESNET = "timm/resnet18"


def look_at(settings: Settings, dataset: Dataset, sharing: int | None = 10) -> FirstLook:
    look = first_look(settings.network, dataset, Transform.of(settings, dataset), sharing, CPU)
    assert look
    return look


def with_weights(tiny: Tiny, folder: Path, state: dict[str, Tensor], last: str = "drawn", **network: Any) -> Settings:
    torch.save(state, folder / "w.pt")
    digest = hashlib.sha256((folder / "w.pt").read_bytes()).hexdigest()
    pretrained = {"file": str(folder / "w.pt"), "sha256": digest, "last_layer": last}
    return tiny(model="own", seed=3, network={"architecture": RESNET, "pretrained": pretrained, **network})


def drawn(classes: int = 7) -> dict[str, Tensor]:
    torch.manual_seed(5)
    return build(RESNET, classes).state_dict()


def test_what_a_look_finds_is_what_the_network_does(tiny: Tiny, prepared: Dataset, tmp_path: Path) -> None:
    settings = with_weights(tiny, tmp_path, drawn())
    look = look_at(settings, prepared)
    indices, labels = sample(prepared)
    transform = Transform.of(settings, prepared)
    pixels = torch.from_numpy(prepared.store.read(indices)).permute(0, 3, 1, 2)
    images = transform.normalise(transform.resized(pixels))
    torch.manual_seed(3)
    model = build(RESNET, 3)
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def features(training: bool) -> NDArray[np.float64]:
        model.train(training)
        with torch.no_grad():
            groups = images.tensor_split(3) if training else images[:, None]
            return torch.cat([model.forward_head(model.forward_features(x), pre_logits=True) for x in groups]).numpy()

    def logits() -> Tensor:
        with torch.no_grad():
            return torch.cat([model(x) for x in images.tensor_split(3)])

    expected = [one_by_one(features(False), labels)]
    model.load_state_dict({**own, **{n: t for n, t in drawn().items() if not n.startswith("fc.")}})
    expected.append(one_by_one(features(False), labels))
    model.train()
    loss = cross_entropy(logits(), torch.from_numpy(labels))
    expected.append(one_by_one(features(True), labels))
    assert [look.drawn, look.loaded, look.batch] == pytest.approx(expected)
    assert look.loss == pytest.approx(float(loss), rel=1e-4)
    assert (look.n, look.classes, look.all_classes, look.head, look.identity) == (30, 3, 3, None, True)
    assert look.usual == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert look.normalisation == (prepared.manifest["mean"], prepared.manifest["sd"])
    assert look_at(settings, prepared, None).batch is None


def test_a_look_leaves_the_random_state_alone_and_is_the_same_again(
    tiny: Tiny, prepared: Dataset, tmp_path: Path
) -> None:
    settings = with_weights(tiny, tmp_path, drawn())
    torch.manual_seed(11)
    before = torch.get_rng_state()
    looks = [look_at(settings, prepared) for _ in range(2)]
    assert looks[0] == looks[1] and torch.equal(torch.get_rng_state(), before)


def folded() -> dict[str, Tensor]:
    """As where batch norm was folded: great features less a great bias, which at unit variance leaves nothing."""
    state = drawn()
    state["conv1.weight"] *= 100
    state["bn1.bias"] -= 20
    return state


def test_weights_that_batch_statistics_destroy_are_found_out(tiny: Tiny, prepared: Dataset, tmp_path: Path) -> None:
    settings = with_weights(tiny, tmp_path, folded())
    look = look_at(settings, prepared)
    assert look.loaded > 0.6 and look.batch is not None and look.batch <= 1 / 3
    assert "set optimisation.batch_norm=frozen" in look.warnings()[0]
    assert not any("near chance" in line for line in look_at(settings, prepared, None).warnings())


def test_weights_that_see_nothing_are_found_out(tiny: Tiny, prepared: Dataset, tmp_path: Path) -> None:
    state = drawn()
    state["conv1.weight"] *= 0
    (line,) = look_at(with_weights(tiny, tmp_path, state), prepared).warnings()
    assert "near chance: the usual cause is normalisation" in line


def test_a_last_layer_that_was_kept_is_tried(tiny: Tiny, prepared: Dataset, tmp_path: Path) -> None:
    settings = with_weights(tiny, tmp_path, drawn(3))
    transform, (indices, labels) = Transform.of(settings, prepared), prepared.split("train")
    pixels = torch.from_numpy(prepared.store.read(indices)).permute(0, 3, 1, 2)
    model = build(RESNET, 3).eval()
    model.load_state_dict(drawn(3))
    with torch.no_grad():
        x = model.forward_head(model.forward_features(transform.normalise(transform.resized(pixels))), pre_logits=True)
    means = torch.stack([x[torch.from_numpy(labels == c)].mean(0) for c in range(3)])
    state = drawn(3) | {
        "fc.weight": 2 * means,
        "fc.bias": -means.square().sum(1),
    }  # the nearest mean, as a linear layer
    look = look_at(with_weights(tiny, tmp_path, state), prepared, None)
    assert look.head is not None and look.head > 0.6 and look.warnings() == []
    for name in ("fc.weight", "fc.bias"):
        state[name] = state[name].roll(1, 0)
    look = look_at(with_weights(tiny, tmp_path, state), prepared, None)
    assert look.head is not None and look.head < 0.4 and "in another order" in look.warnings()[0]


def test_a_last_layer_that_begins_at_zero_guesses(tiny: Tiny, prepared: Dataset, tmp_path: Path) -> None:
    settings = with_weights(tiny, tmp_path, drawn(), last="zero")
    assert look_at(settings, prepared).loss == pytest.approx(math.log(3))


@pytest.mark.parametrize(
    ("architecture", "arguments", "width"),
    [
        ("alexnet-sup", {}, 9216),
        ("timm/vit_tiny_patch16_224", {"img_size": 64}, 192),
        ("timm/deit_tiny_distilled_patch16_224", {"img_size": 64}, 192),  # two heads
        ("timm/mobilenetv2_035", {"pad_type": "same"}, 1280),
    ],
)
def test_networks_of_every_kind_show_what_their_last_layer_is_given(
    architecture: str,
    arguments: dict[str, Any],
    width: int,
    tiny: Tiny,
    prepared: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shapes = []

    def watched(features: Tensor, labels: NDArray[np.int64]) -> float:
        shapes.append(tuple(features.shape))
        return class_mean_accuracy(features, labels)

    monkeypatch.setattr(module, "class_mean_accuracy", watched)
    torch.manual_seed(5)
    state = build(architecture, 3, arguments).state_dict()
    look = look_at(with_weights(tiny, tmp_path, state, architecture=architecture, arguments=arguments), prepared)
    assert set(shapes) == {(30, width)}
    assert (look.batch is not None) == ("mobilenet" in architecture)
    assert look.head is not None and (look.usual is None) == (architecture == "alexnet-sup")


@pytest.mark.images
@pytest.mark.slow
def test_the_weights_of_imagenet(images_root: Path, tmp_path: Path) -> None:
    """MobileNetV2 with folded batch norm, on ten of its own classes."""
    recipe = Recipe(images=str(images_root / "imagenette"), resolution=96)
    dataset, _ = prepare(tmp_path / "data", "imagenette", recipe)
    (path,) = (images_root / "weights").glob("mobilenetv2_100*.pth")
    pretrained = {"file": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    half = {"mean": [0.5] * 3, "sd": [0.5] * 3}
    same = {"arguments": {"pad_type": "same"}}

    def look(data: dict[str, Any], sharing: int | None, **network: Any) -> FirstLook:
        document = {"dataset": "imagenette", "regime": "clear", "model": "mobilenet"}
        own = {"architecture": "timm/mobilenetv2_100", "pretrained": pretrained, **network}
        settings = compose({**document, "network": own, "data": {"resolution": 96, **data}}, "test")
        return look_at(settings, dataset, sharing)

    as_it_was = look({}, 50)
    assert as_it_was.loaded > 0.55 > 0.3 > as_it_was.drawn and as_it_was.batch is not None and as_it_was.batch < 0.2
    assert "set optimisation.batch_norm=frozen" in as_it_was.warnings()[0]
    right = look(half, None, **same)
    assert right.loaded >= as_it_was.loaded, "padding and normalisation as the weights want them"
    assert "last_layer=zero" in right.warnings()[0]
    assert look(half, None, **same, pretrained={**pretrained, "last_layer": "zero"}).warnings() == []
    raw = look({"mean": [0.0] * 3, "sd": [1 / 255] * 3}, None, **same)  # pixels in 0..255
    assert raw.loaded < 0.4 and "the usual cause is normalisation" in raw.warnings()[0]
