"""Which gratings the units of each convolution respond to; beside networks that are drawn alike and not trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from blurtrain.blur.blur import Blur
from blurtrain.device import tf32
from blurtrain.errors import SettingsError
from blurtrain.evaluation.baseline import check_draws, random_rows, with_draws
from blurtrain.evaluation.gratings import GREY, ORIENTATIONS, Gratings, Tuned, responses, tuned
from blurtrain.evaluation.measure import Measure
from blurtrain.evaluation.subject import Found, Row, Subject
from blurtrain.models.receptive_field import receptive_fields
from blurtrain.models.trained import TrainedNetwork

USUAL_SIDE = 128
"""Gratings are no larger, where it is not asked for: a network that takes larger images takes these, too, in less
time."""


class Tuning(Measure):
    """One level, `layers`; in it `blur` names a convolution, with its place in the order in which layers are applied:
    03:features.3. Units are its channels (n of the rows). The images of the dataset play no part.

    Gratings of 15 orientations, 25 frequencies and 4 phases, of `side` pixels (by default the network's own side, or
    128 where that is less). The response of a unit: what the convolution gives, before normalisation and activation,
    less what it gives for a uniform grey, rectified; mean over the middle of the map, and over phases. Metrics:

    responding: the share of units that respond to any grating. Of these: preferred_frequency, the median, in cycles a
    pixel of the network's input; selectivity, mean of orientation selectivity (0: none, 1: one orientation alone).
    band_passed: the share of units that respond less than half as much at some lower and some higher frequency; of
    these bandwidth, the median, octaves at half the largest response.

    METRIC.random and METRIC.random_sd: mean and standard deviation over `draws` networks of the same architecture,
    freshly initialised. None where a response is NaN or infinite, or no unit is left.

    Kept beside: frequencies [25], orientations [15]; curves [layers, 25], by frequency at each unit's own orientation,
    scaled to a largest value of 1, mean over responding units; random_curves and random_curves_sd, of the draws; units
    [N, 4] of all layers: place of the layer, preferred frequency and orientation (degrees), selectivity; places
    [layers]; first [N, 15, 25], responses of the first convolution.
    """

    name: ClassVar[str] = "tuning"
    of_blurred: ClassVar[bool] = False
    of_classes: ClassVar[bool] = False
    keeps_records: ClassVar[bool] = False
    metrics: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        f"{name}{ending}": {**facts, "label": f"{facts['label']}{words}"}
        for name, facts in {
            "responding": {"label": "units that respond", "unit": "%", "times": 100, "digits": 1},
            "band_passed": {"label": "band-pass units", "unit": "%", "times": 100, "digits": 1},
            "preferred_frequency": {"label": "preferred frequency", "unit": "cycles/px", "digits": 3},
            "bandwidth": {"label": "bandwidth", "unit": "octaves", "digits": 2},
            "selectivity": {"label": "orientation selectivity", "digits": 3},
        }.items()
        for ending, words in (("", ""), (".random", ", untrained"), (".random_sd", ", untrained, SD"))
    }
    side: int | None = Field(None, ge=16, le=4096)
    draws: int = Field(20, ge=0, le=1000)

    def levels(self, blurs: Sequence[Blur]) -> Sequence[str]:
        return ["layers"]

    @tf32(False)
    def measure(self, subject: Subject, levels: Sequence[str], per_image: bool) -> Found:
        network = subject.network
        check_draws(network, self.draws)
        gratings = Gratings(self.side or min(network.preprocessing.crop, USUAL_SIDE))
        places = self._convolutions(network, gratings)

        def look(one: TrainedNetwork) -> _Seen:
            tuning = _tuning(one, gratings, list(places))
            found = {name: tuned(of, gratings) for name, of in tuning.items() if np.isfinite(of).all()}
            first = tuning[next(iter(places))] if one is network else None
            return _Seen({name: _Layer.of(found.get(name)) for name in places}, first,
                         found if one is network else None)  # fmt: skip

        own, others = with_draws(subject, self.draws, look, (self.name, gratings.side, network.preprocessing))
        if not subject.group.is_main:
            return Found([])
        rows = [row for name, place in places.items() for row in _rows(name, place, own, others)]
        return Found(rows, {}, {"layers": _arrays(places, gratings, own, others)})

    def _convolutions(self, network: TrainedNetwork, gratings: Gratings) -> dict[str, int]:
        """Those with several places, each with its own place in the order of all layers."""
        grey = _as_seen(network, torch.full((1, 3, gratings.side, gratings.side), GREY))
        try:
            fields = receptive_fields(network.module, grey)
        except Exception as error:  # each network has its own way to refuse
            said = str(error).split("\n")[0] or type(error).__name__
        else:
            found = {
                name: place
                for place, (name, field) in enumerate(fields.items(), 1)
                if isinstance(network.module.get_submodule(name), nn.Conv2d) and max(field.places) > 1
            }
            if found:
                return found
            raise SettingsError(f"{network.origin}: has no convolution with places, so tuning cannot be measured")
        raise SettingsError(
            f"{network.origin}: does not take gratings of {gratings.side} pixels ({said}): give tuning side="
            f"{network.preprocessing.crop}"
        )


@dataclass(frozen=True)
class _Layer:
    """Of one convolution of one network."""

    units: int
    values: Mapping[str, float]
    curve: NDArray[np.float64]

    @classmethod
    def of(cls, found: Tuned | None) -> "_Layer | None":
        if found is None:
            return None
        responding, band = np.isfinite(found.frequency), np.isfinite(found.bandwidth)
        values = {"responding": float(responding.mean()), "band_passed": float(band.mean())}
        some = responding.any()
        values["preferred_frequency"] = float(np.median(found.frequency[responding])) if some else np.nan
        values["selectivity"] = float(np.mean(found.selectivity[responding])) if some else np.nan
        values["bandwidth"] = float(np.median(found.bandwidth[band])) if band.any() else np.nan
        curve = found.curves[responding].mean(0) if some else np.full(found.curves.shape[1], np.nan)
        return cls(len(responding), values, curve)


@dataclass(frozen=True)
class _Seen:
    layers: Mapping[str, _Layer | None]
    """None: some response is NaN or infinite."""
    first: NDArray[np.float64] | None
    """Of the first convolution [N, orientations, frequencies]."""
    tuned: Mapping[str, Tuned] | None


def _as_seen(network: TrainedNetwork, images: Tensor) -> Tensor:
    shown = network.preprocessing.normalised(images.to(network.device))
    return shown.to(next(network.module.parameters()).dtype).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def _tuning(network: TrainedNetwork, gratings: Gratings, layers: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Responses [N, orientations, frequencies] of each layer."""
    grey: dict[str, Tensor] = {}
    found: dict[str, list[Tensor]] = {name: [] for name in layers}

    def keep(name: str) -> torch.utils.hooks.RemovableHandle:
        def hook(_: nn.Module, __: object, outcome: Tensor) -> None:
            if name in grey:
                found[name].append(responses(outcome, grey[name]))
            else:
                grey[name] = outcome.clone()  # what follows may work in place

        return network.module.get_submodule(name).register_forward_hook(hook)

    module, training = network.module, network.module.training
    module.eval()
    hooks = [keep(name) for name in layers]
    try:
        module(_as_seen(network, torch.full((1, 3, gratings.side, gratings.side), GREY)))
        for orientation in range(ORIENTATIONS):
            module(_as_seen(network, gratings.at(orientation)))
    finally:
        module.train(training)
        for handle in hooks:
            handle.remove()
    # [orientations, frequencies, N] to [N, orientations, frequencies]
    return {name: torch.stack(parts).permute(2, 0, 1).double().cpu().numpy() for name, parts in found.items()}


