"""A network that restores before the one that classifies, trained with it."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from finite_differences import slope
from interruption import train_until
from learners import ALONE, RATE, Net, data
from learners import settings as learner_settings
from test_train import same_outcome
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from blurtrain.blur import gaussian_blur
from blurtrain.errors import DataError
from blurtrain.files import sha256_of
from blurtrain.models.frontend import WithFrontend
from blurtrain.models.trained import of_run
from blurtrain.settings import Frontend, Settings
from blurtrain.tasks import Loss
from blurtrain.training.image_loss import ImageLoss
from blurtrain.training.learner import Learner
from blurtrain.training.train import train

Tiny = Callable[..., Settings]
pytestmark = pytest.mark.usefixtures("one_thread")
MEAN, SD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
SMALL = {"width": 2, "depth": 1}
FIXTURE = {"width": 8, "depth": 2}
"""Of the run that `front_end` gives."""


def network(**settings: Any) -> WithFrontend:
    """In float64, with a front-end that is not the identity."""
    found = WithFrontend(Net(batch_norm=False), Frontend(**SMALL, **settings)).double()
    found.normalise_by(MEAN, SD)
    nn.init.normal_(found.frontend.tail.weight, std=0.1)
    return found


def gradients(whole: WithFrontend, task: bool = True) -> dict[str, Tensor]:
    """Of a training step's loss on blurred images: of the task, and of the image where that has a weight."""
    (sharp, labels), *_ = data(1)
    sharp = sharp.double()
    image_loss = ImageLoss.of(whole)
    loss = task * cross_entropy(whole.train()(gaussian_blur(sharp, 1.0)), labels)
    if image_loss:
        loss = loss + image_loss(sharp)
    loss.backward()
    return {name: p.grad.clone() for name, p in whole.named_parameters() if p.grad is not None}


def test_pixels_are_restored_and_normalised_again() -> None:
    whole, (images, _) = network(), data(1)[0]
    images = images.double()
    mean, sd = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (MEAN, SD))
    expected = whole.network((whole.frontend(images * sd + mean) - mean) / sd)
    torch.testing.assert_close(whole(images), expected, atol=1e-7, rtol=0)
    plain = WithFrontend(Net(), Frontend())
    plain.normalise_by(MEAN, SD)
    torch.testing.assert_close(plain.eval()(images.float()), plain.network(images.float()), msg="begins as identity")


