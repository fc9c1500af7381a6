"""Batch norm shared by a set number of images is torch's own over just these images, whoever holds them."""

import copy
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from blurtrain.distributed import Group
from blurtrain.errors import TrainingError
from blurtrain.models import build
from blurtrain.training.batch_norm import (
    FrozenBatchNorm,
    SharedBatchNorm,
    freeze_statistics,
    share_statistics,
    update_running,
)

sys.path.insert(0, str(Path(__file__).parent))
import share_batch_norm as worker

ALONE = Group(0, 1, torch.device("cpu"))


def features(*shape: int, offset: float = 3.0) -> Tensor:
    return offset + torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def close(first: Tensor, second: Tensor, tolerance: float = 1e-12) -> bool:
    return first.dtype == second.dtype and torch.allclose(first, second, rtol=tolerance, atol=tolerance)


def norms(model: nn.Module) -> Iterator[nn.modules.batchnorm._BatchNorm]:
    return (m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))


def by_torch(sharing: int) -> dict[str, Tensor]:
    """What `worker.train` gives, by torch's own layers: the groups of images one by one, as if each were a batch."""
    model = worker.network()
    for images, labels in zip(*worker.data(), strict=True):
        model.zero_grad()
        seen, outputs = [], []
        before = copy.deepcopy(model)
        for norm in norms(model):
            norm.momentum = 1.0
        for x, y in zip(images.split(sharing), labels.split(sharing), strict=True):
            outputs.append(model(x))
            (cross_entropy(outputs[-1], y, reduction="sum") / len(images)).backward()
            seen.append([(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms(model)])
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= worker.RATE * parameter.grad
        for i, (norm, old) in enumerate(zip(norms(model), norms(before), strict=True)):
            norm.momentum = m = old.momentum
            norm.running_mean = (1 - m) * old.running_mean + m * torch.stack([s[i][0] for s in seen]).mean(0)
            norm.running_var = (1 - m) * old.running_var + m * torch.stack([s[i][1] for s in seen]).mean(0)
            norm.num_batches_tracked = old.num_batches_tracked + 1
    gradients = {f"gradient of {name}": p.grad for name, p in model.named_parameters()}
    return {**model.state_dict(), **gradients, "logits": torch.cat(outputs).detach()}


def in_processes(world: int, folder: Path, device: str = "cpu") -> list[dict[Any, dict[str, Tensor]]]:
    """What each of `world` processes makes of all cases."""
    command = [sys.executable, worker.__file__, str(folder), device]
    paths = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, "RANK": str(k), "WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
            stderr=subprocess.PIPE,
            text=True,
        )
        for k in range(world)
    ]
    try:
        for process in processes:
            _, said = process.communicate(timeout=240)
            assert process.returncode == 0, said
    finally:
        for process in processes:
            process.kill()
    return [torch.load(folder / f"{k}.pt") for k in range(world)]


def check(ranks: list[dict[Any, dict[str, Tensor]]], tolerance: float = 1e-12) -> None:
    """All processes have one state, which is that of one process with torch's own batch norm."""
    for images, passes in worker.CASES:
        expected, outcomes = by_torch(images), [rank[images, passes] for rank in ranks]
        # The passes come one after the other, in each of them the processes.
        logits = torch.stack([outcome.pop("logits") for outcome in outcomes], 1).flatten(0, 2)
        assert close(logits, expected.pop("logits"), tolerance), (images, passes)
        for outcome in outcomes:
            assert outcome.keys() == expected.keys()
            for name, tensor in expected.items():
                assert close(outcome[name], tensor, tolerance), (images, passes, name)
                assert torch.equal(outcome[name], outcomes[0][name]), (images, passes, name)


