"""Networks that are shown restored images: which pixels they see, and how results are kept apart."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import analysis
from blurtrain.blur.blurs import Blur
from blurtrain.cli import main
from blurtrain.data.augment import Transform
from blurtrain.deblurring import Deblurring
from blurtrain.evaluation.families import FAMILIES
from blurtrain.evaluation.quality import psnr
from blurtrain.run import Run
from blurtrain.settings import Augmentation, BlurUnits, Settings
from blurtrain.training.train import train

Tiny = Callable[..., Settings]
LEVELS = ["disk-8", "shake"]


@pytest.fixture(scope="module")
def run(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = tiny(evaluation={"sigmas": [0], "blurs": LEVELS, "batch_size": 4, "deblur": ["wiener"]})
    return train(settings, tmp_path_factory.mktemp("runs")).path


def evaluate(run: Path, *words: str, capsys: pytest.CaptureFixture[str], code: int = 0) -> Any:
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", str(run), *words, "--json"])
    out, err = capsys.readouterr()
    assert (caught.value.code or 0) == code, err
    return err.strip() if code else json.loads(out)


@pytest.mark.parametrize("linear", [False, True], ids=["sRGB", "linear light"])
def test_the_pixels_are_restored_from_eight_bits_and_rounded_again(linear: bool) -> None:
    units = BlurUnits(linear_light=linear)
    method: Deblurring = Deblurring.model_validate("wiener")
    transform = Transform(Augmentation(), 48, (0.5,) * 3, (0.25,) * 3, units, 0, deblur=method)
    plain = Transform(Augmentation(), 48, (0.5,) * 3, (0.25,) * 3, units, 0)
    smooth = torch.nn.functional.avg_pool2d(torch.rand(2, 3, 52, 52, generator=torch.Generator().manual_seed(0)), 5, 1)
    sharp = ((smooth - 0.5) * 800 + 128).clamp(0, 255).round()
    blur, indices = Blur.parse("disk-2@48"), np.array([3, 4])
    given = plain.blurred_pixels(sharp, blur, indices).clamp(0, 255).round()
    seen = transform.blurred_pixels(sharp, blur, indices)
    assert torch.equal(seen, seen.round()) and float(seen.min()) >= 0 and float(seen.max()) <= 255
    if not linear:
        assert torch.equal(seen, method.deblurred(given, blur, indices, resolution=48).round())
    assert ((psnr(seen, sharp) - psnr(given, sharp)) > 3).all()
    assert torch.equal(transform.blurred(sharp, blur, indices), plain.normalise(seen.clone()))


def test_training_ends_with_each_method_beside_none(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accuracy = (Run(run).result() or {})["accuracy"]
    assert "deblur" not in json.loads((Run(run).evaluations / accuracy).read_text()), "the headline is of none"
    before = {path: path.read_bytes() for path in Run(run).evaluations.glob("*.json")}
    assert len(before) == 2
    plain, restored = evaluate(run, capsys=capsys)
    assert plain["file"] == accuracy and restored["deblur"] == "wiener"
    assert {path: path.read_bytes() for path in Run(run).evaluations.glob("*.json")} == before, "nothing was measured"

    def counts(document: Any, blur: str) -> list[Any]:
        return [row.get("count", row.get("value")) for row in document["rows"] if row["blur"] == blur]

    assert counts(plain, "sharp") == counts(restored, "sharp"), "where there is no blur there is nothing to restore"
    assert counts(plain, "disk-8") != counts(restored, "disk-8")


def test_methods_do_not_mix(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, weak, strong = evaluate(run, "--deblur", "wiener noise=0.2", "--deblur", "unsharp amount=3", capsys=capsys)
    assert (weak["deblur"], strong["deblur"]) == ("wiener noise=0.2", "unsharp amount=3")
    assert len({weak["file"], strong["file"]}) == 2
    frame = analysis.load(run.parent)
    assert set(frame["deblur"]) >= {"none", "wiener", "wiener noise=0.2", "unsharp amount=3"}
    table = analysis.table({"rows": "deblur", "columns": "blur", "where": "blur=disk-8"}, run.parent)
    labels = [head.label for head in table.rows]
    assert "wiener" in " ".join(labels) and len(labels) == len(set(labels)) >= 4


def test_quality_by_level(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--measure", "deblurring", "--deblur", "wiener", "evaluation.per_image=true")
    plain, restored = evaluate(run, *words, capsys=capsys)
    found = {(row["blur"], row["metric"]): row for row in restored["rows"]}
    before = {(row["blur"], row["metric"]): row["value"] for row in plain["rows"]}
    for blur in LEVELS:
        assert found[blur, "gained"]["count"] == restored["n"], blur
        gain = found[blur, "psnr"]["value"] - before[blur, "psnr"]
        assert found[blur, "psnr_gain"]["value"] == pytest.approx(gain, abs=1e-6) and gain > 1
        assert found[blur, "ssim"]["value"] > before[blur, "ssim"]
        assert found[blur, "seconds"]["value"] > 0
        assert {found[blur, f"psnr_{place}"]["value"] > 10 for place in ("frame", "centre")} == {True}
    assert found["sharp", "psnr"]["value"] == before["sharp", "psnr"] == 100


def test_every_measure_of_blurred_images_is_of_restored_ones(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for name in ("calibration", "features") for word in ("--measure", name)]
    documents = evaluate(run, *words, "evaluation.blurs=[disk-8]", capsys=capsys)
    by_measure: dict[str, list[Any]] = {}
    for document in documents:
        rows = [{name: value for name, value in row.items() if name != "deblur"} for row in document["rows"]]
        by_measure.setdefault(document["measure"], []).append([row for row in rows if row["blur"] != "sharp"])
    assert {name: len(pair) for name, pair in by_measure.items()} == dict.fromkeys(by_measure, 2)
    assert all(plain != restored for plain, restored in by_measure.values())


def test_a_method_of_ones_own(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = """from blurtrain.deblurring import NonBlind


