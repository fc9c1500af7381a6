"""Runs that begin with weights from a file: frozen batch norm, arguments of the network, the look before training."""

import hashlib
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from interruption import train_until
from processes import Training, codes
from processes import run as in_processes
from torch import Tensor

from blurtrain.data.preparation import Recipe, prepare
from blurtrain.errors import BlurtrainError, SettingsError, TrainingError
from blurtrain.evaluation.runs import evaluate_run
from blurtrain.models import build
from blurtrain.run import Run
from blurtrain.settings import Settings, compose
from blurtrain.training import train as module
from blurtrain.training.train import train

Tiny = Callable[..., Settings]
MOBILENET = "timm/mobilenetv2_035"
ARGUMENTS = {"pad_type": "same"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """`network.pretrained` of seven classes, whose running statistics are those of noise."""
    torch.manual_seed(5)
    model = build(MOBILENET, 7, ARGUMENTS).train()
    for _ in range(5):
        model(torch.randn(8, 3, 64, 64))
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    safetensors.torch.save_file(model.state_dict(), path)
    return {"file": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def fine_tuning(tiny: Tiny, weights: dict[str, Any], batch_norm: str = "frozen", **parts: Any) -> Settings:
    optimisation = {
        "optimiser": "sgd",
        "learning_rate": 1e-3,
        "batch_norm": batch_norm,
        **parts.pop("optimisation", {}),
    }
    network = {"architecture": MOBILENET, "arguments": ARGUMENTS, "pretrained": {**weights, "last_layer": "zero"}}
    rest = {"loader": {"threads": 1}, "checkpoints": {"every_minutes": 0}, "logging": {"every_steps": 1}}
    return tiny(model="own", network=network, optimisation=optimisation, **{**rest, **parts})


def stored(weights: dict[str, Any]) -> dict[str, Tensor]:
    return safetensors.torch.load_file(weights["file"])


def outcome(run: Run) -> tuple[bytes, bytes]:
    result = run.result()
    assert result
    return run.weights.read_bytes(), (run.evaluations / result["accuracy"]).read_bytes()


def looks(run: Run) -> list[dict[str, Any]]:
    return [event for event in run.journal() if event["event"] == "pretrained"]


STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.mark.parametrize("parts", [{}, {"ema": 0.9, "accumulate": 2, "non_finite": "skip"}], ids=["plain", "all"])
def test_frozen_statistics_come_out_as_they_went_in_and_all_else_has_learnt(
    tiny: Tiny, weights: dict[str, Any], tmp_path: Path, parts: dict[str, Any]
) -> None:
    run = train(fine_tuning(tiny, weights, optimisation={"learning_rate": 0.1, **parts}), tmp_path)
    before, after = stored(weights), safetensors.torch.load_file(run.weights)
    assert before.keys() == after.keys()
    for name, tensor in after.items():
        frozen = name.endswith(STATISTICS)
        assert name.startswith("classifier") or torch.equal(tensor, before[name]) == frozen, name
    batch = train(fine_tuning(tiny, weights, "batch"), tmp_path)
    moved = safetensors.torch.load_file(batch.weights)
    assert not torch.equal(moved["bn1.running_mean"], before["bn1.running_mean"]) and batch.id != run.id


def test_arguments_are_part_of_the_run_and_of_its_later_evaluation(
    tiny: Tiny, weights: dict[str, Any], tmp_path: Path
) -> None:
    same = train(fine_tuning(tiny, weights), tmp_path)
    first = json.loads((same.evaluations / same.result()["accuracy"]).read_text())["rows"]  # type: ignore[index]
    for path in same.evaluations.glob("*.json"):
        path.unlink()
    assert evaluate_run(same.path)[0]["rows"] == first
    assert same.settings.network.arguments == ARGUMENTS


def test_a_look_at_the_weights_is_in_the_journal_and_changes_no_bit(
    tiny: Tiny,
    weights: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = fine_tuning(tiny, weights)
    looked = train(settings, tmp_path / "looked")
    (event,) = looks(looked)
    assert event["n"] == 30 and event["batch"] is None and event["head"] is None and 0 <= event["loaded"] <= 1
    assert event["warnings"] == [r.message for r in caplog.records if r.levelname == "WARNING"]
    monkeypatch.setattr(module, "first_look", lambda *_: None)
    blind = train(settings, tmp_path / "blind")
    assert looks(blind) == [] and outcome(blind) == outcome(looked)
    monkeypatch.undo()
    assert looks(train(tiny(), tmp_path)) == [], "nothing to look at where the network is freshly drawn"


def test_a_fine_tuning_that_is_interrupted_ends_with_the_same_bits_and_looks_once(
    tiny: Tiny, weights: dict[str, Any], tmp_path: Path
) -> None:
    settings = fine_tuning(tiny, weights, optimisation={"ema": 0.9}, precision={"arithmetic": "bfloat16"})
    whole = train(settings, tmp_path / "whole")
    train_until(4, settings, tmp_path / "parts")
    Path(weights["file"]).rename(tmp_path / "gone")  # a resumed run has all that it needs
    try:
        run = train(settings, tmp_path / "parts")
    finally:
        (tmp_path / "gone").rename(weights["file"])
    assert [e["at"] for e in run.journal() if e["event"] == "start"] == [0, 4]
    assert outcome(run) == outcome(whole) and len(looks(run)) == 1


def test_weights_that_training_would_destroy_are_warned_of(
    tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(5)
    state = build("resnet-18", 7).state_dict()
    state["conv1.weight"] *= 100  # features as great ...
    state["bn1.bias"] -= 20  # ... as their bias, until batch statistics make their variance 1
    torch.save(state, tmp_path / "w.pt")
    pretrained = {
        "file": str(tmp_path / "w.pt"),
        "sha256": hashlib.sha256((tmp_path / "w.pt").read_bytes()).hexdigest(),
    }
    network = {"architecture": "resnet-18", "pretrained": pretrained}
    for batch_norm in ("batch", "frozen"):
        caplog.clear()
        optimisation = {"epochs": 1, "warmup_epochs": 0, "optimiser": "sgd", "learning_rate": 1e-7}
        train(tiny(network=network, optimisation={**optimisation, "batch_norm": batch_norm}), tmp_path / "runs")
        warned = [r.message for r in caplog.records if "near chance" in r.message and r.levelname == "WARNING"]
        assert len(warned) == (batch_norm == "batch"), warned
    assert not warned


@pytest.mark.parametrize(
    ("network", "error", "words"),
    [
        ({"architecture": "alexnet"}, TrainingError, "batch_norm=frozen, but the network has no batch norm"),
        ({"arguments": {"pad_typ": "same"}}, SettingsError, "network.arguments.pad_typ: unknown .* 'pad_type'"),
        ({"arguments": {"features_only": True}}, SettingsError, "one logit a class"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_written(
    tiny: Tiny,
    weights: dict[str, Any],
    tmp_path: Path,
    network: dict[str, Any],
    error: type[BlurtrainError],
    words: str,
) -> None:
    network = {"architecture": MOBILENET, "pretrained": weights, **network}
    with pytest.raises(error, match=rf"^[^\n]*{words}[^\n]*$"):
        train(tiny(model="own", network=network, optimisation={"batch_norm": "frozen"}), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("arithmetic, tolerance", [("float64", 1e-10), ("float32", 1e-5)])
def test_one_and_two_processes_fine_tune_alike(
    tiny: Tiny, weights: dict[str, Any], tmp_path: Path, arithmetic: str, tolerance: float
) -> None:
    settings = fine_tuning(
        tiny, weights, optimisation={"accumulate": 2, "ema": 0.9, "epochs": 3}, precision={"arithmetic": arithmetic}
    )
    losses, measured = {}, {}
    for world in (1, 2):
        folder = tmp_path / str(world)
        ended = in_processes(*[Training(settings, folder)] * world, seconds=240)
        assert codes(ended) == [0] * world, ended
        run = Run(next(p.parent for p in folder.glob("*/settings.yaml")))
        losses[world] = [event["loss"] for event in run.journal() if event["event"] == "step"]
        measured[world] = [row.get("count") for row in json.loads(outcome(run)[1])["rows"]]
        after = safetensors.torch.load_file(run.weights)
        assert torch.equal(after["bn1.running_var"].float(), stored(weights)["bn1.running_var"])
        assert len(looks(run)) == 1, "the leading process alone looks"
    assert len(losses[1]) == 9 and losses[2] == pytest.approx(losses[1], rel=tolerance)
    assert measured[1] == measured[2]


@pytest.mark.slow
def test_two_processes_that_fine_tune_on_shakes_are_killed_and_end_with_the_same_bits(
    tiny: Tiny, weights: dict[str, Any], tmp_path: Path
) -> None:
    settings = fine_tuning(
        tiny,
        weights,
        regime="sharp-shake",
        curriculum={"schedule": "mix", "blurs": ["sharp", "shake@384"], "probabilities": [0.2, 0.8]},
        augmentation={
            "colour": 0,
            "scaled": {"object_scales": [60, 64, 70], "defined_at": 64, "network_scales": [72, 80]},
        },
        optimisation={"epochs": 3, "momentum": 0.9},
    )
    both = [Training(settings, tmp_path / "undisturbed")] * 2
    assert codes(in_processes(*both)) == [0, 0]
    ended = in_processes(*[Training(settings, tmp_path / "killed", "step", 5)] * 2)
    assert [code for code, _ in ended] == [-signal.SIGKILL] * 2
    assert codes(in_processes(*[Training(settings, tmp_path / "killed")] * 2)) == [0, 0]
    one, other = (Run(next(p.parent for p in tmp_path.glob(f"{k}/*/settings.yaml"))) for k in ("undisturbed", "killed"))
    assert len(other.attempts()) == 2 and outcome(one) == outcome(other)


@pytest.mark.images
@pytest.mark.long
def test_the_mobilenet_of_imagenet_is_fine_tuned(images_root: Path, tmp_path: Path) -> None:
    """As in docs/fine-tuning.md, one epoch: far above its ten classes' chance, to which it once fell."""
    recipe = Recipe(images=str(images_root / "imagenette"), resolution=96)
    prepare(tmp_path / "data", "imagenette", recipe)
    (path,) = (images_root / "weights").glob("mobilenetv2_100*.pth")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    pretrained = {"file": str(path), "sha256": digest, "last_layer": "zero"}
    document = {
        "dataset": "imagenette", "regime": "clear", "model": "mobilenet",
        "data": {"root": str(tmp_path / "data"), "resolution": 96, "mean": [0.5] * 3, "sd": [0.5] * 3},
        "network": {"architecture": "timm/mobilenetv2_100", "arguments": ARGUMENTS, "pretrained": pretrained},
        "optimisation": {"optimiser": "sgd", "learning_rate": 1e-3, "batch_norm": "frozen", "epochs": 1,
                         "batch_size": 50, "warmup_epochs": 0},
        "evaluation": {"split": "val", "sigmas": [0]}, "logging": {"tensorboard": False},
    }  # fmt: skip
    run = train(compose(document, "test"), tmp_path / "runs")
    (look,) = looks(run)
    assert look["warnings"] == [] and look["loaded"] > 0.55
    measured = json.loads(outcome(run)[1])
    assert measured["n"] == 500 and measured["rows"][0]["count"] > 0.6 * 500
