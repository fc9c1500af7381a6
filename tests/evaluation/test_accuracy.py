"""The sweep and its first measure, against the same computed one image at a time."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from blurtrain.blur.blurs import Blur
from blurtrain.data.augment import Transform
from blurtrain.data.dataset import Dataset
from blurtrain.data.loader import Loader, ResidentLoader
from blurtrain.distributed import Group
from blurtrain.errors import DataError
from blurtrain.evaluation.headline import headline
from blurtrain.evaluation.images import Images
from blurtrain.evaluation.measure import LogitsMeasure
from blurtrain.evaluation.measures.accuracy import Accuracy
from blurtrain.evaluation.subject import Found, Subject
from blurtrain.models.trained import trained
from blurtrain.settings import Settings

CPU = torch.device("cpu")
Tiny = Callable[..., Settings]


class MeanColour(nn.Module):
    """Scores classes by fixed linear functions of the image's mean colour: right for some images, wrong for others."""

    def __init__(self, classes: int):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images.mean((2, 3)))


def subject(
    dataset: Dataset, settings: Settings, module: nn.Module | None = None, loader: Loader | None = None, **more: Any
) -> Subject:
    images = Images.of(dataset, settings.evaluation, settings.data.resolution)
    network = trained(module or MeanColour(len(dataset.classes)), settings, dataset, "of a test")
    more = {"group": Group(0, 1, CPU), **more}
    return Subject(
        network, images, loader or ResidentLoader(images.source, CPU), Transform.of(settings, dataset), **more
    )


def found(
    dataset: Dataset, settings: Settings, measure: LogitsMeasure | None = None, per_image: bool = False, **more: Any
) -> Found:
    blurs = settings.levels
    return (measure or Accuracy()).measure(subject(dataset, settings, **more), blurs, per_image)


def metric(found: Found, name: str, key: str = "count") -> list[Any]:
    return [row[key] for row in found.rows if row["metric"] == name]


def one_by_one(dataset: Dataset, settings: Settings, blur: Blur) -> tuple[Tensor, Tensor]:
    """Logits and labels of the split, one image at a time and without any of the suite's batching."""
    images = dataset.evaluation_images(settings.evaluation.split, settings.data.resolution)
    model, transform, logits = MeanColour(len(dataset.classes)), Transform.of(settings, dataset), []
    for index in images.indices:
        image = transform.resized(torch.from_numpy(images.store.read(np.array([index]))).permute(0, 3, 1, 2))
        blurred = blur.blurred(image, [index], resolution=settings.data.resolution)
        logits.append(model(transform.normalise(blurred)).detach())
    return torch.cat(logits), torch.from_numpy(images.labels)


@pytest.mark.parametrize("batch_size", [1, 4, 1000])
def test_every_test_image_is_counted_once_whatever_the_batch(prepared: Dataset, tiny: Tiny, batch_size: int) -> None:
    settings = tiny(evaluation={"sigmas": [0, 2, 8], "blurs": ["disk-4", "shake"], "batch_size": batch_size})
    outcome = found(prepared, settings, Accuracy.smoothed(0.1))
    blurs = settings.levels
    assert [row["blur"] for row in outcome.rows[::5]] == ["sharp", "gaussian-2", "gaussian-8", "disk-4", "shake"]
    assert [row["sigma"] for row in outcome.rows[::5]] == [0.0, 2.0, 8.0, None, None]
    assert {row["n"] for row in outcome.rows} == {9}
    for blur, rows in zip(blurs, (outcome.rows[k : k + 5] for k in range(0, 25, 5)), strict=True):
        logits, labels = one_by_one(prepared, settings, blur)
        log = logits.double().log_softmax(1)
        by_name = {row["metric"]: row.get("count", row.get("value")) for row in rows}
        assert by_name["top1"] == int((logits.argmax(1) == labels).sum())
        assert by_name["top5"] == 9, "of three classes, all are among the first five"
        assert by_name["cross_entropy"] == pytest.approx(float(cross_entropy(log, labels)), rel=1e-5)
        assert by_name["loss"] == pytest.approx(float(cross_entropy(log, labels, label_smoothing=0.1)), rel=1e-5)
        assert by_name["entropy"] == pytest.approx(
            float(torch.distributions.Categorical(logits=log).entropy().mean()), rel=1e-5
        )


