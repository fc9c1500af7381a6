"""A small network, batches that it can learn, and how its states are compared."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from blurtrain.distributed import Group
from blurtrain.settings import Network, Optimisation, Precision, Pretrained, Settings
from blurtrain.training.learner import Learner

ALONE = Group(0, 1, torch.device("cpu"))
BATCH, SIDE, CLASSES, RATE = 8, 9, 3, 0.02
Batches = Sequence[tuple[Tensor, Tensor]]


class Net(nn.Module):
    def __init__(self, batch_norm: bool = True):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 6, 3, bias=not batch_norm)
        self.norm = nn.BatchNorm2d(6) if batch_norm else nn.Identity()
        self.second = nn.Conv2d(6, 8, 3, stride=2)
        self.classifier = nn.Linear(8, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        features = self.second(self.norm(self.first(images)).relu())
        return self.classifier(features.relu().mean((2, 3)))


def settings(
    arithmetic: str = "float32", tf32: bool = False, compiled: bool = False, frozen: bool = False, **optimisation: Any
) -> Settings:
    norm = "frozen" if frozen else "batch"
    o = Optimisation(**{"batch_size": BATCH, "epochs": 1, "warmup_epochs": 0, "batch_norm": norm, **optimisation})
    p = Precision(arithmetic=arithmetic, tf32=tf32, compile=compiled)
    network = Network(architecture="resnet-18", pretrained=Pretrained(file="w.pt", sha256="a" * 64))
    return Settings(dataset="none", regime="clear", network=network, optimisation=o, precision=p)


def learner(batch_norm: bool = True, **parts: Any) -> Learner:
    chosen = settings(**parts)
    return Learner(Net(batch_norm), chosen.optimisation, chosen.precision, ALONE)


def data(steps: int) -> Batches:
    """Batches of noise on the colour of a class."""
    source = torch.Generator().manual_seed(1)
    labels = torch.randint(CLASSES, (steps, BATCH), generator=source)
    images = torch.randn(steps, BATCH, 3, SIDE, SIDE, generator=source) + 2 * torch.eye(3)[labels][..., None, None]
    return list(zip(images, labels, strict=True))


def poisoned(batch: tuple[Tensor, Tensor], value: float) -> tuple[Tensor, Tensor]:
    """With one pixel that is no finite number."""
    images = batch[0].clone()
    images[BATCH // 2, 1, 4, 4] = value
    return images, batch[1]


def train(trained: Learner, batches: Batches, first: int = 0) -> Tensor:
    """What each step sums, [steps, 4]."""
    return torch.stack([trained.step(*batch, RATE, first + k) for k, batch in enumerate(batches)])


def same(one: Any, other: Any) -> bool:
    """Bit by bit, through all that a state holds."""
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def state(trained: Learner) -> dict[str, Any]:
    return copy.deepcopy(trained.state())


def tensors(part: Any) -> Iterator[Tensor]:
    if isinstance(part, Tensor):
        yield part
    for inner in part.values() if isinstance(part, dict) else ():
        yield from tensors(inner)


def close(one: Any, other: Any, tolerance: float = 1e-12) -> bool:
    pairs = zip(tensors(one), tensors(other), strict=True)
    return all(torch.allclose(a, b, rtol=tolerance, atol=tolerance) for a, b in pairs)
