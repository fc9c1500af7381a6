"""Losses against blur that harms features in place of labels."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from finite_differences import slope
from test_proposer import stripes, trained
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

from blurtrain.blur.adversarial import Ascent, applied, worst_blur
from blurtrain.blur.proposer import Proposer, proposed_blur
from blurtrain.tasks import CrossEntropy, Loss
from blurtrain.tasks.adversarial import AdversarialBlur
from blurtrain.tasks.views import feature_distances
from blurtrain.training.forward import Forward

SIDE, SIZE = 16, 5


def small(dtype: torch.dtype = torch.float64) -> Forward:
    """A smooth network with statistics, whose features are what its last layer is given."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.Tanh(), nn.Conv2d(4, 6, 3, stride=2), nn.Flatten(),
        nn.Linear(6 * 3 * 3, 3),
    )  # fmt: skip
    return watched(network, dtype)


def watched(network: nn.Module, dtype: torch.dtype = torch.float32) -> Forward:
    forward = Forward(network.to(dtype), dtype)
    forward.watch("")
    return forward


def drawn(n: int = 4, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 3, SIDE, SIDE, dtype=dtype, generator=torch.Generator().manual_seed(1)), torch.arange(n) % 3


def loss_of(kind: str, **options: Any) -> Loss:
    return Loss.model_validate({"type": f"{kind}-blur", "size": SIZE, "harm": "features", **options})


def distance(network: nn.Module, blurred: Tensor, images: Tensor) -> Tensor:
    """By hand, in evaluation mode."""
    encoder = copy.deepcopy(network)[:-1].eval()
    with torch.no_grad():
        a, b = (encoder(one).flatten(1).double().numpy() for one in (blurred, images))
    return torch.tensor(1 - (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))


def test_distances_are_those_of_the_angle_in_any_precision() -> None:
    angles = torch.tensor([0.0, 0.02, np.pi / 3, np.pi])
    one, other = torch.tensor([[3.0, 0.0]]).repeat(4, 1), 0.5 * torch.stack([angles.cos(), angles.sin()], 1)
    torch.testing.assert_close(feature_distances(one, other), 1 - angles.cos(), atol=1e-6, rtol=0)
    found = feature_distances(one.bfloat16(), other.bfloat16())
    assert found.dtype == torch.float32 and found[1] > 1e-4, "in bfloat16 it would be 0"