def test_many_levels_give_the_same_bits_as_each_by_itself(prepared: Dataset, tiny: Tiny) -> None:
    sigmas = [k / 2 for k in range(33)]
    whole = found(prepared, tiny(evaluation={"sigmas": sigmas}))
    single = [row for sigma in sigmas for row in found(prepared, tiny(evaluation={"sigmas": [sigma]})).rows]
    assert whole.rows == single


def test_each_image_is_read_and_resized_once_for_all_levels(prepared: Dataset, tiny: Tiny) -> None:
    settings = tiny(evaluation={"sigmas": [0, 1, 2, 4, 8], "batch_size": 4})
    read: list[int] = []

    class Watched(ResidentLoader):
        def epoch(self, order: Any, batch_size: int) -> Any:
            for batch in super().epoch(order, batch_size):
                read.extend(batch.indices.tolist())
                yield batch

    images = prepared.evaluation_images("test", 64)
    found(prepared, settings, loader=Watched(images, CPU))
    assert read == images.indices.tolist()


def test_records_of_each_image_add_up_to_the_rows(prepared: Dataset, tiny: Tiny) -> None:
    settings = tiny(evaluation={"sigmas": [0, 8], "batch_size": 4})
    outcome = found(prepared, settings, per_image=True)
    images = prepared.evaluation_images("test", 64)
    assert list(outcome.records) == ["sharp", "gaussian-8"]
    for blur, right, loss in zip(
        settings.levels, metric(outcome, "top1"), metric(outcome, "loss", "value"), strict=True
    ):
        own, (logits, labels) = outcome.records[blur.label], one_by_one(prepared, settings, blur)
        assert own["index"].tolist() == images.indices.tolist() and own["label"].tolist() == labels.tolist()
        assert own["prediction"].tolist() == logits.argmax(1).tolist()
        assert own["confidence"] == pytest.approx(logits.softmax(1).amax(1).numpy(), rel=1e-5)
        assert own["correct"].sum() == right and own["loss"].mean() == pytest.approx(loss, rel=1e-9)


def test_accuracy_is_measured_without_tf32(prepared: Dataset, tiny: Tiny) -> None:
    """torch lets GPUs use it in convolutions unless it is asked not to."""
    seen = set()

    class Watching(MeanColour):
        def forward(self, images: Tensor) -> Tensor:
            seen.add((torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32))
            return super().forward(images)

    before = torch.backends.cudnn.allow_tf32
    found(prepared, tiny(), module=Watching(len(prepared.classes)))
    assert torch.backends.cudnn.allow_tf32 == before
    assert before and seen == {(False, False)}


def test_outputs_that_are_not_finite_are_reported_and_not_averaged(prepared: Dataset, tiny: Tiny) -> None:
    class Broken(MeanColour):
        """NaN for one image of a batch, always the label that argmax takes for the best."""

        def forward(self, images: Tensor) -> Tensor:
            logits = super().forward(images)
            logits[0] = float("nan")
            return logits

    outcome = found(prepared, tiny(evaluation={"sigmas": [0], "batch_size": 9}), module=Broken(3), per_image=True)
    sound = found(prepared, tiny(evaluation={"sigmas": [0], "batch_size": 9}), per_image=True)
    assert {row["not_finite"] for row in outcome.rows} == {1}
    assert metric(outcome, "loss", "value") == [None]
    assert metric(outcome, "top1")[0] == metric(sound, "top1")[0] - int(sound.records["sharp"]["correct"][0])
    assert outcome.records["sharp"]["prediction"][0] == -1
    assert not outcome.records["sharp"]["top5"][0]


def test_the_last_partial_batch_is_dropped_where_that_is_asked_for(prepared: Dataset, tiny: Tiny) -> None:
    """Of nine test images in batches of four, eight: those are the n, the counts and the largest class."""
    some = tiny(evaluation={"sigmas": [0], "batch_size": 4, "drop_last": True})
    images = Images.of(prepared, some.evaluation, 64)
    assert (images.n, images.largest_class) == (8, 3)
    assert {row["n"] for row in found(prepared, some).rows} == {8}
    single = tiny(evaluation={"sigmas": [0], "batch_size": 8, "drop_last": True})
    assert metric(found(prepared, single), "top1") == metric(found(prepared, some), "top1")
    with pytest.raises(DataError, match=r"^evaluation\.drop_last leaves none of the 9 images of test, as .*=10 is"):
        found(prepared, tiny(evaluation={"batch_size": 10, "drop_last": True}))


