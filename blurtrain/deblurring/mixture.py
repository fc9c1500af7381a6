"""What small patches of sharp photographs look like: a mixture of Gaussians, learnt by expectation-maximisation.

Patches are 8 x 8 pixels of 0..1 without their mean, as in Zoran & Weiss (ICCV 2011); all components have mean 0.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from blurtrain.errors import SettingsError
from blurtrain.files import publish

SIDE = 8
LEAST = 1e-6
"""Variance that each component has in every direction at least, of pixels in 0..1: that of rounding to 8 bits."""
KIND = "blurtrain patch mixture 1"


@dataclass(frozen=True)
class Mixture:
    """weights [K], of unit sum; covariances [K, 64, 64]; float64."""

    weights: Tensor
    covariances: Tensor
    about: Mapping[str, Any]
    """Where it is from."""

    @cached_property
    def axes(self) -> tuple[Tensor, Tensor]:
        """Variances [K, 64] of the components along their own axes, and these axes [K, 64, 64], in columns."""
        values, vectors = torch.linalg.eigh(self.covariances)
        return values.clamp(min=0), vectors

    def log_densities(self, patches: Tensor, variance: float = 0.0) -> Tensor:
        """log(weight * density) [N, K] of patches [N, 64] that noise of this variance was added to."""
        values, vectors = self.axes
        values = (values + variance).to(patches)
        constant = self.weights.log().to(patches) - 0.5 * (values.log().sum(1) + SIDE**2 * math.log(2 * math.pi))
        found = torch.empty(len(patches), len(values), dtype=patches.dtype, device=patches.device)
        for k, directions in enumerate(vectors.to(patches)):
            found[:, k] = constant[k] - 0.5 * ((patches @ directions).square() / values[k]).sum(1)
        return found


def learn(
    patches: Tensor, components: int, iterations: int, about: Mapping[str, Any], seed: int = 0,
    report: Callable[[str], object] = lambda _: None,
) -> Mixture:  # fmt: skip
    """The mixture of `components` Gaussians that `iterations` steps of EM find for patches [N, 64] of 0..1.

    These are first sorted by their likeness to some that are drawn. Raises SettingsError for fewer than 100 patches a
    component.
    """
    if len(patches) < 100 * components:
        raise SettingsError(
            f"{len(patches)} patches are too few for {components} components: take 100 a component at least"
        )
    x = patches - patches.mean(1, keepdim=True)
    generator = torch.Generator().manual_seed(seed)
    lengths = x.norm(dim=1)
    # Like ones have like contrast, and look alike or are each other's negative.
    drawn = torch.multinomial(lengths + 1e-3, components, generator=generator)
    likeness = (x @ x[drawn].T).abs() / (lengths[:, None] * lengths[drawn] + 1e-6)
    likeness -= (lengths[:, None] + 0.02).log().sub((lengths[drawn] + 0.02).log()).abs()
    shares = torch.nn.functional.one_hot(likeness.argmax(1), components).to(x)
    mixture = _maximised(x, shares, about)
    for step in range(iterations):
        logs = mixture.log_densities(x)
        total = logs.logsumexp(1, keepdim=True)
        report(f"step {step + 1} of {iterations}: mean log-likelihood {float(total.mean()):.3f}")
        mixture = _maximised(x, (logs - total).exp(), about)
    return mixture


def _maximised(patches: Tensor, shares: Tensor, about: Mapping[str, Any]) -> Mixture:
    counts = shares.sum(0).double()
    covariances = torch.stack(
        [
            (patches.T @ (patches * share[:, None])).double() / float(n.clamp(min=1))
            for share, n in zip(shares.T, counts, strict=True)
        ]
    )
    covariances = (covariances + covariances.mT) / 2 + LEAST * torch.eye(SIDE**2, dtype=torch.float64)
    return Mixture((counts + 1) / (counts + 1).sum(), covariances, about)


def save_mixture(mixture: Mixture, path: Path) -> None:
    """As a safetensors file that says where it is from."""
    tensors = {"weights": mixture.weights.contiguous(), "covariances": mixture.covariances.contiguous()}
    publish(path, save(tensors, {"kind": KIND, "about": json.dumps(dict(mixture.about))}))


def load_mixture(path: Path) -> Mixture:
    """What `save_mixture` wrote. Raises SettingsError, one line, for a file that is missing or anything else."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            said = file.metadata() or {}
            if said.get("kind") != KIND:
                raise ValueError("is no mixture of patches: `blurtrain deblur learn-patches` writes one")
            weights, covariances = file.get_tensor("weights"), file.get_tensor("covariances")
    except FileNotFoundError:
        raise SettingsError(f"patch prior {path}: no such file; `blurtrain deblur learn-patches` writes one") from None
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise SettingsError(f"patch prior {path}: {str(error).splitlines()[0]}") from None
    k = len(weights)
    shapes = weights.shape == (k,) and covariances.shape == (k, SIDE**2, SIDE**2) and k > 0
    if not shapes or not bool(weights.isfinite().all() & (weights > 0).all() & covariances.isfinite().all()):
        raise SettingsError(f"patch prior {path}: is damaged: its weights or covariances are none")
    return Mixture(weights.double(), covariances.double(), json.loads(said.get("about", "{}")))
