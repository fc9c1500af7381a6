"""A detector by the command line, from sharp photos on: `data blur`, `detector calibrate` and `detector report`."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blurtrain.blur_types import CLASSES
from blurtrain.cli import main
from blurtrain.evaluation.judged import judged
from blurtrain.models.trained import of_run

pytestmark = pytest.mark.slow


def command(*words: object) -> int:
    with pytest.raises(SystemExit) as done:
        main([str(word) for word in words])
    return int(done.value.code or 0)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of all four classes, made by `data blur` of ten of noise and shapes."""
    folder = tmp_path_factory.mktemp("detector")
    (folder / "sharp").mkdir()
    for k in range(10):
        rng = np.random.default_rng(k)
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((96, 72), Image.Resampling.BICUBIC)
        pixels = np.clip(np.asarray(coarse, int) + rng.integers(-60, 60, (72, 96, 1)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "sharp" / f"wall{k}.png")
    assert command("data", "blur", folder / "sharp", "--out", folder / "drawn", "--val", 0.3) == 0
    return folder


@pytest.fixture(scope="module")
def runs(drawn: Path) -> list[Path]:
    """Of two seeds, one epoch."""
    data = drawn / "data"
    prepare = ["data", "prepare", drawn / "drawn", "--reader", "blur-types", "--view", "mosaic", "--resolution", 72]
    assert command(*prepare, "--name", "walls", "--data", data) == 0
    for seed in (0, 1):
        words = ["regime=clear", "model=blur-type", f"data.root={data}", "data.resolution=72", "optimisation.epochs=1"]
        words += [
            "optimisation.batch_size=8",
            "optimisation.warmup_epochs=0",
            "evaluation.split=val",
            "loader.threads=1",
        ]
        assert command("train", "dataset=walls", *words, f"seed={seed}", "--runs", drawn / "runs") == 0
    return sorted((drawn / "runs").glob("walls-*"))


def test_photos_are_drawn_of_every_class(drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = [path.relative_to(drawn / "drawn").parts for path in (drawn / "drawn").rglob("*.jpg")]
    counts = {(split, name): 0 for split in ("train", "val") for name in CLASSES}
    for split, name, _ in found:
        counts[split, name] += 1
    assert len(found) == 40 and len({counts["train", name] for name in CLASSES}) == 1 and min(counts.values()) >= 1
    assert command("data", "blur", drawn / "sharp", "--out", drawn / "drawn") == 2
    said = capsys.readouterr().err.strip()
    assert "is there already" in said and "\n" not in said


def test_a_temperature_is_kept_in_the_run_and_used(
    drawn: Path, runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert command("detector", "calibrate", runs[0], "--json") == 0
    said = json.loads(capsys.readouterr().out)
    kept = json.loads((runs[0] / "calibration.json").read_text())
    assert kept == said and kept["n"] == 12 and kept["split"] == "val" and kept["temperature"] > 0
    assert kept["cross_entropy"][1] <= kept["cross_entropy"][0] + 1e-6
    photos = [(f"val/{path.parent.name}/{path.name}", "sharp", path.name) for path in drawn.rglob("val/sharp/*.jpg")]
    calibrated = judged(of_run(runs[0]), drawn / "drawn", photos)
    (runs[0] / "calibration.json").rename(runs[0] / "aside.json")
    plain = judged(of_run(runs[0]), drawn / "drawn", photos)
    (runs[0] / "aside.json").rename(runs[0] / "calibration.json")
    softened = plain.probabilities ** (1 / kept["temperature"])
    np.testing.assert_allclose(calibrated.probabilities, softened / softened.sum(1, keepdims=True), atol=1e-5)
    assert np.abs(calibrated.probabilities - plain.probabilities).max() > 1e-3


def test_a_temperature_is_of_val_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("detector", "calibrate", tmp_path, "--split", "test") == 2
    assert "--split" in capsys.readouterr().err


def test_detectors_are_tested_on_the_same_photos(
    drawn: Path, runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, out = drawn / "drawn" / "val", tmp_path / "report"
    assert command("detector", "report", photos, *runs, "--out", out) == 0
    said = capsys.readouterr().out
    document = json.loads((out / "report.json").read_text())
    assert len(document["reports"]) == 2 and len(document["compared"]) == 1 and said == (out / "report.txt").read_text()
    first, other = document["reports"]
    (pair,) = document["compared"]
    assert (pair["own"], pair["base"]) == (other["network"], first["network"])
    assert pair["difference"] == pytest.approx(other["accuracy"]["share"] - first["accuracy"]["share"])
    assert f"{other['network']} minus {first['network']}: {100 * pair['difference']:+.1f} points" in said
    for k, report in enumerate(document["reports"]):
        with (out / f"photos-{k}.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert {row["file"] for row in rows} == {str(path.relative_to(photos)) for path in photos.rglob("*.jpg")}
        right = sum(row["is"] == row["taken_for"] for row in rows)
        assert np.sum(np.diag(report["confusion"])) == right and np.sum(report["confusion"]) == len(rows) == 12
        for row in rows:
            assert sum(float(row[name]) for name in CLASSES) == pytest.approx(1, abs=1e-5)
            assert row["taken_for"] == max(CLASSES, key=lambda name: float(row[name]))
        if right < len(rows):
            with Image.open(out / f"mistakes-{k}.png") as sheet:
                assert sheet.size[0] > 260
    assert command("detector", "report", photos, runs[0], "--out", out) == 2
    said = capsys.readouterr().err.strip()
    assert "is there already" in said and "\n" not in said
    assert command("detector", "report", tmp_path / "none", runs[0], "--out", tmp_path / "other") == 2
    said = capsys.readouterr().err.strip()
    assert "none" in said and "\n" not in said and not (tmp_path / "other").exists()


def test_what_a_detector_was_trained_on_is_said(
    drawn: Path, runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = drawn / "drawn"
    assert command("detector", "report", photos, runs[0], "--out", tmp_path / "val") == 0
    said = capsys.readouterr().out
    document = json.loads((tmp_path / "val" / "report.json").read_text())
    assert said.splitlines()[0] == f"{photos}: split val, 12 of 40 photos" and "WARNING" not in said
    assert (document["split"], [*document["trained_on"].values()]) == ("val", [0])
    assert command("detector", "report", photos, runs[0], "--out", tmp_path / "all", "--split", "all") == 0
    first, warning, *_ = capsys.readouterr().out.splitlines()
    assert first == f"{photos}: all 40 photos, of splits val, train"
    assert warning.startswith("WARNING: ") and "trained on 28 of these 40 photos" in warning


def test_groups_by_what_is_no_regular_expression(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Said before anything is read: there are no photos and no run here, either."""
    assert command("detector", "report", tmp_path, tmp_path, "--out", tmp_path / "out", "--by", "(") == 2
    said = capsys.readouterr().err.strip()
    assert "--by '('" in said and "\n" not in said