class Grey(NonBlind):
    level: float = 0.5

    def restored(self, images, kernels):
        assert len(kernels) == len(images)
        return images * 0 + self.level
"""
    (tmp_path / "own_deblurring.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    words = ("--measure", "deblurring", "--deblur", "own_deblurring.py:Grey level=0.25", "evaluation.blurs=[disk-8]")
    _, own = evaluate(run, *words, capsys=capsys)
    assert own["deblur"] == "own_deblurring.py:Grey level=0.25" and len(own["deblur_source"]) == 16
    psnr_of_grey = next(row["value"] for row in own["rows"] if (row["blur"], row["metric"]) == ("disk-8", "psnr"))
    assert psnr_of_grey < 20


def test_each_member_of_a_family_is_restored_by_its_own_kernel() -> None:
    (family,) = FAMILIES["disk"]
    plain = Transform(Augmentation(), 48, (0.5,) * 3, (0.25,) * 3, BlurUnits(), 0)
    restoring = replace(plain, deblur=Deblurring.model_validate("wiener"))
    noise = torch.rand(3, 3, 52, 52, generator=torch.Generator().manual_seed(1))
    sharp = ((torch.nn.functional.avg_pool2d(noise, 5, 1) - 0.5) * 800 + 128).clamp(0, 255).round()
    lengths = np.array([8.0, 16.0, 8.0])
    before, after = (psnr(family.blurred(sharp, lengths, one), sharp) for one in (plain, restoring))
    assert (after - before > 2).all()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--deblur", "wiener", "evaluation.blurs=[glass-3]"), "needs the kernel of each image, and glass-3 has none"),
        (("--deblur", "wiener noise=0",), "noise"),
        (("--deblur", "wiener", "--deblur", "wiener"), "wiener is given twice"),
        (("--deblur", "weiner"), "did you mean 'wiener'"),
        (("--deblur", "wiener", "--measure", "tuning"), "does not look at blurred images"),
        (("--deblur", "learned run=missing"), "missing: no such run"),
        (("--deblur", "denoiser-prior run=missing noise=0"), "noise"),
        (("--deblur", "wiener", f"evaluation.blurs=[{{kernel: file, file: {__file__}, title: k}}]"), "has suffix .py"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(
    run: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = evaluate(run, *words, capsys=capsys, code=2)
    assert said in line and "\n" not in line
