"""All levels of blur in one pass over the images: each is read, decoded and resized once, then blurred and looked at
once a level."""

import math
from collections.abc import Mapping, Sequence, Set
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.blur.blurs import Blur, Gaussian, Sharp
from blurtrain.data.batches import Batch
from blurtrain.device import tf32
from blurtrain.evaluation.subject import Found, Records, Row, Subject


class OfLogits(Protocol):
    """What `blurtrain.evaluation.measure.LogitsMeasure` says."""

    by_object: ClassVar[frozenset[str]]

    def values(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Named values [N] from logits [N, classes] and labels [N]."""

    def pooled(self, values: Mapping[str, NDArray[Any]]) -> Mapping[str, float | NDArray[Any]]:
        """More metrics, and arrays, from the values [images] of a whole level."""


@tf32(False)
@torch.inference_mode()
def sweep(wanted: Sequence[tuple[OfLogits, Sequence[Blur]]], subject: Subject, per_image: bool) -> list[Found]:
    """What measures say of logits and labels, each at its own levels, in float32 whatever the training was in.

    The batches are the same for any number of processes, so that the counts are too. Raises RuntimeError if not every
    image was counted exactly once.
    """
    images, group = subject.images, subject.group
    tallies = [_Tally(measure, subject, blurs, per_image) for measure, blurs in wanted]
    levels = {blur.label: blur for _, blurs in wanted for blur in blurs}
    seen = torch.zeros(2, dtype=torch.int64, device=group.device)  # how many, and a sum that identifies them
    modes = [(network.module, network.module.training) for network in subject.networks]
    for module, _ in modes:
        module.eval()
    views = subject.views()
    for batch in images.batches(subject.loader, group.rank, group.world):
        if batch is not None:
            shown = views.of(batch)
            objects = _on(images.object_of(batch.indices), group.device)
            for label, blur in levels.items():
                logits = shown(blur)
                for tally in tallies:
                    tally.add(label, batch, logits, objects)
            seen += torch.tensor([len(batch.indices), int(batch.indices.sum())], device=group.device)
        subject.tick()
    for module, training in modes:
        module.train(training)
    total = group.sum(seen).tolist()
    if total != [images.n, int(images.indices.sum())]:
        raise RuntimeError(f"evaluation counted {total[0]} images, which are not the {images.n} of the split")
    return [tally.found() for tally in tallies]


class _Tally:
    """What one measure finds: sums over the images of each of its levels, and values of each image where they count."""

    def __init__(self, measure: OfLogits, subject: Subject, blurs: Sequence[Blur], per_image: bool):
        self.measure, self.group, self.per_image = measure, subject.group, per_image
        self.blurs, self.level = blurs, {blur.label: level for level, blur in enumerate(blurs)}
        # Also a process without an image knows what is measured.
        classes = len(subject.network.classes)
        like = measure.values(torch.zeros(1, classes), torch.zeros(1, dtype=torch.int64))
        self.names = list(like)
        self.pools = bool(measure.pooled({name: value.numpy() for name, value in like.items()}))
        self.sums = _Sums(
            {name: value for name, value in like.items() if name[0] != "_"}, measure.by_object, subject, len(blurs)
        )
        self.records: list[list[Records]] = [[] for _ in blurs]

    def add(self, label: str, batch: Batch, logits: Tensor, objects: Tensor | None) -> None:
        if (level := self.level.get(label)) is None:
            return
        finite = torch.isfinite(logits).all(1)
        values = {
            name: value & finite if value.dtype == torch.bool else value
            for name, value in self.measure.values(logits, batch.labels).items()
        }
        self.sums.add(level, values, finite, objects)
        if self.per_image:
            self.records[level].append(_records(batch, logits, finite, values, objects))
        elif self.pools:
            self.records[level].append(_on_processor(batch, values))

    def found(self) -> Found:
        """Of all processes, on the leading one; every process calls it."""
        self.sums.total()
        records = {
            blur.label: merged(self.group.gather(own)) for blur, own in zip(self.blurs, self.records, strict=True)
        }
        arrays: dict[str, dict[str, NDArray[Any]]] = {}
        rows: list[Row] = []
        for level, blur in enumerate(self.blurs):
            rows += self.sums.rows(level, blur)
            more, arrays[blur.label] = self._pooled(level, records[blur.label], rows[-1])
            rows += more
        kept = {label: {name: v for name, v in of.items() if name[0] != "_"} for label, of in records.items()}
        return Found(rows, kept if self.per_image else {}, {label: of for label, of in arrays.items() if of})

    def _pooled(self, level: int, records: Records, like: Row) -> tuple[list[Row], dict[str, NDArray[Any]]]:
        """Rows, at the level of the row `like`, and arrays."""
        if not self.pools:
            return [], {}
        bad = int(self.sums.bad[level])
        about = {name: like[name] for name in ("blur", "sigma", "n")} | ({"not_finite": bad} if bad else {})
        found = self.measure.pooled({name: records[name][: 1 if bad else None] for name in self.names})
        numbers = {name: float(value) for name, value in found.items() if np.ndim(value) == 0}
        rows = [
            {"metric": name, **about, "value": value if math.isfinite(value) and not bad else None}
            for name, value in numbers.items()
        ]
        arrays = {name: np.asarray(value) for name, value in found.items() if name not in numbers}
        return rows, {} if bad else arrays


class _Sums:
    """What is summed over the images of each level: counts, numbers, and counts of each object."""

    def __init__(self, like: Mapping[str, Tensor], by_object: Set[str], subject: Subject, levels: int):
        self.n, self.group = subject.images.n, subject.group
        self.reference = subject.transform.blur.reference_resolution
        self.counted = [name for name, value in like.items() if value.dtype == torch.bool]
        self.averaged = [name for name in like if name not in self.counted]
        self.names = list(like)
        objects = subject.images.objects
        self.by_object = [name for name in self.counted if name in by_object and objects is not None]
        self.objects = 0 if objects is None else int(objects.max()) + 1

        def zeros(*shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.zeros(levels, *shape, dtype=dtype, device=subject.group.device)

        self.counts, self.bad = zeros(len(self.counted)), zeros(1)
        self.numbers = zeros(len(self.averaged), dtype=torch.float64)
        self.of_objects = zeros(len(self.by_object), self.objects)

    def add(self, level: int, values: dict[str, Tensor], finite: Tensor, objects: Tensor | None) -> None:
        for place, name in enumerate(self.counted):
            self.counts[level, place] += values[name].sum()
            if name in self.by_object and objects is not None:
                self.of_objects[level, self.by_object.index(name)].index_add_(0, objects, values[name].long())
        for place, name in enumerate(self.averaged):
            self.numbers[level, place] += torch.where(finite, values[name].double(), 0).sum()
        self.bad[level] += (~finite).sum()

    def total(self) -> None:
        """Add up what the processes have."""
        for sums in (self.counts, self.bad, self.numbers, self.of_objects):
            self.group.sum(sums)

    def rows(self, level: int, blur: Blur) -> list[Row]:
        bad = int(self.bad[level])
        rows = []
        for name in self.names:
            row: Row = {"metric": name, "blur": blur.label, "sigma": sigma_of(blur, self.reference), "n": self.n}
            if name in self.counted:
                row["count"] = int(self.counts[level, self.counted.index(name)])
            else:
                mean = float(self.numbers[level, self.averaged.index(name)]) / self.n
                row["value"] = mean if not bad and np.isfinite(mean) else None
            if name in self.by_object:
                row["by_object"] = self.of_objects[level, self.by_object.index(name)].tolist()
            rows.append(row | ({"not_finite": bad} if bad else {}))
        return rows


def sigma_of(blur: Blur, reference: int) -> float | None:
    """Sigma of a Gaussian in pixels at `reference`, 0 where nothing is blurred; None for other kernels."""
    if isinstance(blur, Sharp):
        return 0.0
    return blur.sigma * reference / blur.at if isinstance(blur, Gaussian) else None


def _on(values: Any, device: torch.device) -> Tensor | None:
    return None if values is None else torch.from_numpy(values).to(device)


def _records(
    batch: Batch, logits: Tensor, finite: Tensor, values: dict[str, Tensor], objects: Tensor | None
) -> Records:
    prediction = logits.topk(min(5, logits.shape[1]), dim=1).indices[:, 0].where(finite, -1)  # of ties as top-1 has it
    own = {
        "label": batch.labels,
        "prediction": prediction,
        "confidence": logits.double().softmax(1).amax(1),
        "correct": prediction == batch.labels,
    }
    shown = {} if objects is None else {"object": objects}
    return _on_processor(batch, {**shown, **own, **values})


def _on_processor(batch: Batch, values: Mapping[str, Tensor]) -> Records:
    return {"index": batch.indices} | {name: value.cpu().numpy() for name, value in values.items()}


def merged(processes: Sequence[Sequence[Records]]) -> Records:
    """The records of all processes, by index."""
    parts = [part for process in processes for part in process]
    if not parts:
        return {}
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(whole["index"])
    return {name: values[order] for name, values in whole.items()}
