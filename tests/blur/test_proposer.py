"""A network that proposes kernels against another one."""

import numpy as np
import pytest
import torch
from finite_differences import slope
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from blurtrain.blur.adversarial import applied, distances
from blurtrain.blur.proposer import Proposer, proposed_blur
from blurtrain.tasks import Loss

SIDE, SIZE = 16, 5


def drawn(n: int = 4, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Proposer]:
    """Images, and a proposer that has learnt something already: whose last layer is drawn."""
    torch.manual_seed(0)
    proposer = Proposer(SIZE, width=2).to(dtype)
    nn.init.normal_(proposer.last.weight, std=5)
    return torch.randn(n, 3, SIDE, SIDE, dtype=dtype), proposer


class Players:
    """A network and its opponent, as a loss sees them."""

    def __init__(self, network: nn.Module, proposer: nn.Module):
        self.network, self.proposer = network, proposer

    def __call__(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.network(images)
        return outputs

    def features(self) -> Tensor:
        raise NotImplementedError

    def tested(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    def opponent(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.proposer(images)
        return outputs


@pytest.mark.parametrize("distance", [0.1, 0.3, 9.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernels_are_kernels_and_keep_the_bound(distance: float, dtype: torch.dtype) -> None:
    images, proposer = drawn(12, dtype)
    found = proposed_blur(images, proposer(images).detach(), distance)
    assert found.kernels.shape == (12, SIZE, SIZE) and (found.kernels >= 0).all()
    torch.testing.assert_close(found.kernels.sum((1, 2)), torch.ones(12, dtype=dtype), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.images, applied(images, found.kernels), atol=1e-4, rtol=1e-4)
    far = distances(images, found.images)
    assert (far <= distance + 1e-4).all() and len({tuple(k.flatten().tolist()) for k in found.kernels}) == 12
    wanted = found.changed.sqrt()
    np.testing.assert_allclose(far, wanted.clamp(max=distance), rtol=1e-4)
    assert (wanted > distance).any() == (distance < 9), "there are images that the bound is for"


def test_it_begins_near_the_identity_and_leaves_flat_images_alone() -> None:
    flat, proposer = torch.full((2, 3, SIDE, SIDE), 0.3), Proposer(SIZE, 2)
    logits = proposer(flat)
    assert float(logits.detach().softmax(1)[0, SIZE**2 // 2]) == pytest.approx(0.5)
    found = proposed_blur(flat, logits, 0.1)
    torch.testing.assert_close(found.images, flat)
    assert not found.changed.any()
    (found.images.sum() + found.changed.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in proposer.parameters())


@pytest.mark.parametrize("distance", [0.3, 9.0])
def test_gradients_are_those_of_finite_differences(distance: float) -> None:
    images, proposer = drawn(2)
    logits = proposer(images).detach().requires_grad_()

    def outcome(given: Tensor) -> tuple[Tensor, ...]:
        found = proposed_blur(images, given, distance)
        return found.images, found.kernels, found.changed

    assert torch.autograd.gradcheck(outcome, (logits,), fast_mode=True)  # along drawn directions


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_one_descends_where_the_other_ascends(share: float) -> None:
    """Gradients of both networks against finite differences of what each is to lower or to raise."""
    images, proposer = drawn(3)
    labels = torch.tensor([0, 1, 2])
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 14 * 14, 3)).double()
    kind = Loss.model_validate(
        {"type": "proposed-blur", "size": SIZE, "fidelity": 0.7, "distance": 0.3, "share": share}
    )
    loss, _ = kind(Players(network, proposer), images, labels)
    loss.backward()

    def terms() -> tuple[float, float]:
        with torch.no_grad():
            found = proposed_blur(images, proposer(images), 0.3)
            attacked = cross_entropy(network(found.images), labels)
            plain = cross_entropy(network(images), labels)
            gain = share * (attacked - 0.7 * found.changed.mean())
            return float((1 - share) * plain + share * attacked), float(gain)

    assert float(loss.detach()) == pytest.approx(terms()[0], rel=1e-10), "what is reported is the first network's loss"
    for module, which, sign in ((network, 0, 1), (proposer, 1, -1)):
        for parameter in module.parameters():
            assert parameter.grad is not None
            place = int(parameter.grad.abs().argmax())
            expected = slope(parameter, place, lambda which=which: terms()[which])
            assert float(parameter.grad.view(-1)[place]) == pytest.approx(sign * expected, rel=1e-5, abs=1e-9)


def stripes(n: int = 24) -> tuple[Tensor, Tensor]:
    """Fine stripes, upright or lying, on wide ones of more contrast: a blur that changes little hides the class."""
    rng = np.random.default_rng(0)
    x, labels = np.broadcast_to(np.arange(SIDE), (n, 3, SIDE, SIDE)), np.arange(n) % 2
    phases = rng.uniform(0, 6, (3, n, 1, 1, 1))
    fine = np.sin(2.2 * x + phases[0])
    fine = np.where(labels[:, None, None, None], fine, fine.swapaxes(2, 3))
    wide = np.sin(0.4 * x + phases[1]) + np.sin(0.4 * x.swapaxes(2, 3) + phases[2])
    return torch.tensor(wide + 0.5 * fine + rng.normal(0, 0.1, x.shape)).float(), torch.tensor(labels)


def trained(images: Tensor, labels: Tensor) -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 2),
    )  # fmt: skip
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(20):  # not until it is certain, where there are no gradients left
        optimiser.zero_grad()
        cross_entropy(network(images), labels).backward()
        optimiser.step()
    return network.requires_grad_(False)


@pytest.mark.parametrize(("fidelity", "harms"), [(1.0, True), (10.0, False)])
def test_a_trained_network_is_harmed_as_long_as_that_is_cheap(fidelity: float, harms: bool) -> None:
    images, labels = stripes()
    network = trained(images, labels)
    sharp = float(cross_entropy(network(images), labels))
    torch.manual_seed(1)
    kind = Loss.model_validate({"type": "proposed-blur", "size": 5, "share": 1, "fidelity": fidelity})
    proposer = kind.opponent()
    assert proposer is not None
    optimiser = torch.optim.Adam(proposer.parameters(), 0.01)
    for _ in range(40):
        optimiser.zero_grad()
        kind(Players(network, proposer), images, labels)[0].backward()
        optimiser.step()
    with torch.no_grad():
        found = proposed_blur(images, proposer(images), 0.5)
        harm = float(cross_entropy(network(found.images), labels))
    if harms:
        assert harm > sharp + 0.2
    else:
        assert found.changed.max() < 0.01, "far from the blur that harms most"


def test_images_and_logits_in_half_precision_are_taken_in_single() -> None:
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    logits = torch.zeros(2, 25, dtype=torch.bfloat16, requires_grad=True)
    found = proposed_blur(images, logits, 0.5)
    found.images.square().sum().backward()
    assert found.images.dtype == torch.float32 and logits.grad is not None and bool(logits.grad.isfinite().all())