def test_the_gradient_of_the_harm_is_that_of_finite_differences() -> None:
    forward, (images, labels) = small(), drawn(2)
    harm = AdversarialBlur(size=SIZE, harm="features").harm_of(forward, images, labels)
    logits = torch.randn(2, SIZE**2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def of_logits(given: Tensor) -> Tensor:
        return harm(applied(images, given.softmax(1).unflatten(1, (SIZE, SIZE))))

    assert torch.autograd.gradcheck(of_logits, (logits.requires_grad_(),))
    blurred = applied(images, logits.detach().softmax(1).unflatten(1, (SIZE, SIZE)))
    torch.testing.assert_close(harm(blurred).detach(), distance(forward.network, blurred, images))


@pytest.mark.parametrize("rate", [1.0, 1e6])
@pytest.mark.parametrize("start", ["identity", "random"])
def test_an_ascent_never_ends_nearer_than_it_began(start: Any, rate: float) -> None:
    forward, (images, labels) = small(), drawn()
    kind = AdversarialBlur(size=SIZE, harm="features", steps=4, start=start, rate=rate, distance=0.6)
    before = copy.deepcopy(forward.network.state_dict())
    worst = worst_blur(images, kind.harm_of(forward, images, labels), kind.ascent)
    assert (worst.harm >= worst.harm_at_start).all()
    assert rate > 1 or (worst.harm > worst.harm_at_start).any()
    torch.testing.assert_close(worst.harm, distance(forward.network, worst.images, images))
    torch.testing.assert_close(forward.network.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["adversarial", "proposed"])
def test_gradients_are_those_of_what_is_lowered_and_raised(kind: str) -> None:
    """Against finite differences: the network that is trained goes down, the one that proposes goes up."""
    forward, (images, labels) = small(), drawn()
    network, before = forward.network, copy.deepcopy(forward.network)
    second = forward.second = Proposer(SIZE, 2).double()
    nn.init.normal_(second.last.weight, std=5)
    options: dict[str, Any] = {"fidelity": 0.7} if kind == "proposed" else {"start": "identity"}
    loss = loss_of(kind, share=0.3, distance=0.4, **options)

    def blurred() -> tuple[Tensor, Tensor]:
        if isinstance(loss, AdversarialBlur):  # through its kernels no gradient flows
            harm = loss.harm_of(watched(before, torch.float64), images, labels)
            return worst_blur(images, harm, loss.ascent).images, torch.zeros(())
        found = proposed_blur(images, second(images), 0.4)
        return found.images, found.changed.mean()

    def features(shown: Tensor) -> Tensor:
        """In training mode, each image followed by its blurred one."""
        both = torch.stack([images, shown], 1).flatten(0, 1)
        found: Tensor = copy.deepcopy(network)[:-1](both)
        return found.detach()

    sharp = features(blurred()[0])[::2]

    def outcome() -> tuple[float, float]:
        shown, changed = blurred()
        found = features(shown)
        plain = cross_entropy(network[-1](found[::2]), labels)
        cosine = (found[1::2] * sharp).sum(1) / found[1::2].norm(dim=1) / sharp.norm(dim=1)
        lowered = float((0.7 * plain + 0.3 * (1 - cosine).mean()).detach())
        return lowered, lowered - 0.3 * 0.7 * float(changed.detach())

    expected = outcome()[0]
    value, _ = loss(forward, images, labels)
    value.backward()
    assert float(value.detach()) == pytest.approx(expected, rel=1e-10)
    players: list[tuple[nn.Module, int, int]] = [(network, 0, 1), *([(second, 1, -1)] if kind == "proposed" else [])]
    for module, which, sign in players:
        for parameter in module.parameters():
            assert parameter.grad is not None
            place = int(parameter.grad.abs().argmax())
            wanted = sign * slope(parameter, place, lambda which=which: outcome()[which])  # type: ignore[misc]
            assert float(parameter.grad.view(-1)[place]) == pytest.approx(wanted, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("kind", ["adversarial", "proposed"])
def test_of_a_blur_that_changes_nothing_cross_entropy_is_left(kind: str) -> None:
    forward, (images, labels) = small(), drawn()
    forward.second = Proposer(SIZE, 2).double()
    plain = copy.deepcopy(forward.network)(images)
    value, outputs = loss_of(kind, share=0.25, distance=1e-6)(forward, images, labels, 0.1)
    expected = 0.75 * cross_entropy(plain, labels, label_smoothing=0.1)
    assert float(value.detach()) == pytest.approx(float(expected.detach()), abs=1e-6)
    torch.testing.assert_close(outputs, plain, atol=1e-5, rtol=0)


def attacked(network: nn.Module, images: Tensor) -> float:
    """The distance of the features under a longer attack than that of the training."""
    encoder = copy.deepcopy(network)[:-1]
    wanted = encoder(images).detach()
    ascent = Ascent(SIZE, steps=10, start="identity", distance=0.5)
    return float(worst_blur(images, lambda x: 1 - cosine_similarity(encoder(x), wanted), ascent).harm.mean())


def stepped(network: nn.Module, images: Tensor, labels: Tensor, loss: Loss) -> Forward:
    """After 40 steps of the network, as far as it may learn, and of its opponent."""
    torch.manual_seed(1)
    forward = watched(network)
    second = forward.second = loss.opponent()
    learnt = [*network.parameters(), *(second.parameters() if second else ())]
    optimiser = torch.optim.Adam([p for p in learnt if p.requires_grad], 0.01)
    for _ in range(40):
        optimiser.zero_grad()
        loss(forward, images, labels)[0].backward()
        optimiser.step()
    return forward


def test_an_encoder_learns_to_keep_its_representation_under_attack() -> None:
    images, labels = stripes()
    network, control = (trained(images, labels).requires_grad_() for _ in range(2))
    before = attacked(network, images)
    stepped(network, images, labels, loss_of("adversarial"))
    stepped(control, images, labels, CrossEntropy())
    after = attacked(network, images)
    assert after < 0.7 * before and after < 0.8 * attacked(control, images), "and not by what cross-entropy does alone"
    assert (network(images).argmax(1) == labels).float().mean() > 0.9


@pytest.mark.parametrize(("fidelity", "harms"), [(0.1, True), (10.0, False)])
def test_a_second_network_turns_features_as_long_as_that_is_cheap(fidelity: float, harms: bool) -> None:
    images, labels = stripes()
    network, loss = trained(images, labels), loss_of("proposed", fidelity=fidelity)
    found = []
    for second in (loss.opponent(), stepped(network, images, labels, loss).second):
        assert second is not None
        with torch.no_grad():
            found.append(proposed_blur(images, second(images), 0.5))
    first, last = (float(distance(network, one.images, images).mean()) for one in found)
    if harms:
        assert last > 1.5 * first
    else:
        assert found[1].changed.max() < 0.01, "far from the blur that harms most"
