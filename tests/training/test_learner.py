"""One step at a time: arithmetic, micro-batches, averages."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from learners import BATCH, RATE, Net, close, data, learner, same, tensors, train
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from blurtrain.errors import TrainingError
from blurtrain.training.learner import Learner

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_a_step_is_torch_s_own(optimiser: str) -> None:
    ours = learner(arithmetic="float64", optimiser=optimiser, weight_decay=0.01, momentum=0.8)
    theirs = Net().double()
    if optimiser == "adam":
        by: torch.optim.Optimizer = torch.optim.Adam(theirs.parameters(), weight_decay=0.01)
    else:
        by = torch.optim.SGD(theirs.parameters(), momentum=0.8, weight_decay=0.01)
    for k, (images, labels) in enumerate(data(10)):
        rate = RATE * (1 + k)
        loss, correct, n, left_out = ours.step(images, labels, rate, k).tolist()
        by.param_groups[0]["lr"] = rate
        by.zero_grad()
        logits = theirs(images.double())
        expected = cross_entropy(logits, labels)
        expected.backward()
        by.step()
        assert loss / n == pytest.approx(expected.item(), rel=1e-12)
        assert (correct, n, left_out) == ((logits.argmax(1) == labels).sum(), BATCH, 0)
    assert close(ours.network.state_dict(), theirs.state_dict())


@pytest.mark.parametrize("passes", [1, 4])
def test_steps_with_frozen_statistics_are_torch_s_own_in_evaluation_mode(passes: int) -> None:
    ours = learner(arithmetic="float64", optimiser="sgd", frozen=True, accumulate=passes, ema=0.9)
    ours.model.train()
    theirs = Net().double().eval()
    by = torch.optim.SGD(theirs.parameters(), momentum=0.9, weight_decay=1e-5)
    for images, labels in data(5):
        by.param_groups[0]["lr"] = RATE
        by.zero_grad()
        cross_entropy(theirs(images.double()), labels).backward()
        by.step()
    train(ours, data(5))
    assert close(ours.network.state_dict(), theirs.state_dict())
    assert not torch.equal(theirs.norm.weight, torch.ones(6)), "scale and shift learn"
    for network in (ours.network, ours.trained()):
        running = [network.state_dict()[f"norm.{name}"] for name in ("running_mean", "running_var")]
        assert torch.equal(running[0], torch.zeros(6)) and torch.equal(running[1], torch.ones(6))
        assert network.state_dict()["norm.num_batches_tracked"] == 0


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("extra", [{}, {"label_smoothing": 0.1, "ema": 0.7, "non_finite": "skip"}])
def test_passes_change_neither_losses_nor_weights(optimiser: str, batch_norm: bool, extra: dict[str, Any]) -> None:
    sharing = 2 if batch_norm else 0
    outcomes = []
    for passes in (1, 2, 4):
        trained = learner(
            batch_norm,
            arithmetic="float64",
            optimiser=optimiser,
            accumulate=passes,
            batch_norm_images=sharing,
            **extra,
        )
        sums = train(trained, data(10))
        outcomes.append(
            {"sums": sums, "network": trained.network.state_dict(), "trained": trained.trained().state_dict()}
        )
    assert all(close(outcome, outcomes[0]) for outcome in outcomes[1:])


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("arithmetic", ["float32", "bfloat16", "float16", "float64"])
def test_every_arithmetic_learns_and_keeps_precise_weights(arithmetic: str, optimiser: str) -> None:
    trained = learner(arithmetic=arithmetic, optimiser=optimiser)
    seen = set()
    trained.network.second.register_forward_hook(lambda _module, _inputs, features: seen.add(features.dtype))
    loss = train(trained, data(4) * 10)[:, 0] / BATCH
    assert loss[-4:].mean() < 0.5 * loss[:4].mean()
    assert seen == {getattr(torch, arithmetic)}
    weights = torch.float64 if arithmetic == "float64" else torch.float32
    assert {p.dtype for p in trained.network.parameters()} == {weights}
    moments = {t.dtype for name, t in _moments(trained) if name != "step"}
    assert moments == {weights}
    assert all(torch.isfinite(t).all() for t in tensors(trained.state()["model"]))


def _moments(trained: Learner) -> Iterator[tuple[str, Tensor]]:
    for of_parameter in trained.optimiser.state_dict()["state"].values():
        yield from of_parameter.items()


def test_bfloat16_images_train_bfloat16_networks_only() -> None:
    """The transform brings them so; where the network is not under autocast they become what its weights are."""
    images, labels = data(1)[0]
    for arithmetic in ("bfloat16", "float32", "float64"):
        loss, *_ = learner(arithmetic=arithmetic).step(images.bfloat16(), labels, RATE, 0).tolist()
        assert loss == pytest.approx(learner().step(images, labels, RATE, 0)[0].item(), rel=0.02)


def test_label_smoothing_spreads_a_share_of_each_label_over_all_classes() -> None:
    images, labels = data(1)[0]
    trained = learner(False, arithmetic="float64", label_smoothing=0.3)
    logs = trained.network(images.double()).log_softmax(1)
    by_hand = -(0.7 * logs[range(BATCH), labels] + 0.3 * logs.mean(1)).mean().item()
    loss = trained.step(images, labels, RATE, 0)[0].item() / BATCH
    assert loss == pytest.approx(by_hand, rel=1e-12)
    plain = learner(False, arithmetic="float64").step(images, labels, RATE, 0)[0].item() / BATCH
    assert plain == pytest.approx(-logs[range(BATCH), labels].mean().item(), rel=1e-12) and plain != loss


def test_what_is_published_is_the_moving_average_where_there_is_one() -> None:
    plain, averaged = learner(arithmetic="float64"), learner(arithmetic="float64", ema=0.8)
    assert plain.trained() is plain.network and averaged.trained() is not averaged.network
    expected = {name: weight.detach().clone() for name, weight in averaged.network.named_parameters()}
    for k, batch in enumerate(data(6)):
        train(plain, [batch], k)
        train(averaged, [batch], k)
        for name, weight in averaged.network.named_parameters():
            now = weight.detach().clone()
            expected[name] = 0.8 * expected[name] + 0.2 * now
    assert same(plain.network.state_dict(), averaged.network.state_dict()), "the average is looked at, not trained"
    assert close(dict(averaged.trained().named_parameters()), expected)
    # Not averaged: the statistics of batch norm are an average already, and the network's own.
    assert same(dict(averaged.trained().named_buffers()), dict(averaged.network.named_buffers()))
    assert averaged.trained().norm.num_batches_tracked == 6


def test_tf32_is_for_the_network_alone(tf32_flags: None) -> None:
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn

    def flags() -> tuple[bool, bool]:
        return products.allow_tf32, convolutions.allow_tf32

    inside = list[tuple[bool, bool]]()

    def watch(_module: nn.Module, _inputs: Any, logits: Tensor) -> None:
        inside.append(flags())
        logits.register_hook(lambda _: inside.append(flags()))

    for wanted in (False, True):
        for before in ((False, True), (True, False)):
            products.allow_tf32, convolutions.allow_tf32 = before
            trained = learner(tf32=wanted)
            trained.network.register_forward_hook(watch)
            inside.clear()
            train(trained, data(1))
            assert inside == [(wanted, wanted)] * 2 and flags() == before, "forwards and backwards"
            trained.network.register_forward_hook(_fail)
            with pytest.raises(ArithmeticError):
                train(trained, data(1))
            assert flags() == before


@pytest.fixture
def tf32_flags() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def _fail(*_: Any) -> None:
    raise ArithmeticError


@pytest.mark.parametrize(
    ("batch_norm", "optimisation", "words"),
    [
        (False, {"accumulate": 3}, "batch_size=8 cannot be shared evenly by 1 processes in 3 micro-batches"),
        (False, {"accumulate": 16}, "batch_size=8 cannot be shared evenly by 1 processes in 16 micro-batches"),
        (
            True,
            {"accumulate": 2},
            r"batch_norm_images=8 \(0: the whole batch\) does not fit",
        ),  # the whole batch, but it comes in two passes
        (True, {"batch_norm_images": 3}, "batch_norm_images=3"),
    ],
)
def test_a_batch_that_cannot_be_cut_is_refused_in_one_line(
    batch_norm: bool, optimisation: dict[str, int], words: str
) -> None:
    with pytest.raises(TrainingError, match=words) as refusal:
        learner(batch_norm, **optimisation)
    assert "optimisation.accumulate" in str(refusal.value) and "\n" not in str(refusal.value)
