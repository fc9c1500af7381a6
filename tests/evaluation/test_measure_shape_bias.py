"""Shape bias of networks whose decisions are known, on drawn images."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from test_accuracy import MeanColour, subject
from torch import Tensor, nn

from blurtrain.data.dataset import Dataset
from blurtrain.distributed import Group
from blurtrain.errors import BlurtrainError, DataError, SettingsError
from blurtrain.evaluation.measures.shape_bias import CATEGORIES, ShapeBias, categories_in, outputs_of_categories
from blurtrain.evaluation.named import measure_named
from blurtrain.evaluation.subject import Found, Subject
from blurtrain.models.outputs import imagenet_names, imagenet_synonyms
from blurtrain.models.trained import Preprocessing, TrainedNetwork
from blurtrain.settings import Settings

Tiny = Callable[..., Settings]
CLASSES = ("tabby", "n02123394", "lorry", "bottle", "cloud")
TABLE = "cat: [tabby, n02123394]\ntruck: [lorry]\nbottle: []\noven: [stove]\n"


class Grey(nn.Module):
    """Probabilities that are written into the image: its level of grey says which row of a table."""

    ROWS = torch.tensor([
        [0.30, 0.00, 0.20, 0.40, 0.10],  # mean: bottle (.4); of cat .15
        [0.45, 0.25, 0.30, 0.00, 0.00],  # mean: cat .35, truck .30
        [0.00, 0.00, 0.60, 0.30, 0.10],  # truck
        [0.42, 0.00, 0.25, 0.10, 0.23],  # mean: truck .25, cat .21; max: cat .42
    ])  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        row = (images.mean((1, 2, 3)) * 255 / 60).round().long()
        return torch.where(row[:, None] > 3, torch.nan, (self.ROWS[row.clamp(max=3)] + 1e-9).log())


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """cat-truck: decided as said; one without conflict, one with a cue that the network does not know."""
    for name, row in [
        ("cat/cat1-truck2", 1), ("cat/cat2-truck1", 2), ("cat/cat3-bottle1", 2), ("truck/truck1-cat1", 2),
        ("truck/truck2-bottle", 3), ("bottle/bottle1-truck7", 0), ("cat/cat9-cat1", 0), ("oven/oven1-cat1", 0),
    ]:  # fmt: skip
        path = tmp_path / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 30), (60 * row,) * 3).save(path)
    (tmp_path / "mine.yaml").write_text(TABLE)
    return tmp_path / "images"


@pytest.fixture
def at(prepared: Dataset, tiny: Tiny) -> Subject:
    one = subject(prepared, tiny())
    preprocessing = replace(one.network.preprocessing, resize=16, crop=16, mean=(0, 0, 0), sd=(1, 1, 1))
    network = replace(one.network, module=Grey().train(), classes=CLASSES, preprocessing=preprocessing)
    return replace(one, network=network)


def measured(at: Subject, images: Path, **options: Any) -> Found:
    given = {"folder": str(images), "categories": str(images.parent / "mine.yaml"), **options}
    return ShapeBias.model_validate(given).measure(at, ["cue-conflict"], True)


def numbers(found: Found) -> dict[str, Any]:
    return {row["metric"]: row.get("count", row.get("value")) for row in found.rows}


def test_decisions_are_counted_by_cue(at: Subject, images: Path) -> None:
    found = measured(at, images)
    # In order: bottle1-truck7: bottle (shape); cat1-truck2: cat (shape); cat2-truck1: truck (texture);
    # cat3-bottle1: truck (neither); truck1-cat1: truck (shape); truck2-bottle: truck (shape).
    assert numbers(found) == {"shape_bias": 4 / 5, "shape": 4, "texture": 1, "neither": 1}
    assert {row["n"] for row in found.rows} == {6} and {row["blur"] for row in found.rows} == {"cue-conflict"}
    records = found.records["cue-conflict"]
    assert records["shape"].tolist() == [0, 1, 1, 1, 2, 2] and records["texture"].tolist() == [2, 2, 2, 0, 1, 0]
    assert records["decision"].tolist() == [0, 1, 2, 2, 2, 2]
    assert at.network.module.training, "as it was"


def test_a_category_is_the_mean_of_its_classes_or_the_likeliest(at: Subject, images: Path) -> None:
    assert measured(at, images, pooling="max").records["cue-conflict"]["decision"].tolist() == [0, 1, 2, 2, 2, 1]


def test_two_processes_give_the_same(at: Subject, images: Path) -> None:
    whole = measured(at, images)
    parts: list[Any] = []

    class Part(Group):
        def gather(self, value: Any) -> list[Any]:
            parts.append(value)
            return [*parts]

    for rank in (0, 1):
        both = replace(at, group=Part(rank, 2, torch.device("cpu")))
        try:
            found = measured(both, images)
        except ValueError:  # of the first, which has not all
            assert rank == 0
    assert found.rows == whole.rows


def test_what_is_not_finite_is_neither_and_not_averaged(at: Subject, images: Path) -> None:
    Image.new("RGB", (20, 20), (250,) * 3).save(images / "cat" / "cat1-truck2.png")
    found = measured(at, images)
    assert numbers(found) == {"shape_bias": None, "shape": 3, "texture": 1, "neither": 2}
    assert {row["not_finite"] for row in found.rows} == {1}


def test_a_wrong_folder_is_one_line(at: Subject, images: Path, tmp_path: Path) -> None:
    def line(error: type[BlurtrainError], **options: Any) -> str:
        with pytest.raises(error) as caught:
            measured(at, images, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert line(DataError, folder=str(tmp_path / "none")).endswith("none: no such folder")
    (tmp_path / "empty").mkdir()
    assert "empty" in line(DataError, folder=str(tmp_path / "empty"))
    only = tmp_path / "only"
    only.mkdir()
    Image.new("RGB", (9, 9)).save(only / "cat1-cat2.png")
    assert line(DataError, folder=str(only)).endswith("of its 1 images none has the texture of another category")
    Image.new("RGB", (9, 9)).save(only / "cat1-oven2.png")
    assert "two of the categories that run of a test knows: bottle, cat, truck" in line(DataError, folder=str(only))
    (images / "truck" / "cat1-bottle1.png").write_bytes((only / "cat1-cat2.png").read_bytes())
    assert "truck/cat1-bottle1.png is not named SHAPE/SHAPE1-TEXTURE1.png" in line(DataError)
    (images / "truck" / "cat1-bottle1.png").unlink()
    (images / "cat" / "cat4-truck1.png").write_bytes(b"no image")
    assert "cat4-truck1.png: " in line(DataError)
    (tmp_path / "mine.yaml").write_text("cat: tabby\n")
    assert "mine.yaml: cat: must be a list of names of classes" in line(SettingsError)
    (tmp_path / "mine.yaml").write_text("cat: [tabby]\noven: [stove]\n")
    assert "has classes of 1 of the 2 categories (cat, oven), and two are needed" in line(SettingsError)
    with pytest.raises(SettingsError, match=r"^measure shape-bias: folder: missing"):
        measure_named("shape-bias")


def test_the_published_categories_are_classes_of_imagenet() -> None:
    if not imagenet_names():
        pytest.skip("needs timm, which knows the classes of ImageNet")
    table = categories_in(CATEGORIES)
    seen = Preprocessing(8, 8, (0, 0, 0), (1, 1, 1))
    network = TrainedNetwork(MeanColour(3), seen, imagenet_names(), "of a test", imagenet_synonyms())
    found = outputs_of_categories(network, table)
    assert len(found) == 16 and {name: len(own) for name, own in found.items()} == {
        name: len(own) for name, own in table.items()
    }
    every = [output for own in found.values() for output in own]
    assert len(every) == len(set(every)) == 207
    assert found["elephant"] == [385, 386] and found["airplane"] == [404] and found["cat"] == [*range(281, 287)]
