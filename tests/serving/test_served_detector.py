"""Exported detectors without torch: what the network itself says, and what is refused."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from photo_files import encoded, photo
from random_detector import random_network

from blurtrain.data.decode import opened
from blurtrain.data.image_files import image_files
from blurtrain.errors import DataError, SettingsError
from blurtrain.models.export import export
from blurtrain.models.trained import TrainedNetwork
from blurtrain.serving import Detector
from blurtrain.serving.detector import Detected, Probabilities


def expected(network: TrainedNetwork, content: bytes) -> np.ndarray:
    pixels = torch.from_numpy(network.preprocessing.pixels(opened(content))).permute(2, 0, 1)
    return network.predict(pixels[None])[0].numpy()


@pytest.mark.parametrize("one_core", [False, True])
@pytest.mark.parametrize("view", ["mosaic", "whole"])
def test_it_says_what_the_network_says(tmp_path: Path, photos: list[bytes], view: str, one_core: bool) -> None:
    network = random_network(view)
    export(network, tmp_path / "it.onnx")
    detector = Detector(tmp_path / "it.onnx")
    winners = set()
    for content in photos:
        answer = detector.classify(content, one_core=one_core)
        assert isinstance(answer, Probabilities) and tuple(answer.probabilities) == network.classes
        found = np.array(list(answer.probabilities.values()))
        assert np.abs(found - expected(network, content)).max() < 1e-4
        assert found.sum() == pytest.approx(1, abs=1e-5)
        winners.add(int(found.argmax()))
    assert len(winners) > 1  # so that not any network would do


def test_a_type_is_detected_where_it_is_the_most_probable_class(detector: Detector, photos: list[bytes]) -> None:
    seen = set()
    for content in photos:
        whole = detector.classify(content)
        assert isinstance(whole, Probabilities)
        best = max(whole.probabilities, key=lambda name: whole.probabilities[name])
        for name in detector.selectable:
            found = detector.classify(content, name)
            assert isinstance(found, Detected)
            assert found.detected == (name == best)
            assert found.blur_type_probability == pytest.approx(whole.probabilities[name], abs=1e-6)
            assert found.confidence == pytest.approx(whole.probabilities[best], abs=1e-6)
            seen.add(found.detected)
    assert seen == {True, False}


def test_probabilities_are_calibrated_by_the_sidecars_temperature(
    model: Path, tmp_path: Path, photos: list[bytes]
) -> None:
    def answers(change: Callable[[dict[str, object]], object]) -> np.ndarray:
        file = copied(model, tmp_path, change)
        found = Detector(file).classify(photos[0])
        assert isinstance(found, Probabilities)
        return np.array(list(found.probabilities.values()))

    plain = answers(lambda about: about.pop("temperature"))
    hot = answers(lambda about: about.update(temperature=4.0))
    logits = np.log(plain)
    assert hot == pytest.approx(np.exp(logits / 4) / np.exp(logits / 4).sum(), abs=1e-5)


def test_sharp_and_unknown_types_cannot_be_asked_for(detector: Detector, photos: list[bytes]) -> None:
    kinds = "defocused_blurred, defocused_object_portrait, motion_blurred"
    for name, why in (("sharp", "is no blur"), ("blurry", "is not known"), ("", "is not known")):
        with pytest.raises(SettingsError, match=rf"'{name}' {why}: ask for one of {kinds}"):
            detector.classify(photos[0], name)


def test_photos_are_turned_as_their_exif_says(detector: Detector) -> None:
    upright = photo(3, 90, 60)
    exif = upright.getexif()
    exif[0x0112] = 6  # to be turned by a quarter
    turned = encoded(upright.transpose(2), "PNG", exif=exif)  # Transpose.ROTATE_90
    assert detector.classify(turned) == detector.classify(encoded(upright, "PNG"))


def copied(model: Path, folder: Path, change: Callable[[dict[str, object]], object]) -> Path:
    """The model, with another sidecar."""
    file = folder / model.name
    shutil.copy(model, file)
    about = json.loads(model.with_name(f"{model.name}.json").read_text())
    change(about)
    file.with_name(f"{file.name}.json").write_text(json.dumps(about))
    return file


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda about: about.update(sha256="0" * 64), "is damaged, or not the network"),
        (lambda about: about.pop("classes"), "classes: Field required"),
        (lambda about: about.update(classes=["one"]), "names 1 classes"),
        (lambda about: about["preprocessing"].update(crop=[]), "preprocessing.crop"),
        (lambda about: about.update(temperature=0), "temperature"),
        (lambda about: about["preprocessing"].update(view="upside-down"), "preprocessing.view"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    model: Path, tmp_path: Path, change: Callable[[dict[str, object]], object], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        Detector(copied(model, tmp_path, change))
    assert "\n" not in str(caught.value)


def test_files_that_are_missing_or_damaged_are_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        Detector(tmp_path / "none.onnx")
    file = copied(model, tmp_path, lambda about: about.pop("sha256"))
    file.write_bytes(model.read_bytes()[:200])
    with pytest.raises(DataError, match="is no network that ONNX Runtime can load"):
        Detector(file)
    file.with_name(f"{file.name}.json").write_text("{")
    with pytest.raises(DataError, match="is no JSON"):
        Detector(file)


def test_a_service_needs_no_torch(model: Path, tmp_path: Path, photos: list[bytes]) -> None:
    (tmp_path / "photo.jpg").write_bytes(photos[0])
    code = (
        "import sys; import blurtrain.serving.server; from blurtrain.serving import Detector; "
        "print(Detector(sys.argv[1]).classify(open(sys.argv[2], 'rb').read())); print('torch' in sys.modules)"
    )
    words = [sys.executable, "-c", code, str(model), str(tmp_path / "photo.jpg")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "probabilities" in done.stdout and done.stdout.endswith("False\n")


@pytest.mark.images
@pytest.mark.parametrize("view", ["mosaic", "whole"])
def test_it_says_what_the_network_says_of_real_photos(tmp_path: Path, images_root: Path, view: str) -> None:
    network, paths = random_network(view, 96), image_files(images_root)
    export(network, tmp_path / "it.onnx")
    detector = Detector(tmp_path / "it.onnx")
    for k in range(200):
        content = (images_root / paths[k * len(paths) // 200]).read_bytes()
        answer = detector.classify(content)
        assert isinstance(answer, Probabilities)
        assert np.abs(np.array(list(answer.probabilities.values())) - expected(network, content)).max() < 1e-4