def test_the_task_is_learnt_for_by_its_weight() -> None:
    whole, half, without = (gradients(network(task=task, image=0.0 if task else 1e-30)) for task in (1, 0.5, 0))
    assert any(name.startswith("frontend.") for name in whole)
    for name, gradient in whole.items():
        share = 0.5 if name.startswith("frontend.") else 1.0
        torch.testing.assert_close(half[name], share * gradient, atol=1e-12, rtol=1e-9)
        wanted = torch.zeros_like(gradient) if name.startswith("frontend.") else gradient
        torch.testing.assert_close(without[name], wanted, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize(("task", "image"), [(1.0, 0.0), (1.0, 3.0), (0.0, 3.0)])
def test_gradients_are_those_of_finite_differences(task: float, image: float) -> None:
    """Of the front-end, of task * loss + image * distance, and of the network behind it of the loss alone."""
    whole = network(task=task, image=image)
    found = gradients(whole)
    (sharp, labels), *_ = data(1)
    sharp, sd = sharp.double(), torch.tensor(SD).double().view(3, 1, 1)

    def terms() -> tuple[float, float]:
        with torch.no_grad():
            shown = whole.pixels(gaussian_blur(sharp, 1.0))
            restored = (whole.frontend(shown) - whole.mean) / whole.sd
            loss = float(cross_entropy(whole.network(restored), labels))
            return task * loss + image * float(((restored - sharp) * sd).abs().mean()), loss

    for name, parameter in whole.named_parameters():
        which = 0 if name.startswith("frontend.") else 1
        place = int(found[name].abs().argmax())
        expected = slope(parameter, place, lambda which=which: terms()[which])
        assert float(found[name].view(-1)[place]) == pytest.approx(expected, rel=2e-4, abs=1e-8)


def learner(kind: dict[str, Any], accumulate: int = 1, **frontend: Any) -> Learner:
    chosen = learner_settings(accumulate=accumulate)
    whole = WithFrontend(Net(batch_norm=False), Frontend(**SMALL, **frontend))
    return Learner(whole, chosen.optimisation, chosen.precision, ALONE, loss=Loss.model_validate(kind))


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize(
    ("kind", "share"),
    [
        ({"type": "cross-entropy"}, 1.0),
        ({"type": "jensen-shannon"}, 0.5),
        ({"type": "adversarial-blur", "size": 3, "steps": 1, "distance": 1e-9}, 1.0),
        ({"type": "proposed-blur", "size": 3, "distance": 1e-9, "share": 1}, 1.0),
    ],
    ids=lambda kind: kind["type"] if isinstance(kind, dict) else None,
)
def test_the_image_counts_in_all_views_of_any_loss(kind: dict[str, Any], share: float, passes: int) -> None:
    """share: of the views shown, those that differ from the sharp image, which the identity leaves as they are."""
    (sharp, labels), reported = data(1)[0], []
    blurred = gaussian_blur(sharp, 1.0)
    for image in (1.5, 0.0):
        ours = learner(kind, passes, image=image)
        torch.manual_seed(3)
        views = [sharp] * len(ours.views)
        total, *_, n, _ = ours.step(blurred, labels, RATE, 0, views).tolist()
        reported.append(total / n)
        assert ("sharp" in ours.views) == bool(image or kind["type"] == "jensen-shannon")
    expected = 1.5 * share * float((blurred - sharp).abs().mean())
    assert reported[0] - reported[1] == pytest.approx(expected, rel=1e-4)


def test_it_comes_nearer_to_the_sharp_image() -> None:
    ours, (sharp, labels) = learner({"type": "cross-entropy"}, task=0, image=1), data(1)[0]
    blurred = gaussian_blur(sharp, 1.0)
    before = copy.deepcopy(ours.network.state_dict())

    def distance() -> float:
        with torch.no_grad():
            return float((ours.network.frontend(blurred) - sharp).abs().mean())

    first = distance()
    for number in range(30):
        ours.step(blurred, labels, RATE / 2, number, [sharp])
    assert distance() < 0.95 * first
    assert not torch.equal(before["network.classifier.weight"], ours.network.state_dict()["network.classifier.weight"])


def test_a_run_begins_with_a_restoring_one_and_ends_with_the_same_bits(
    tiny: Tiny, front_end: Path, tmp_path: Path
) -> None:
    file = front_end / "weights.safetensors"
    frontend = {**FIXTURE, "file": str(file), "sha256": sha256_of(file), "image": 2.0, "task": 0.5}
    chosen = tiny(
        curriculum={"schedule": "constant", "blur": "disk-3@64"},
        network={"architecture": "timm/test_resnet", "frontend": frontend},
        model="small",
        checkpoints={"every_minutes": 0},
        validation={"every_epochs": 1},
    )
    whole = train(chosen, tmp_path / "whole")
    train_until(4, chosen, tmp_path / "parts")
    assert same_outcome(whole, train(chosen, tmp_path / "parts"))
    before, after = safetensors.torch.load_file(file), safetensors.torch.load_file(whole.weights)
    assert all(not torch.equal(after[f"frontend.{name}"], tensor) for name, tensor in before.items())
    module = of_run(whole.path).module
    assert isinstance(module, WithFrontend)
    mean = torch.tensor(of_run(whole.path).preprocessing.mean)
    torch.testing.assert_close(module.mean.flatten(), mean, msg="found again as it was trained")


def test_a_fixed_one_stays_as_it_is(tiny: Tiny, front_end: Path, tmp_path: Path) -> None:
    file = front_end / "weights.safetensors"
    frontend = {**FIXTURE, "file": str(file), "sha256": sha256_of(file), "learnt": False}
    chosen = tiny(network={"frontend": frontend}, optimisation={"epochs": 1, "warmup_epochs": 0})
    run = train(chosen, tmp_path)
    after = safetensors.torch.load_file(run.weights)
    for name, tensor in safetensors.torch.load_file(file).items():
        assert torch.equal(after[f"frontend.{name}"], tensor)
    assert any(name.startswith("network.") for name in after) and run.result()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"width": 4}, "holds no weights of a residual-unet of width=4 and depth=2"),
        ({"sha256": "a" * 64}, "not network.frontend.sha256=aaa"),
        ({"file": "/nowhere/w.pt"}, "network.frontend.file=/nowhere/w.pt cannot be read"),
    ],
)
def test_another_file_is_refused(
    tiny: Tiny, front_end: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    file = front_end / "weights.safetensors"
    frontend = {**FIXTURE, "file": str(file), "sha256": sha256_of(file), **change}
    with pytest.raises(DataError, match=said):
        train(tiny(network={"frontend": frontend}), tmp_path)