def check_half(ranks: list[dict[Any, dict[str, Tensor]]]) -> None:
    """Under autocast as torch's own: bfloat16 in and out, statistics in float32.

    A gradient is what is left of larger values that were rounded four times, and a GPU rounds others than a processor:
    one of zero may be off as the largest are.
    """
    layer, x = nn.BatchNorm2d(3), worker.data()[0][0].bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    y.square().mul(x.detach()).sum().backward()
    halves = [rank["half"] for rank in ranks]
    assert x.grad is not None
    for name, expected in (("y", y.detach()), ("x.grad", x.grad)):
        ours = torch.cat([half[name] for half in halves])
        assert ours.dtype == expected.dtype == torch.bfloat16
        assert (ours.float() - expected.float()).abs().max() <= 4 * 2**-8 * expected.abs().max(), name
    for name, tensor in layer.state_dict().items():
        assert all(close(half[name], tensor, 1e-6) for half in halves), name


def test_one_process_whatever_the_groups_and_passes() -> None:
    ranks = [worker.everything(ALONE)]
    check(ranks)
    check_half(ranks)


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 4])
def test_several_processes_are_as_one(world: int, tmp_path: Path) -> None:
    ranks = in_processes(world, tmp_path)
    check(ranks)
    check_half(ranks)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_several_processes_on_a_gpu_are_as_one(tmp_path: Path) -> None:
    ranks = in_processes(2, tmp_path, "cuda")
    check(ranks, 1e-10)
    check_half(ranks)


# --- one layer ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind, shape", [(nn.BatchNorm1d, ()), (nn.BatchNorm2d, (4, 3)), (nn.BatchNorm3d, (2, 2, 3))])
def test_as_torch_s_own_with_all_images_of_the_process(kind: type[nn.Module], shape: tuple[int, ...]) -> None:
    plain = kind(5).double()
    shared = share_statistics(copy.deepcopy(plain), 8, 8, ALONE, always=True)
    assert isinstance(shared, SharedBatchNorm)
    for step in range(3):
        ours, theirs = (features(8, 5, *shape, offset=step).requires_grad_() for _ in range(2))
        for layer, x in ((shared, ours), (plain, theirs)):
            layer(x).pow(3).sum().backward()
        assert ours.grad is not None and theirs.grad is not None and close(ours.grad, theirs.grad)
        update_running(shared, ALONE)
    for (name, tensor), expected in zip(shared.state_dict().items(), plain.state_dict().values(), strict=True):
        assert close(tensor, expected), name
    assert all(close(a.grad, b.grad) for a, b in zip(shared.parameters(), plain.parameters(), strict=True))
    shared.load_state_dict(plain.state_dict())
    x = features(3, 5, *shape)
    assert torch.equal(shared.eval()(x), plain.eval()(x))


def test_groups_inside_a_process_are_independent() -> None:
    shared = share_statistics(nn.BatchNorm2d(5).double(), 2, 8, ALONE)
    plain, x = nn.BatchNorm2d(5).double(), features(8, 5, 3, 3)
    assert close(shared(x), torch.cat([plain(part) for part in x.split(2)]))
    tokens = x.flatten(2).mT.reshape(-1, 5)  # as a network might: nine rows an image
    flat = share_statistics(nn.BatchNorm1d(5).double(), 2, 8, ALONE)
    assert close(flat(tokens), shared(x).flatten(2).mT.reshape(-1, 5))


def test_statistics_far_from_zero_are_sound_in_float32() -> None:
    shared = share_statistics(nn.BatchNorm2d(5, momentum=1.0), 4, 8, ALONE)
    x = features(8, 5, 16, 16, offset=1e4)
    shared(x.float())
    update_running(shared, ALONE)
    expected = torch.stack([part.var((0, 2, 3)) for part in x.split(4)]).mean(0)
    assert torch.allclose(shared.running_var.double(), expected, rtol=1e-2)


def test_a_bad_step_leaves_running_statistics_alone() -> None:
    shared = share_statistics(nn.BatchNorm2d(5), 2, 8, ALONE)
    before = {name: tensor.clone() for name, tensor in shared.state_dict().items()}
    x = features(8, 5, 3, 3).float()
    shared(x * torch.inf)
    update_running(shared, ALONE, good=torch.tensor(False))
    assert all(torch.equal(tensor, before[name]) for name, tensor in shared.state_dict().items())
    update_running(shared, ALONE, good=torch.tensor(True))  # nothing has been seen since
    assert all(torch.equal(tensor, before[name]) for name, tensor in shared.state_dict().items())
    shared(x)
    update_running(shared, ALONE, good=torch.tensor(True))
    plain = nn.BatchNorm2d(5)
    plain(x)
    assert close(shared.running_mean, plain.running_mean, 1e-6) and shared.num_batches_tracked == 1


