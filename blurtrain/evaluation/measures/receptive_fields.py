"""Which pixels the units of each layer can see and do see, and what the filters of the first layer look for; beside
networks that are drawn alike and not trained."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from blurtrain.blur.blur import Blur
from blurtrain.blur.blurs import Sharp
from blurtrain.device import tf32
from blurtrain.errors import SettingsError
from blurtrain.evaluation.baseline import check_draws, random_rows, with_draws
from blurtrain.evaluation.effective_field import area_side, gaussian_fit, gradient_maps
from blurtrain.evaluation.energy import energy_moments
from blurtrain.evaluation.gabor import LEAST_SIDE, Gabors, gabor_fits, patterns
from blurtrain.evaluation.measure import Measure
from blurtrain.evaluation.subject import Found, Row, Subject
from blurtrain.evaluation.views import at_its_size
from blurtrain.models.receptive_field import Field as ReceptiveField
from blurtrain.models.receptive_field import receptive_fields
from blurtrain.models.trained import TrainedNetwork

_GABORS = ("gabor_accepted", "gabor_size", "gabor_frequency", "gabor_bandwidth")
AT_ONCE = 4
"""Images whose gradients are in memory together."""


def _pixels(label: str) -> dict[str, Any]:
    return {"label": label, "unit": "px", "digits": 2}


def _with_random(metrics: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        f"{name}{ending}": {**facts, "label": f"{facts['label']}{words}"}
        for name, facts in metrics.items()
        for ending, words in (("", ""), (".random", ", untrained"), (".random_sd", ", untrained, SD"))
    }


class ReceptiveFields(Measure):
    """Two levels, `first-layer` and `layers`; in the latter, `blur` names the layer, with its place in the order in
    which layers are applied: 03:features.3. All lengths are in pixels of the network's input. Metrics:

    Of each convolution, pooling and linear layer (n = 1): field, the side of the theoretical receptive field (the
    longer side; the longest path), or of the image, where all units see the same; field_least, that of the shortest
    path; stride between neighbouring units; start, the row where the field of the first unit begins.

    Of at most `layers` convolutions, evenly spread, over `images` sharp images, evenly spread over the split: the
    effective field (see `effective_field`): effective_sigma, of the Gaussian that fits best, with effective_r2 of the
    fit; effective_area, the side of a square as large as the area above 4.55 % of the largest value.

    Of the first layer (n: its filters): energy_moment, mean of `energy_moments` (n: filters that are not zero);
    gabor_accepted, how many have a Gabor
    fit with R^2 >= `gate`, and of these the medians of gabor_size, gabor_frequency (cycles a pixel) and gabor_bandwidth
    (octaves). None where none is accepted, and of filters of less than 7 weights a side, which are not fitted.

    METRIC.random and METRIC.random_sd: mean and standard deviation over `draws` networks of the same architecture,
    freshly initialised. None where a gradient is NaN or infinite, or zero all over.

    Kept beside: `first-layer`: weights [N, C, h, w]; energy [N]; patterns [N, h, w], gabors [N, 7] (`Gabors.table`).
    `layers`: maps [layers, H, W] (largest value 1), centres [layers, 2], places [layers] (in the order of all layers).
    """

    name: ClassVar[str] = "receptive-fields"
    of_blurred: ClassVar[bool] = False
    of_classes: ClassVar[bool] = False
    keeps_records: ClassVar[bool] = False
    metrics: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "field": {"label": "theoretical field", "unit": "px", "digits": 0},
        "field_least": {"label": "theoretical field, shortest path", "unit": "px", "digits": 0},
        "stride": {"label": "stride", "unit": "px", "digits": 0},
        "start": {"label": "start", "unit": "px", "digits": 0},
        **_with_random(
            {
                "effective_sigma": _pixels("effective field, sigma"),
                "effective_area": _pixels("effective field, area"),
                "effective_r2": {"label": "fit of effective field, R²", "digits": 2},
                "energy_moment": _pixels("energy moment"),
                "gabor_size": _pixels("Gabor size"),
                "gabor_frequency": {"label": "Gabor frequency", "unit": "cycles/px", "digits": 3},
                "gabor_bandwidth": {"label": "Gabor bandwidth", "unit": "octaves", "digits": 2},
                "gabor_accepted": {"label": "Gabors accepted", "digits": 1},
            }
        ),
    }
    images: int = Field(16, ge=1, le=10_000)
    layers: int = Field(6, ge=1, le=1000)
    draws: int = Field(20, ge=0, le=1000)
    gate: float = Field(0.7, ge=0, lt=1)

    def levels(self, blurs: Sequence[Blur]) -> Sequence[str]:
        return ["first-layer", "layers"]

    @tf32(False)
    def measure(self, subject: Subject, levels: Sequence[str], per_image: bool) -> Found:
        network = subject.network
        check_draws(network, self.draws)
        images = [*sharp_images(subject, self.images)]
        fields = receptive_fields(network.module, images[0][:1])
        first = first_layer(network, fields)
        convolutions = _spread([n for n in fields if _has_places(network.module, n, fields[n])], self.layers)

        def look(one: TrainedNetwork) -> _Seen:
            weights = one.module.get_submodule(first).weight.detach().float().cpu().numpy()
            fits = min(weights.shape[2:]) >= LEAST_SIDE and bool(np.isfinite(weights).all())
            gabors = gabor_fits(patterns(weights)) if fits and "first-layer" in levels else None
            maps, bad = np.zeros((0, 1, 1)), 0
            if "layers" in levels:
                maps, bad = gradient_maps(one.module, images, convolutions)
            centres = [fields[name].centre(_middle(fields[name])) for name in convolutions]
            effective = [
                {"effective_sigma": sigma, "effective_area": area_side(own), "effective_r2": r2}
                for own, centre in zip(maps, centres, strict=False)
                for sigma, r2 in [gaussian_fit(own, centre)]
            ]
            kept = maps if one is network else None
            return _Seen(weights if one is network else None, energy_moments(weights), gabors, kept, effective, bad)

        own, others = with_draws(
            subject, self.draws, look, (self.name, self.model_dump_json(), *levels, _digest(images))
        )
        if not subject.group.is_main:
            return Found([])
        rows: list[Row] = []
        arrays: dict[str, dict[str, NDArray[Any]]] = {}
        if "first-layer" in levels:
            rows += self._of_first(own, others)
            arrays["first-layer"] = own.arrays()
        if "layers" in levels:
            side = images[0].shape[-1]
            labels = {name: f"{place:02d}:{name}" for place, name in enumerate(fields, 1)}
            rows += [row for name, label in labels.items() for row in _theoretical(label, fields[name], side)]
            for k, name in enumerate(convolutions):
                rows += _effective(labels[name], k, sum(map(len, images)), own, others)
            maps = own.maps if own.maps is not None else np.zeros((0, 1, 1))
            largest = np.maximum(maps.max(axis=(1, 2), keepdims=True), 1e-300)
            arrays["layers"] = {
                "maps": (maps / largest).astype(np.float32),
                "centres": np.array([fields[name].centre(_middle(fields[name])) for name in convolutions]),
                "places": np.array([list(fields).index(name) + 1 for name in convolutions]),
            }
        return Found(rows, {}, arrays)

    def _of_first(self, own: "_Seen", others: "Sequence[_Seen]") -> list[Row]:
        about = {"blur": "first-layer", "sigma": None, "n": len(own.energy)}
        bad = int((~np.isfinite(own.weights)).any(axis=(1, 2, 3)).sum()) if own.weights is not None else 0
        found, random = self._filters(own), [self._filters(other) for other in others]
        rows: list[Row] = []
        for name, value in found.items():
            known = np.isfinite(value) and not bad
            n = {"n": int(np.isfinite(own.energy).sum())} if name == "energy_moment" and known else {}
            row = {"metric": name, **about, **n, "value": value if known else None}
            rows.append(row | ({"not_finite": bad} if bad else {}))
            rows += random_rows(about, name, [values[name] for values in random])
        return rows

    def _filters(self, seen: "_Seen") -> dict[str, float]:
        # Some filters may be zero all over, as those that a fold of batch norm has found to be silent.
        energy = seen.energy[np.isfinite(seen.energy)]
        found = {"energy_moment": float(energy.mean()) if len(energy) else math.nan} | dict.fromkeys(_GABORS, math.nan)
        if (gabors := seen.gabors) is not None:
            accepted = gabors.r2 >= self.gate
            found["gabor_accepted"] = float(accepted.sum())
            if accepted.any():
                for name in _GABORS[1:]:
                    values = getattr(gabors, name.removeprefix("gabor_"))[accepted]
                    found[name] = float(np.median(values))
        return found


@dataclass(frozen=True)
class _Seen:
    """In one network."""

    weights: NDArray[np.float32] | None
    energy: NDArray[np.float64]
    gabors: Gabors | None
    maps: NDArray[np.float64] | None
    effective: list[dict[str, float]]
    """Of each of the layers that are looked at."""
    not_finite: int

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Of the first layer."""
        assert self.weights is not None
        found: dict[str, NDArray[Any]] = {"weights": self.weights, "energy": self.energy}
        if self.gabors is not None:
            found |= {"patterns": patterns(self.weights).astype(np.float32), "gabors": self.gabors.table()}
        return found