class Collecting(Group):
    """A process among peers that are not there: what it would add to theirs is kept in `sums`."""

    def sum(self, values: Tensor) -> Tensor:
        SUMS.append(values.clone())
        return values

    def gather(self, value: Any) -> list[Any]:
        return [value]


SUMS: list[Tensor] = []


def test_parts_of_processes_add_up_and_a_lost_image_is_an_error(prepared: Dataset, tiny: Tiny) -> None:
    settings = tiny(evaluation={"batch_size": 2})
    whole = found(prepared, settings)
    SUMS.clear()
    ticks = []
    for rank in range(3):
        ticks.append(0)

        def tick() -> None:
            ticks[-1] += 1

        with pytest.raises(RuntimeError, match="counted"):
            found(prepared, settings, group=Collecting(rank, 3, CPU), tick=tick)
    assert ticks == [2, 2, 2], "five batches for three processes, which keep step"
    indices = prepared.evaluation_images("test", 64).indices
    assert torch.stack(SUMS).sum(0).tolist() == [whole.rows[0]["n"], indices.sum()]


class Toys(Dataset):
    """`prepared`, as if every three of its test images showed one object, and one the last."""

    def objects(self, split: str) -> np.ndarray:
        return np.array([2, 0, 0, 1, 1, 1, 0, 3, 3])


def test_right_images_are_counted_by_object(prepared: Dataset, tiny: Tiny) -> None:
    settings = tiny(evaluation={"batch_size": 2, "sigmas": [0, 2, 8]})
    toys = Toys(prepared.folder)
    outcome = found(toys, settings, per_image=True)
    for label, counts, right in zip(
        outcome.records, metric(outcome, "top1", "by_object"), metric(outcome, "top1"), strict=True
    ):
        correct = outcome.records[label]["correct"]
        assert counts == np.bincount(toys.objects("test"), weights=correct, minlength=4).tolist()
        assert sum(counts) == right
        assert outcome.records[label]["object"].tolist() == toys.objects("test").tolist()
    without = found(prepared, settings, per_image=True)
    assert all("by_object" not in row for row in without.rows)
    assert all("object" not in records for records in without.records.values())


def test_a_loader_of_other_images_is_refused(prepared: Dataset, tiny: Tiny) -> None:
    with pytest.raises(RuntimeError, match=r"the loader reads .*, but evaluation is on"):
        found(prepared, tiny(), loader=ResidentLoader(prepared, CPU))


class Margin(LogitsMeasure):
    """How far the best logit is above the second."""

    name = "margin"

    def values(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        best = logits.topk(2, dim=1).values
        return {"margin": best[:, 0] - best[:, 1]}


def test_a_measure_of_ones_own_says_what_follows_from_logits(prepared: Dataset, tiny: Tiny) -> None:
    settings = tiny(evaluation={"sigmas": [8]})
    outcome = found(prepared, settings, Margin())
    logits, _ = one_by_one(prepared, settings, settings.levels[0])
    best = logits.sort(dim=1, descending=True).values
    assert [row["metric"] for row in outcome.rows] == ["margin"]
    assert outcome.rows[0]["value"] == pytest.approx(float((best[:, 0] - best[:, 1]).mean()), rel=1e-5)


def test_headline_gives_its_n(prepared: Dataset, tiny: Tiny, tmp_path: Path) -> None:
    def line(blurs: Sequence[str], sigmas: Sequence[float]) -> str:
        outcome = found(prepared, tiny(evaluation={"sigmas": sigmas, "blurs": blurs}))
        return headline(Accuracy, json.loads(json.dumps({"rows": outcome.rows, "n": 9})))

    assert "at sigma 0, " in line(["disk-4"], [0, 8]) and line([], [0, 8]).endswith("at sigma 8 (n = 9)")
    assert line(["disk-4"], []).endswith("% at disk-4 (n = 9)")