def test_running_statistics_stay_until_they_are_updated_and_average_over_all_steps_without_momentum() -> None:
    plain, shared = (nn.BatchNorm1d(5, momentum=None).double() for _ in range(2))
    shared = share_statistics(shared, 8, 8, ALONE, always=True)
    for offset in (0, 5, 7):
        plain(features(8, 5, offset=offset))
        before = shared.running_mean.clone()
        shared(features(8, 5, offset=offset))
        assert torch.equal(shared.running_mean, before)
        update_running(shared, ALONE)
    assert close(shared.running_mean, plain.running_mean) and close(shared.running_var, plain.running_var)


# --- networks -------------------------------------------------------------------------------------------------------


def test_torch_s_own_layers_stay_where_they_do_the_same() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    plain = model[1]
    assert share_statistics(model, 8, 8, ALONE) is model and model[1] is plain
    model(features(8, 3, 2, 2).float())
    running = plain.running_mean.clone()
    update_running(model, ALONE)
    assert torch.equal(plain.running_mean, running) and plain.num_batches_tracked == 1
    assert share_statistics(nn.Conv2d(3, 4, 1), 7, 8, ALONE) is not None  # no batch norm: nothing to arrange


@pytest.mark.parametrize("architecture", ["resnet-18", "timm/mobilenetv2_100"])
def test_networks_keep_their_state_their_activations_and_their_outcome(architecture: str) -> None:
    """timm's batch norm holds an activation, which works in place."""
    torch.manual_seed(3)
    plain = build(architecture, 4).train()
    shared = share_statistics(copy.deepcopy(plain), 4, 4, ALONE, always=True)
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    outcomes = []
    for model in (plain, shared):
        torch.manual_seed(4)  # dropout
        outcomes.append(model(x))
        outcomes[-1].square().sum().backward()
    update_running(shared, ALONE)
    assert torch.equal(*outcomes)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(plain.parameters(), shared.parameters(), strict=True))
    assert {type(norm) for norm in norms(shared)} == {SharedBatchNorm}
    assert list(shared.state_dict()) == list(plain.state_dict())
    assert all(
        close(a, b, 1e-5) for a, b in zip(shared.state_dict().values(), plain.state_dict().values(), strict=True)
    )
    plain.load_state_dict(shared.state_dict())
    assert torch.equal(plain.eval()(x), shared.eval()(x))
    assert torch.equal(copy.deepcopy(shared)(x), shared(x))


def test_one_layer_in_two_places_stays_one() -> None:
    norm = nn.BatchNorm1d(4)
    model = share_statistics(nn.ModuleDict({"a": norm, "b": nn.Sequential(norm)}), 2, 4, ALONE)
    assert model["a"] is model["b"][0] and isinstance(model["a"], SharedBatchNorm)


def test_what_cannot_be_arranged_is_refused_in_one_line() -> None:
    model, four = nn.BatchNorm2d(3), Group(0, 4, torch.device("cpu"))
    for images, at_a_time, group, possible in (
        (3, 8, ALONE, "1, 2, 4, 8,"),
        (16, 8, ALONE, "1, 2, 4, 8,"),  # the whole batch, in two passes
        (12, 4, four, "1, 2, 4, 8, 16,"),
        (6, 4, four, "1, 2, 4, 8, 16,"),
        (32, 4, four, "1, 2, 4, 8, 16,"),
    ):
        with pytest.raises(TrainingError, match=f"batch_norm_images={images} .* {at_a_time} images .* {possible}") as e:
            share_statistics(model, images, at_a_time, group)
        assert "\n" not in str(e.value)
    with pytest.raises(TrainingError, match="SyncBatchNorm"):
        share_statistics(nn.SyncBatchNorm(3), 2, 8, ALONE)
    with pytest.raises(TrainingError, match="more than one value"):
        share_statistics(model, 1, 4, ALONE)(torch.zeros(4, 3, 1, 1))
    with pytest.raises(TrainingError, match="equal groups"):
        share_statistics(nn.BatchNorm2d(3), 2, 4, ALONE)(torch.zeros(5, 3, 2, 2))