def _digest(images: Sequence[Tensor]) -> str:
    content = hashlib.sha256()
    for batch in images:
        content.update(batch.detach().float().cpu().contiguous().numpy())
    return content.hexdigest()


def sharp_images(subject: Subject, count: int) -> Iterator[Tensor]:
    """Batches of normalised images [N, C, H, W] as the network sees them, not blurred: `count` (or all, where there are
    not as many), evenly spread over those that are measured. Every process gets all."""
    images = subject.images
    whole = np.arange(images.n) if images.subset is None else images.subset[: images.n]
    chosen = whole[np.linspace(0, images.n - 1, min(count, images.n)).round().astype(int)]
    some = replace(images, subset=chosen, n=len(chosen), batch_size=AT_ONCE)
    for batch in some.batches(subject.loader):
        assert batch is not None
        resized = at_its_size(batch.images, subject.transform)
        shown = subject.transform.blurred(resized, Sharp(), batch.indices)
        dtype = next(subject.network.module.parameters()).dtype
        yield subject.network.preprocessing.cropped(shown).to(dtype)


def first_layer(network: TrainedNetwork, fields: Mapping[str, ReceptiveField]) -> str:
    """The path of the first convolution of the image. Raises SettingsError where there is none."""
    for name in fields:
        layer = network.module.get_submodule(name)
        if isinstance(layer, nn.Conv2d) and layer.in_channels == 3 and max(layer.kernel_size) > 1:
            return name
    raise SettingsError(
        f"{network.origin}: has no convolution of images, so it has no first filters to measure: receptive-fields and "
        "tuning are for networks with some"
    )


