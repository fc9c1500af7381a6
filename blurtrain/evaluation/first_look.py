"""What pretrained weights make of a run's images before the first step: whether they behave as such weights should.

The measure is the nearest class mean in the features before the last layer, which needs no training: weights that fit
the images do far better by it than the same network freshly drawn.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from blurtrain.data.augment import Transform
from blurtrain.data.dataset import Dataset
from blurtrain.models import build
from blurtrain.models.outputs import outputs_of
from blurtrain.models.pretrained import load_pretrained, logits_layer, usual_normalisation
from blurtrain.settings import Network

IMAGES, CLASSES = 200, 20
"""At most so many training images, of at most so many classes: enough to see it, within seconds."""
AT_A_TIME = 25
Normalisation = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class FirstLook:
    """Shares (0..1) of `n` sharp training images that are nearest to the mean of their own class, and what follows."""

    n: int
    classes: int
    """Among which each image is looked for; their images are (nearly) equally many."""
    drawn: float
    """By the features of the network as it is drawn."""
    loaded: float
    """By the features of the pretrained weights, in evaluation mode."""
    batch: float | None
    """As `loaded`, but with batch norm by the statistics of the batch, as in training; None: it never is."""
    head: float | None
    """Right by the logits, where the file's own last layer was kept."""
    loss: float
    """Cross-entropy of the logits that training begins with."""
    all_classes: int
    """That the logits are for."""
    identity: bool
    """Whether there is batch norm, with running means of 0 and variances of 1 throughout."""
    normalisation: Normalisation
    """Mean and standard deviation, of pixels in 0..1, that images are normalised by ..."""
    usual: Normalisation | None
    """... and those that the published weights of this network want."""

    def summary(self) -> str:
        """The figures, in a line."""
        parts = [f"pretrained {_percent(self.loaded)}", f"freshly drawn {_percent(self.drawn)}"]
        parts += [f"pretrained with batch statistics {_percent(self.batch)}"] if self.batch is not None else []
        shown = ", ".join([*parts, f"chance {_percent(1 / self.classes)}"])
        return f"nearest class mean of {self.n} training images is right for: {shown}"

    def warnings(self) -> list[str]:
        """What looks wrong, each in a line with its likely cause and the cure."""
        trained = self.loaded if self.batch is None else self.batch
        if self._near_chance(trained):
            return [f"the pretrained weights behave near chance: {self._cause()} ({self.summary()})"]
        found = []
        if self.head is None and self.loss > 2 * math.log(self.all_classes):
            found.append(
                f"the freshly drawn last layer begins at a loss of {self.loss:.3g} (guessing: "
                f"{math.log(self.all_classes):.3g}, n = {self.n}), so that the first steps may overrun the pretrained "
                "weights: set network.pretrained.last_layer=zero"
            )
        chance = 1 / self.all_classes
        if self.head is not None and _is_little(self.head, chance, chance):
            found.append(
                f"the last layer of the pretrained weights was kept, and is right for {_percent(self.head)} of "
                f"{self.n} training images (chance {_percent(chance)}), though their features separate classes: are "
                f"its classes others, or in another order? ({self.summary()})"
            )
        return found

    def _cause(self) -> str:
        if self.batch is not None and not self._near_chance(self.loaded):
            cause = "they do not work with the batch statistics of training"
            if self.identity:
                cause += ", as batch norm seems to be folded into their convolutions (running means 0, variances 1)"
            return f"{cause}: set optimisation.batch_norm=frozen"
        cause = (
            f"the usual cause is normalisation, and {self.compared()}; set data.mean and data.sd to what the weights "
            "were trained with, and network.arguments (padding, say) to how their network was made"
        )
        if self.batch is None and self.identity:
            cause += "; or the file lacks the running statistics of its training (all means are 0, variances 1)"
        return cause

    def compared(self) -> str:
        """The normalisation in use, and the usual one."""
        here = "this run has mean {}, sd {}".format(*map(_triple, self.normalisation))
        if self.usual is None:
            return here
        return here + ", the published weights of this network want mean {}, sd {}".format(*map(_triple, self.usual))

    def _near_chance(self, share: float) -> bool:
        return _is_little(share, 1 / self.classes, max(self.drawn, 1 / self.classes))


def _is_little(share: float, chance: float, without: float) -> bool:
    """Whether it is nearer to chance than to perfect, and mends less than a quarter of the errors made `without`."""
    return share < (1 + chance) / 2 and share - without < (1 - without) / 4