# --- frozen ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind, shape", [(nn.BatchNorm1d, ()), (nn.BatchNorm2d, (4, 3)), (nn.BatchNorm3d, (2, 2, 3))])
def test_frozen_is_the_formula_with_running_statistics_in_every_mode(
    kind: type[nn.Module], shape: tuple[int, ...]
) -> None:
    plain = kind(5, eps=0.1).double()
    for offset in (1, 4):
        plain(features(8, 5, *shape, offset=offset))
    mean, variance = plain.running_mean.clone(), plain.running_var.clone()
    with torch.no_grad():
        plain.weight.copy_(torch.linspace(0.5, 2, 5))
        plain.bias.copy_(torch.linspace(-1, 1, 5))
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    weight, bias = (p.detach().clone().requires_grad_() for p in (plain.weight, plain.bias))
    frozen = freeze_statistics(plain)
    assert isinstance(frozen, FrozenBatchNorm) and frozen.weight is plain.weight
    ours, theirs = (features(8, 5, *shape, offset=9).requires_grad_() for _ in range(2))
    one = (-1, *[1] * len(shape))
    expected = (theirs - mean.view(one)) / (variance + 0.1).sqrt().view(one) * weight.view(one) + bias.view(one)
    expected.pow(3).sum().backward()
    for mode in (True, False):
        frozen.zero_grad()
        ours.grad = None
        outcome = frozen.train(mode)(ours)
        outcome.pow(3).sum().backward()
        assert close(outcome, expected)
        for found, right in ((ours, theirs), (frozen.weight, weight), (frozen.bias, bias)):
            assert found.grad is not None and right.grad is not None and close(found.grad, right.grad)
    update_running(frozen, ALONE)
    assert list(frozen.state_dict()) == list(before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in frozen.state_dict().items())


@pytest.mark.parametrize("architecture", ["resnet-18", "timm/mobilenetv2_100"])
def test_a_frozen_network_in_training_is_the_plain_one_in_evaluation(architecture: str) -> None:
    torch.manual_seed(3)
    plain = build(architecture, 4).train()
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    plain(x)  # moves the statistics
    frozen = freeze_statistics(copy.deepcopy(plain))
    plain.eval()
    outcomes = []
    for model in (plain, frozen.train()):
        outcomes.append(model(x))
        outcomes[-1].square().sum().backward()
    assert torch.equal(*outcomes)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(plain.parameters(), frozen.parameters(), strict=True))
    assert list(frozen.state_dict()) == list(plain.state_dict())
    assert all(
        torch.equal(a, b) for a, b in zip(frozen.state_dict().values(), plain.state_dict().values(), strict=True)
    )
    assert {type(norm) for norm in norms(frozen)} == {FrozenBatchNorm}
    again = copy.deepcopy(frozen).train()
    assert torch.equal(again(x), outcomes[0]) and not any(norm.training for norm in norms(again))


def test_dropout_inside_a_frozen_layer_follows_the_mode_of_the_network() -> None:
    norm = build("timm/mobilenetv2_100", 4).bn1
    norm.drop = nn.Dropout(0.5)  # type: ignore[union-attr]
    frozen = freeze_statistics(norm)  # type: ignore[arg-type]
    assert frozen.train().drop.training and not frozen.eval().drop.training  # type: ignore[union-attr]


def test_what_cannot_be_frozen_is_refused_in_one_line() -> None:
    for model, said in (
        (nn.Conv2d(3, 4, 1), "the network has no batch norm"),
        (nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3, track_running_stats=False)), "but 1 keeps no running stat"),
        (nn.SyncBatchNorm(3), "SyncBatchNorm"),
    ):
        with pytest.raises(TrainingError, match=said) as error:
            freeze_statistics(model)
        assert "\n" not in str(error.value)
