"""Training images as the network sees them are those that training is given."""

from collections.abc import Callable

import pytest
import torch

from blurtrain.data.augment import Transform
from blurtrain.data.dataset import Dataset
from blurtrain.data.loader import open_loader
from blurtrain.data.training_batches import TrainingBatches
from blurtrain.data.training_views import training_views
from blurtrain.errors import DataError
from blurtrain.settings import Settings

CURRICULA = {
    "sigmas": {"schedule": "stepwise", "sigmas": [8, 4, 0]},
    "kernels": {"schedule": "mix", "blurs": ["sharp", "disk-8"], "probabilities": [0.5, 0.5]},
}


@pytest.mark.parametrize("kind", CURRICULA)
def test_views_are_the_images_of_the_batches(prepared: Dataset, tiny: Callable[..., Settings], kind: str) -> None:
    settings = tiny(curriculum=CURRICULA[kind], optimisation={"epochs": 3})
    o = settings.optimisation
    transform = Transform.of(settings, prepared)
    batches = TrainingBatches(
        open_loader(settings.loader, prepared, torch.device("cpu")), transform, settings.curriculum,
        prepared.split("train")[0], seed=settings.seed, batch_size=o.batch_size, epochs=o.epochs,
    )  # fmt: skip
    views = training_views(settings, prepared, 24, [1, 3])
    chosen = batches.epoch(0).global_order
    assert len(views) == len(chosen) == 24  # of 30: six are left out of each epoch
    for column, epoch in enumerate((0, 2)):
        whole = batches.epoch(epoch)
        images = torch.cat([batch.images for batch in whole.read()])
        place = {index: k for k, index in enumerate(whole.global_order.tolist())}
        assignment = whole.assignment.reshape(-1)
        seen = set()
        for index, row in zip(chosen.tolist(), views, strict=True):
            view = row[column]
            assert (view is None) == (index not in place)
            if view is None:
                continue
            assert view.epoch == epoch + 1
            pixels = torch.from_numpy(view.pixels).permute(2, 0, 1)[None].float()
            # Rounded to 8 bits, half a grey level of 255 at most, seen through the normalisation.
            off = (transform.normalise(pixels)[0] - images[place[index]]).abs() * torch.tensor(transform.sd).reshape(
                3, 1, 1
            )
            inside = (pixels[0] > 0) & (pixels[0] < 255)
            assert off[inside].max() < 0.51 / 255
            seen.add(view.blur)
            if assignment.which is None:
                assert view.blur == f"sigma {[8, 4, 0][epoch]}"
            else:
                assert view.blur == assignment.blurs[int(assignment.which[place[index]])].label
        assert kind == "sigmas" or seen == {"sharp", "disk-8"}
    assert any(None in row for row in views)


@pytest.mark.parametrize("count", [0, 25])
def test_more_images_than_an_epoch_has_are_refused(
    prepared: Dataset, tiny: Callable[..., Settings], count: int
) -> None:
    with pytest.raises(DataError, match=f"{count} training images: an epoch has 24"):
        training_views(tiny(), prepared, count, [1])