def _has_places(module: nn.Module, name: str, field: ReceptiveField) -> bool:
    return isinstance(module.get_submodule(name), nn.Conv2d) and max(field.places) > 1


def _middle(field: ReceptiveField) -> tuple[int, int]:
    return field.places[0] // 2, field.places[1] // 2


def _spread(names: Sequence[str], count: int) -> list[str]:
    """At most so many, evenly, with the first and the last."""
    return [names[k] for k in sorted(set(np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int)))]


def _theoretical(label: str, field: ReceptiveField, side: int) -> list[Row]:
    about = {"blur": label, "level": "layers", "sigma": None, "n": 1}
    size = max(field.rows.size, field.columns.size)
    least = max(field.rows.least, field.columns.least)
    values = {"field": size, "field_least": least, "stride": field.rows.stride, "start": field.rows.start}
    if field.is_whole:
        values = {"field": side, "field_least": side, "stride": 0, "start": 0}
    return [{"metric": name, **about, "value": float(value)} for name, value in values.items()]


def _effective(label: str, place: int, images: int, own: _Seen, others: Sequence[_Seen]) -> list[Row]:
    about = {"blur": label, "level": "layers", "sigma": None, "n": images}
    bad = {"not_finite": own.not_finite} if own.not_finite else {}
    rows: list[Row] = []
    for name, value in own.effective[place].items():
        rows.append({"metric": name, **about, "value": value if np.isfinite(value) and not bad else None, **bad})
        rows += random_rows(about, name, [other.effective[place][name] for other in others])
    return rows