def _rows(name: str, place: int, own: _Seen, others: Sequence[_Seen]) -> list[Row]:
    layer, drawn = own.layers[name], [other.layers[name] for other in others]
    units = next((one.units for one in (layer, *drawn) if one), 1)
    about = {"blur": f"{place:02d}:{name}", "level": "layers", "sigma": None, "n": units}
    rows: list[Row] = []
    for metric in ("responding", "preferred_frequency", "selectivity", "band_passed", "bandwidth"):
        value = layer.values[metric] if layer else np.nan
        bad = {} if layer else {"not_finite": 1}
        rows.append({"metric": metric, **about, "value": value if np.isfinite(value) else None, **bad})
        rows += random_rows(about, metric, [one.values[metric] if one else None for one in drawn])
    return rows


def _arrays(
    places: Mapping[str, int], gratings: Gratings, own: _Seen, others: Sequence[_Seen]
) -> dict[str, NDArray[Any]]:
    def curves(seen: _Seen) -> NDArray[np.float64]:
        nothing = np.full(len(gratings.frequencies), np.nan)
        return np.array([layer.curve if (layer := seen.layers[name]) else nothing for name in places])

    assert own.first is not None and own.tuned is not None
    units = [np.column_stack([np.full(len(of.frequency), places[name]), of.frequency, of.orientation, of.selectivity])
             for name, of in own.tuned.items()]  # fmt: skip
    found = {
        "frequencies": gratings.frequencies,
        "orientations": gratings.orientations,
        "places": np.array(list(places.values())),
        "curves": curves(own),
        "units": np.concatenate(units).astype(np.float32) if units else np.zeros((0, 4), np.float32),
        "first": own.first.astype(np.float32),
    }
    if len(others) > 1:
        drawn = np.array([curves(other) for other in others])
        found |= {"random_curves": drawn.mean(0), "random_curves_sd": drawn.std(0, ddof=1)}
    return found