def first_look(
    settings: Network, dataset: Dataset, transform: Transform, sharing: int | None, device: torch.device
) -> FirstLook | None:
    """Look at the weights of `settings.pretrained` through the transform of evaluation; None: too few images.

    `sharing`: how many images share statistics of batch norm in training; None: none do. Deterministic, on a network
    of its own; leaves the random state as it was.
    """
    indices, labels = sample(dataset)
    if not len(indices):
        return None
    assert settings.pretrained
    outputs = outputs_of(settings, dataset.classes)
    targets = torch.from_numpy(labels if outputs.targets is None else outputs.targets[labels])
    pixels = torch.from_numpy(dataset.store.read(indices)).permute(0, 3, 1, 2)
    sides = None if dataset.squared else dataset.store.sides[indices]
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
        torch.manual_seed(transform.seed)
        n = settings
        network = build(n.architecture, len(outputs.names), n.arguments, antialias=n.antialias).to(device).eval()
        images = []
        for start in range(0, len(pixels), AT_A_TIME):
            part = slice(start, start + AT_A_TIME)
            resized = transform.resized(pixels[part].to(device), None if sides is None else sides[part])
            images.append(transform.normalise(resized).cpu())
        drawn, _ = _through(network, images, device)
        kept = not load_pretrained(network, settings.pretrained)
        loaded, logits = _through(network, images, device)
        right = float((logits.argmax(1) == targets).double().mean())
        norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
        identity = bool(norms) and all(bool((m.running_mean == 0).all() & (m.running_var == 1).all()) for m in norms)
        batch = None
        if norms and sharing is not None:
            for norm in norms:
                norm.training = True
            groups = torch.cat(images).tensor_split(max(1, len(labels) // max(2, sharing)))
            features, logits = _through(network, groups, device)
            batch = class_mean_accuracy(features, labels)
    return FirstLook(
        n=len(labels),
        classes=len(np.unique(labels)),
        drawn=class_mean_accuracy(drawn, labels),
        loaded=class_mean_accuracy(loaded, labels),
        batch=batch,
        head=right if kept else None,
        loss=float(cross_entropy(logits, targets)),
        all_classes=len(outputs.names),
        identity=identity,
        normalisation=(transform.mean, transform.sd),
        usual=usual_normalisation(settings.pretrained.published or settings.architecture),
    )


def sample(dataset: Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Store indices [n] and labels [n] of training images, evenly spread over classes and within them, class by class
    in turn.

    Empty where fewer than two classes have two images.
    """
    indices, labels = dataset.split("train")
    classes, counts = np.unique(labels, return_counts=True)
    classes = _spread(classes[counts > 1], CLASSES)
    if len(classes) < 2:
        return indices[:0], labels[:0]
    chosen = [_spread(np.flatnonzero(labels == c), IMAGES // len(classes)) for c in classes]
    turn = np.concatenate([np.arange(len(places)) for places in chosen])
    places = np.concatenate(chosen)[np.argsort(turn, kind="stable")]
    return indices[places], labels[places]


def _spread(values: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """At most `n` of them, evenly spread."""
    return values[np.linspace(0, len(values) - 1, min(n, len(values))).round().astype(int)]


def class_mean_accuracy(features: Tensor, labels: NDArray[np.int64]) -> float:
    """Share (0..1) of images whose features [N, D] are nearest, by Euclid, to the mean of their own class.

    Each image is left out of the mean that it is compared with. Every class has at least two images. Features that are
    NaN or infinite are never right.
    """
    values = features.double()
    _, own, counts = torch.from_numpy(labels).unique(return_inverse=True, return_counts=True)
    means = torch.zeros(len(counts), values.shape[1], dtype=values.dtype).index_add_(0, own, values)
    means /= counts[:, None]
    distances = torch.cdist(values, means, compute_mode="donot_use_mm_for_euclid_dist")
    # Without x itself the mean m of its n becomes (n m - x) / (n - 1), which is n / (n - 1) times as far from x.
    n = counts[own].double()[:, None]
    distances.scatter_(1, own[:, None], distances.gather(1, own[:, None]) * n / (n - 1))
    right = (distances.argmin(1) == own) & torch.isfinite(distances).all(1)
    return float(right.double().mean())


def _through(network: nn.Module, batches: Sequence[Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """What the last layer is given, [N, D], and the logits [N, classes], on the processor."""
    seen, logits = list[Tensor](), list[Tensor]()
    _, last = logits_layer(network)
    hook = last.register_forward_pre_hook(lambda _, given: seen.append(given[0].flatten(1).cpu())) if last else None
    for batch in batches:
        logits.append(network(batch.to(device)).cpu())
    if hook:
        hook.remove()
    outcome = torch.cat(logits)
    # Where the last layer stands elsewhere than it seems, the logits are features, too.
    fits = len(seen) == len(logits) and all(len(a) == len(b) for a, b in zip(seen, logits, strict=True))
    return torch.cat(seen) if fits else outcome, outcome


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _triple(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{v:.3g}" for v in values) + "]"
