"""Trained networks: of a run, of a file, of torchvision and timm; what they predict, and what their export gives."""

# ruff: noqa: I001  (torchvision_ops comes before torchvision)

import hashlib
import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from blurtrain.models import torchvision_ops  # noqa: F401  (before torchvision)
from torchvision.transforms import v2

from blurtrain.cli import main
from blurtrain.data.dataset import Dataset
from blurtrain.errors import BlurtrainError, DataError, RunError, SettingsError
from blurtrain.evaluation import evaluate
from blurtrain.models import (
    build,
    export,
)
from blurtrain.models.published import network_named
from blurtrain.models.trained import Preprocessing, TrainedNetwork, of_run
from blurtrain.settings import Settings
from blurtrain.training.train import train

Tiny = Callable[..., Settings]


def called(*words: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    return int(caught.value.code or 0)


@pytest.fixture(scope="module")
def run(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = tiny(evaluation={"sigmas": [0], "per_image": True})
    return train(settings, tmp_path_factory.mktemp("runs")).path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict of a ResNet-18 of five classes, drawn at random; and the names of its classes."""
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.manual_seed(3)
    torch.save(build("resnet-18", 5).state_dict(), path)
    path.with_name("classes.txt").write_text("checks\nplain\nrings\ndots\nstripes\n")
    return path


def published(weights: Path, **more: Any) -> TrainedNetwork:
    settings = {"weights": str(weights), "classes": str(weights.with_name("classes.txt")), "resize": 73, "crop": 64}
    return network_named("torchvision/resnet18", {**settings, **more})


# --- where they come from -------------------------------------------------------------------------------------------


def test_a_run_has_its_own_preprocessing_and_class_names(run: Path, prepared: Dataset) -> None:
    network = of_run(run)
    assert network.classes == ("checks", "rings", "stripes") and run.name in network.origin
    mean, sd = tuple(prepared.manifest["mean"]), tuple(prepared.manifest["sd"])
    assert network.preprocessing == Preprocessing(64, 64, mean, sd)


def test_a_published_network_comes_with_what_its_publisher_says(weights: Path) -> None:
    network = network_named(str(weights), {"architecture": "torchvision/resnet18", "outputs": 5})
    p = network.preprocessing
    assert (p.resize, p.crop, p.interpolation, p.keep_aspect) == (256, 224, "bilinear", True)
    assert p.mean == pytest.approx((0.485, 0.456, 0.406)) and p.sd == pytest.approx((0.229, 0.224, 0.225))
    assert network.classes[4] == "class 4"
    own = published(weights)
    assert own.classes[3] == "dots" and (own.preprocessing.resize, own.preprocessing.crop) == (73, 64)
    assert not own.module.training


def test_a_network_can_be_named_in_a_file(weights: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"architecture: resnet-18\nweights: {weights}\noutputs: 5\nmean: [0.5, 0.5, 0.5]\n")
    network = network_named(str(file), {"sd": [0.25, 0.25, 0.25]})
    assert network.preprocessing.mean == (0.5,) * 3 and network.preprocessing.sd == (0.25,) * 3


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("torchvision/resnet19", {}, "torchvision has no network 'resnet19'; did you mean 'resnet18'?"),
        ("timm/resnet10q", {}, "timm has no network 'resnet10q'; did you mean"),
        ("torchvision/resnet50", {}, r"not on this machine, and nothing is downloaded unasked.*weights fetch"),
        ("timm/resnet10t", {}, r"not on this machine, and nothing is downloaded unasked.*weights fetch timm"),
        ("WEIGHTS", {}, "say of what, by network.architecture"),
        ("torchvision/resnet18", {"weights": "WEIGHTS"}, "for another number of classes"),
        ("torchvision/resnet18", {"weights": "gone.pth"}, "gone.pth: cannot be read"),
        ("torchvision/resnet18", {"weight": "x"}, "weight: unknown setting; did you mean 'weights'?"),
        ("alexnet-sup", {"weights": "WEIGHTS", "outputs": 5}, "nothing published says its"),
        ("torchvision/resnet18", {"weights": "WEIGHTS", "outputs": 5, "resize": 64, "crop": 73}, "is more than"),
    ],
)
def test_mistakes_are_one_line(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, settings: dict[str, Any], message: str
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    given = {k: str(weights) if v == "WEIGHTS" else v for k, v in settings.items()}
    with pytest.raises((SettingsError, DataError), match=message) as caught:
        network_named(str(weights) if name == "WEIGHTS" else name, given)
    assert "\n" not in str(caught.value)


def test_weights_in_torchs_cache_are_found(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(build("resnet-18", 1000).state_dict(), tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth")
    network = network_named("torchvision/resnet18")
    assert network.classes[0] == "tench" and len(network.classes) == 1000
    few = network.restricted(["n01440764", "Goldfish", "great_white_shark"])
    assert few.outputs == (0, 1, 2) and few.classes == ("n01440764", "Goldfish", "great_white_shark")
    with pytest.raises(DataError, match="has no class 'checks' \\(nor 1 others of 3\\)"):
        network.restricted(["checks", "tench", "rings"])


# --- evaluate -------------------------------------------------------------------------------------------------------


def test_a_published_network_is_measured_on_the_classes_of_a_dataset(
    weights: Path, prepared: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"network.weights={weights}", f"network.classes={weights.with_name('classes.txt')}"]
    words += ["network.resize=73", "network.crop=64", "evaluation.sigmas=[0]", "evaluation.blurs=[disk-8]"]
    where = ["--data", prepared.folder.parent, "--dataset", prepared.name, "--out", tmp_path / "out"]
    assert called("evaluate", "torchvision/resnet18", *words, *where, "--json", "evaluation.per_image=true") == 0
    (document,) = json.loads(capsys.readouterr().out)
    assert (document["n"], document["classes"], document["resolution"], document["crop"]) == (9, 3, 73, 64)
    assert document["origin"] == "torchvision/resnet18 of resnet18.pth"
    # By hand: the images as they are stored at 73 px, their centre, and three of the five logits.
    network, (indices, labels) = published(weights), prepared.split("test")
    pixels = torch.from_numpy(prepared.store.read(indices)).permute(0, 3, 1, 2)
    normalised = v2.functional.normalize(pixels / 255, network.preprocessing.mean, network.preprocessing.sd)
    with torch.no_grad():
        logits = network.module(v2.functional.center_crop(normalised, [64]))[:, [0, 2, 4]]
    (path,) = (tmp_path / "out").glob("accuracy-*.parquet")
    sharp = pd.read_parquet(path).query("blur == 'sharp'")
    assert sharp["prediction"].tolist() == logits.argmax(1).tolist()
    assert sharp["confidence"].to_numpy() == pytest.approx(logits.softmax(1).amax(1).numpy(), rel=1e-4)
    assert document["rows"][0]["count"] == int((logits.argmax(1).numpy() == labels).sum())
    before = path.stat().st_mtime_ns
    rows = evaluate(
        published(weights), blurs=["sharp", "disk-8"], data=prepared.folder.parent, dataset=prepared.name,
        out=tmp_path / "out", per_image=True,
    )  # fmt: skip
    assert [row["blur"] for row in rows[::5]] == ["sharp", "disk-8"]
    assert path.stat().st_mtime_ns == before, "known already"
    other = published(weights, mean=[0.5, 0.5, 0.5])
    evaluate(other, blurs=[0], data=prepared.folder.parent, dataset=prepared.name, out=tmp_path / "out")
    assert len(list((tmp_path / "out").glob("accuracy-*.json"))) == 2, "prepared otherwise: another outcome"


def test_classes_that_the_network_does_not_have_are_one_line(
    weights: Path, prepared: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--data", prepared.folder.parent, "--dataset", prepared.name, "--out", tmp_path]
    assert called("evaluate", "torchvision/resnet18", f"network.weights={weights}", "network.outputs=5", *where) == 2
    err = capsys.readouterr().err
    assert "has no class 'checks'" in err and err.count("\n") == 1


# --- predict --------------------------------------------------------------------------------------------------------


def test_a_run_predicts_files_as_it_was_tested_on_them(
    run: Path, prepared: Dataset, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "images"
    shutil.copytree(tree, folder)
    (folder / "broken.png").write_bytes(b"no image")
    assert called("predict", run, folder, "--out", tmp_path / "table.csv") == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'table.csv'}\n" and "42 of 43 images predicted" in err
    assert "broken.png: no image, by its content" in err
    table = pd.read_csv(tmp_path / "table.csv").set_index("path")
    assert list(table.columns) == [f"{what}{k}" for k in (1, 2, 3) for what in ("class", "probability")] + ["error"]
    assert table.loc["broken.png", "error"] == "no image, by its content"
    probabilities = table.drop("broken.png")[["probability1", "probability2", "probability3"]].to_numpy()
    assert probabilities.sum(1) == pytest.approx(1, abs=1e-5) and (np.diff(probabilities) <= 0).all()
    (path,) = (run / "evaluations").glob("accuracy-*.parquet")
    records = pd.read_parquet(path)
    assert prepared.test_store
    for index, prediction, confidence in records[["index", "prediction", "confidence"]].itertuples(index=False):
        row = table.loc[prepared.test_store.rows[index]["path"]]
        assert row["class1"] == prepared.classes[prediction]
        assert row["probability1"] == pytest.approx(confidence, rel=1e-4)
    assert called("predict", run, folder / "rings", "--out", tmp_path / "table.parquet") == 0
    assert len(pd.read_parquet(tmp_path / "table.parquet")) == 14


@pytest.mark.parametrize("size", [(90, 60), (60, 90), (64, 64), (101, 77)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_images_are_resized_and_cropped_as_torchvision_does(size: tuple[int, int], interpolation: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    image = Image.fromarray(pixels)
    theirs = v2.Compose([v2.Resize(48, v2.InterpolationMode(interpolation)), v2.CenterCrop(41)])(image)
    ours = Preprocessing(48, 41, (0,) * 3, (1,) * 3, True, interpolation).pixels(image)
    assert np.array_equal(ours, np.asarray(theirs))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["RUN", "TREE", "--out", "table.txt"], "must end in .csv or .parquet"),
        (["RUN", "EMPTY", "--out", "table.csv"], "holds no images"),
        (["RUN", "TREE", "--out", "table.csv", "--epoch", "1"], "has no weights of epoch 1 (there are: 2)"),
        (["RUN", "TREE", "--out", "table.csv", "network.resize=3"], "is a run, whose network is as its settings say"),
        (["RUN", "TREE", "--out", "table.csv", "optimisation.epochs=3"], "only network.* can be set here"),
    ],
)
def test_mistakes_in_predicting_are_one_line(
    run: Path, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    places = {"RUN": run, "TREE": tree, "EMPTY": tmp_path}
    assert called("predict", *[places.get(word, word) for word in words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and err.count("\n") == 1


def test_data_of_another_kind_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not prepared"):
        of_run(run, data=tmp_path)


@pytest.mark.parametrize("known", [True, False])
def test_weights_that_are_not_those_published_are_refused(run: Path, tmp_path: Path, known: bool) -> None:
    copy = tmp_path / run.name
    shutil.copytree(run, copy)
    result = json.loads((copy / "result.json").read_text())
    content = bytearray((copy / "weights.safetensors").read_bytes())
    assert result["sha256"] == {"weights.safetensors": hashlib.sha256(content).hexdigest()}
    if not known:  # of a run that an older version has trained
        (copy / "result.json").write_text(json.dumps({k: v for k, v in result.items() if k != "sha256"}))
        of_run(copy)
    content[-3] ^= 64  # one bit of one weight
    (copy / "weights.safetensors").write_bytes(content if known else b"damaged")
    with pytest.raises(RunError, match="is damaged, or another file" if known else "cannot be read"):
        of_run(copy)


# --- export ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["onnx", "pt2"])
def test_an_export_gives_the_networks_logits_for_any_number_of_images(
    run: Path, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    if ending == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    file = tmp_path / f"network.{ending}"
    assert called("export", run, "--out", file, "--images", tree) == 0
    out, err = capsys.readouterr()
    assert out == f"{file}\n" and "verified on 42 real images" in err
    names = ["class_names.json"] if ending == "onnx" else []
    assert sorted(path.name for path in tmp_path.iterdir()) == [*names, file.name, f"{file.name}.json"]
    about = json.loads((tmp_path / f"{file.name}.json").read_text())
    assert about["classes"] == ["checks", "rings", "stripes"] and about["input"] == ["N", 3, 64, 64]
    assert about["preprocessing"]["resize"] == 64 and about["verified"]["largest_difference"] < 1e-4
    assert about["verified"]["largest_difference_of_a_probability"] < 1e-4
    assert about["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    if ending == "onnx":
        assert json.loads((tmp_path / "class_names.json").read_text()) == about["classes"]
        opset = importlib.import_module("onnx").load(file).opset_import
        assert [(one.domain, one.version) for one in opset if one.domain == ""] == [("", about["opset"])]
    network, images = of_run(run), torch.randn(3, 3, 64, 64)
    for n in (1, 3):
        if ending == "pt2":
            found = torch.export.load(file).module()(images[:n])
        else:
            import onnxruntime

            session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
            found = torch.from_numpy(session.run(["logits"], {"images": images[:n].numpy()})[0])
        with torch.no_grad():
            assert torch.allclose(found, network.logits(images[:n]), atol=1e-4)


def test_what_does_not_give_the_networks_logits_is_not_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, whole = of_run(run), export._pt2

    def wrong(module: Any, shown: Any, file: Path) -> Any:
        return whole(module, shown, file) + 0.01

    monkeypatch.setattr(export, "_pt2", wrong)
    with pytest.raises(BlurtrainError, match="is not written: its logits differ"):
        export.export(network, tmp_path / "network.pt2")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match=r"must end in \.onnx or \.pt2"):
        export.export(network, tmp_path / "network.pb")
