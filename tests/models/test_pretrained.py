"""Weights from a file: those and no others, all of them, and nothing but tensors."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from blurtrain.errors import DataError
from blurtrain.models import build
from blurtrain.models.pretrained import load_pretrained, usual_normalisation
from blurtrain.settings import Pretrained


def network(classes: int = 4, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, classes))


def drawn(classes: int = 4, seed: int = 0) -> nn.Module:
    model = network(classes, seed)
    model(torch.randn(2, 3, 5, 5))  # moves the statistics of batch norm
    return model


def settings_of(path: Path) -> Pretrained:
    return Pretrained(file=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def saved(document: Any, path: Path) -> Pretrained:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(document, path)
    else:
        torch.save(document, path)
    return settings_of(path)


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    "suffix, kind",
    [
        *[(suffix, kind) for suffix in ("safetensors", "pt") for kind in ("plain", "wrapped", "half", "no counter")],
        *[("pth", kind) for kind in ("plain", "state_dict", "model")],
    ],
)
def test_every_tensor_is_loaded(suffix: str, kind: str, tmp_path: Path) -> None:
    source, model = drawn().state_dict(), drawn(seed=1)
    expected: dict[str, Tensor] = {name: tensor.clone() for name, tensor in source.items()}
    document: Any = dict(expected)
    match kind:
        case "wrapped":
            document = {f"module.{name}": tensor for name, tensor in document.items()}
        case "state_dict" | "model":
            document = {kind: document, "epoch": 3}
        case "half":
            document = {n: t.half() if t.is_floating_point() else t for n, t in document.items()}
            expected = {n: t.to(expected[n].dtype) for n, t in document.items()}
        case "no counter":
            del document["1.num_batches_tracked"]
    assert load_pretrained(model, saved(document, tmp_path / f"weights.{suffix}")) == []
    assert same(model.state_dict(), expected)
    assert all(p.dtype == torch.float32 and p.requires_grad for p in model.parameters())


def test_another_number_of_classes_keeps_the_last_layer_as_it_was_drawn(tmp_path: Path) -> None:
    source, model = drawn().state_dict(), drawn(7, seed=1)
    last = {name: tensor.clone() for name, tensor in model.state_dict().items() if name.startswith("3.")}
    assert load_pretrained(model, saved(source, tmp_path / "w.pt")) == ["3.weight", "3.bias"]
    rest = {name: tensor for name, tensor in source.items() if name not in last}
    assert same(model.state_dict(), {**rest, **last})


def test_a_last_layer_for_other_classes_may_begin_at_zero(tmp_path: Path) -> None:
    source, model = drawn().state_dict(), drawn(7, seed=1)
    zero = saved(source, tmp_path / "w.pt").model_copy(update={"last_layer": "zero"})
    assert load_pretrained(model, zero) == ["3.weight", "3.bias"]
    rest = {name: tensor for name, tensor in source.items() if not name.startswith("3.")}
    assert same(model.state_dict(), {**rest, "3.weight": torch.zeros(7, 36), "3.bias": torch.zeros(7)})
    assert load_pretrained(model := drawn(seed=1), zero) == [] and same(model.state_dict(), source)


def test_the_normalisation_of_published_weights_is_known() -> None:
    imagenet, half = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), ([0.5] * 3, [0.5] * 3)
    for architecture, expected in (
        ("alexnet-sup", None),
        *[(name, imagenet) for name in ("alexnet", "vgg-16", "resnet-18", "resnet-50", "timm/mobilenetv2_100")],
        ("timm/vit_tiny_patch16_224", half),
    ):
        assert usual_normalisation(architecture) == expected


def test_a_convolution_may_give_the_logits(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Conv2d(5, 2, 1), nn.Flatten())
    source = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Conv2d(5, 9, 1)).state_dict()
    assert load_pretrained(model, saved(source, tmp_path / "w.pt")) == ["1.weight", "1.bias"]


@pytest.mark.parametrize(
    "change, said",
    [
        ({"0.weight": None}, "lacks 0.weight$"),
        ({"3.weight": None}, "lacks 3.weight$"),
        ({"3.weight": None, "3.bias": None}, "lacks 3.weight, 3.bias$"),
        ({"1.running_mean": None}, "lacks 1.running_mean$"),
        ({"4.weight": torch.ones(2)}, "has 4.weight$"),
        ({"0.weight": torch.ones(4, 3, 5, 5)}, r"has 0.weight as float32\[4, 3, 5, 5\] for float32\[4, 3, 3, 3\]$"),
        ({"3.weight": torch.ones(4, 37)}, r"has 3.weight as float32\[4, 37\] for float32\[4, 36\]$"),
        ({"3.bias": torch.ones(5)}, "has 3.bias as"),  # without the weight
        ({"3.bias": torch.ones(5), "3.weight": torch.ones(6, 36)}, "has 3.weight as .*, 3.bias as"),
        ({"3.bias": torch.ones(5), "3.weight": torch.ones(5, 37)}, "has 3.weight as .*, 3.bias as"),
        ({"3.bias": torch.ones(5), "3.weight": torch.ones(5, 36), "0.bias": torch.ones(5)}, "has 0.bias as .* 3.wei"),
        ({"0.bias": torch.ones(4, dtype=torch.int8)}, r"has 0.bias as int8\[4\] for float32\[4\]$"),
        ({f"x{k}": torch.ones(1) for k in range(6)}, "has x0, x1, x2 and 3 more$"),
        (
            {"0.bias": None, "0.gain": torch.ones(1)},
            r"lacks 0.bias .float32\[4\]; nearest there: 0.gain, float32\[1\]\)$",
        ),
    ],
)
def test_anything_else_is_refused_and_changes_nothing(
    change: dict[str, Tensor | None], said: str, tmp_path: Path
) -> None:
    document = {n: t for n, t in {**drawn().state_dict(), **change}.items() if t is not None}
    model = drawn(seed=1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(DataError, match=rf"^[^\n]*w.pt does not fit the network; it {said}"):
        load_pretrained(model, saved(document, tmp_path / "w.pt"))
    assert same(model.state_dict(), before)


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("unpickled"),))


def test_files_that_are_not_tensors_alone_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model, path = drawn(), tmp_path / "w.pt"
    for document in (model, {"weight": Malicious()}):
        torch.save(document, path)
        with pytest.raises(DataError, match=r"^[^\n]*w.pt cannot be read as tensors alone [^\n]*$"):
            load_pretrained(model, settings_of(path))
    path.write_bytes(pickle.dumps(Malicious(), protocol=2))
    with pytest.raises(DataError, match="cannot be read"):
        load_pretrained(model, settings_of(path))
    assert not Path("unpickled").exists()
    for document in (["a"], {"epoch": 3}, {"state_dict": {"lr": 0.1}}, torch.ones(3)):
        with pytest.raises(DataError, match="holds no state dict"):
            load_pretrained(model, saved(document, path))
    for name in ("w.safetensors", "w.pth"):
        (tmp_path / name).write_bytes(b"no such format")
        with pytest.raises(DataError, match="cannot be read"):
            load_pretrained(model, settings_of(tmp_path / name))


def test_another_file_of_that_name_is_refused(tmp_path: Path) -> None:
    settings = saved(drawn().state_dict(), tmp_path / "w.pt")
    other = settings.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(DataError, match=rf"SHA-256 {settings.sha256}, not network.pretrained.sha256={'0' * 64}"):
        load_pretrained(drawn(), other)
    with pytest.raises(DataError, match="No such file"):
        load_pretrained(drawn(), settings.model_copy(update={"file": str(tmp_path / "gone.pt")}))
    with pytest.raises(DataError, match=r"must be a .safetensors, .pt or .pth"):
        load_pretrained(drawn(), settings.model_copy(update={"file": "weights.h5"}))


@pytest.mark.parametrize("architecture", ["alexnet-sup", "resnet-18", "timm/vit_tiny_patch16_224"])
def test_real_networks_change_their_classes(architecture: str, tmp_path: Path) -> None:
    source = build(architecture, 3)
    model = build(architecture, 5)
    fresh = load_pretrained(model, saved(source.state_dict(), tmp_path / "w.safetensors"))
    last = {"alexnet-sup": "classifier", "resnet-18": "fc", "timm/vit_tiny_patch16_224": "head"}[architecture]
    assert fresh == [f"{last}.weight", f"{last}.bias"]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
def test_names_that_were_saved_from_within_a_wrapper(prefix: str, tmp_path: Path) -> None:
    source, model = drawn(seed=1), drawn(seed=2)
    stored = {f"{prefix}{name}": tensor for name, tensor in source.state_dict().items()}
    assert load_pretrained(model, saved({"state_dict": stored}, tmp_path / "w.pt")) == []
    assert all(torch.equal(own, source.state_dict()[name]) for name, own in model.state_dict().items())
    inside = nn.Sequential()
    inside.add_module("model", drawn(seed=1))
    assert load_pretrained(inside, saved(inside.state_dict(), tmp_path / "v.pt")) == [], "its own module of this name"


def test_all_heads_change_their_classes(tmp_path: Path) -> None:
    class TwoHeads(nn.Module):
        def __init__(self, classes: int) -> None:
            super().__init__()
            self.body, self.head, self.head_dist = nn.Linear(8, 6), nn.Linear(6, classes), nn.Linear(6, classes)

    model, settings = TwoHeads(3), saved(TwoHeads(10).state_dict(), tmp_path / "w.pt")
    assert load_pretrained(model, settings) == ["head.weight", "head.bias", "head_dist.weight", "head_dist.bias"]
    one = {**TwoHeads(10).state_dict(), **{f"head.{n}": t for n, t in nn.Linear(6, 3).state_dict().items()}}
    with pytest.raises(DataError, match=r"head_dist.weight as float32\[10, 6\] for float32\[4, 6\]"):
        load_pretrained(TwoHeads(4), saved(one, tmp_path / "w.pt"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float, tmp_path: Path) -> None:
    state = drawn().state_dict()
    state["0.weight"].view(-1)[3] = value
    with pytest.raises(DataError, match=r"1 of 108 values of 0\.weight are NaN or inf"):
        load_pretrained(drawn(), saved(state, tmp_path / "w.pt"))


@pytest.mark.images
def test_the_weights_of_imagenet(images_root: Path) -> None:
    """A file in half precision, of timm's own names."""
    (path,) = (images_root / "weights").glob("mobilenetv2_100*.pth")
    stored = torch.load(path, weights_only=True)
    for classes, expected in ((1000, []), (10, ["classifier.weight", "classifier.bias"])):
        model = build("timm/mobilenetv2_100", classes)
        assert load_pretrained(model, settings_of(path)) == expected
        own = model.state_dict()
        assert own["conv_stem.weight"].dtype == torch.float32
        assert all(torch.equal(own[n], t.to(own[n].dtype)) for n, t in stored.items() if n not in expected)
