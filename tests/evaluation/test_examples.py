"""Example panels: which images, what is shown of them, and the picture."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from analysis.figures.examples import examples_figure, save
from blurtrain.blur import convolve, kernels
from blurtrain.blur.blurs import Blur
from blurtrain.cli import main
from blurtrain.data.dataset import Dataset
from blurtrain.errors import BlurtrainError, DataError
from blurtrain.evaluation.examples import Example, Look, examples
from blurtrain.evaluation.runs import run_plan
from blurtrain.models import build
from blurtrain.models.published import network_named
from blurtrain.models.trained import of_run
from blurtrain.run import Run
from blurtrain.settings import Settings
from blurtrain.training.train import train

DISK = Blur.parse("disk-8")


@pytest.fixture(scope="module")
def run(tiny: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory) -> Run:
    settings = tiny(optimisation={"epochs": 1, "warmup_epochs": 0}, loader={"threads": 1})
    return train(settings, tmp_path_factory.mktemp("runs"))


def test_images_are_chosen_by_their_paths_alone_a_class_in_turn(run: Run, prepared: Dataset) -> None:
    plan = run_plan(run.path)
    shown = examples(plan, DISK, 5)
    assert [e.label for e in shown[:3]] != [e.label for e in shown[1:4]]
    assert len({e.label for e in shown[:3]}) == 3 and len({e.path for e in shown}) == 5
    digest = lambda e: hashlib.sha256(e.path.encode()).hexdigest()  # noqa: E731
    assert [digest(e) for e in shown[:3]] == sorted(digest(e) for e in shown[:3])
    assert [e.path for e in examples(plan, Blur.parse("shake"), 3)] == [e.path for e in shown[:3]]
    assert all(e.path.split("/")[-2] == e.label for e in shown)
    for count in (0, 10):
        with pytest.raises(DataError, match="the test split has 9 to choose from"):
            examples(plan, DISK, count)


def test_what_is_shown_is_what_the_network_says_of_the_pixels(run: Run, prepared: Dataset) -> None:
    network, store = of_run(run.path), prepared.test_store
    assert store
    place = {row["path"]: k for k, row in enumerate(store.rows)}
    for example in examples(run_plan(run.path), DISK, 3):
        pixels = torch.from_numpy(store.read(np.array([place[example.path]]))).permute(0, 3, 1, 2).float()
        blurred = convolve(pixels, kernels_at_64())
        for look, seen in ((example.sharp, pixels), (example.blurred, blurred)):
            assert np.abs(look.pixels - seen[0].permute(1, 2, 0).numpy()).max() <= 0.5 + 1e-3
            expected = network.logits(network.preprocessing.normalised(seen)).softmax(1)[0]
            order = expected.argsort(descending=True)
            assert look.classes == tuple(network.classes[k] for k in order)
            assert look.probabilities == pytest.approx(expected[order].tolist(), abs=1e-4)


def kernels_at_64() -> np.ndarray:
    from blurtrain.blur.resampling import resampled

    return resampled(kernels.disk(8), 64 / 224)


def test_the_picture_is_the_same_again_and_takes_names_as_they_are(tmp_path: Path) -> None:
    name = r"$\frac{a}{$ <b>&amp; %s {0}"
    look = Look(np.zeros((8, 12, 3), np.uint8), (name, "b"), (0.7, 0.3))
    shown = [Example("a.png", name, look, look)]
    for file in ("one.png", "two.png", "one.svg", "two.svg"):
        save(shown, "disk-8", "run $x_$", tmp_path / file)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    figure = examples_figure(shown, "disk-8", "run")
    words = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert words == [f"{name}  70 %", "b  30 %"] * 2
    figure.draw_without_rendering()


def test_the_command_writes_it(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "panel.png"
    with pytest.raises(SystemExit) as ended:
        main(["examples", str(run.path), "--blur", "disk-8", "--images", "2", "--out", str(out)])
    assert not ended.value.code and out.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.strip() == str(out)
    for words, message in (
        (["--blur", "disc-8"], "blur 'disc-8' is unknown; did you mean 'disk'?"),
        (["--blur", "disk-8", "--images", "99"], "has 9 to choose from"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["examples", str(run.path), *words, "--out", str(out)])
        line = capsys.readouterr().err.strip()
        assert ended.value.code == 2 and message in line and "\n" not in line


@pytest.fixture
def network(tmp_path: Path, prepared: Dataset) -> list[str]:
    """How a ResNet-18 of four classes is named, that looks at 48 of 64 pixels, and what it is shown."""
    torch.manual_seed(3)
    torch.save(build("resnet-18", 4).state_dict(), tmp_path / "w.pth")
    (tmp_path / "classes.txt").write_text("plain\nstripes\nrings\nchecks\n")
    (tmp_path / "net.yaml").write_text(
        f"{{architecture: torchvision/resnet18, weights: {tmp_path}/w.pth, classes: {tmp_path}/classes.txt, "
        "resize: 64, crop: 48}"
    )
    return [f"{tmp_path}/net.yaml", "--dataset", prepared.name, "--data", str(prepared.folder.parent)]


def test_any_network_is_shown_the_same_images_and_says_all_its_classes(
    run: Run, network: list[str], prepared: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = list[list[Example]]()

    def kept(shown: list[Example], blur: str, title: str, path: Path) -> None:
        assert (blur, title, path) == ("disk-8", "torchvision/resnet18 of w.pth", tmp_path / "panel.png")
        drawn.append(shown)

    monkeypatch.setattr("analysis.figures.examples.save", kept)
    with pytest.raises(SystemExit) as ended:
        main(["examples", *network, "--blur", "disk-8", "--images", "3", "--out", str(tmp_path / "panel.png")])
    assert not ended.value.code
    of_it, of_run = drawn[0], examples(run_plan(run.path), DISK, 3)
    assert [(e.path, e.label) for e in of_it] == [(e.path, e.label) for e in of_run]
    trained = network_named(network[0])
    for own, other in zip(of_it, of_run, strict=True):
        assert np.array_equal(own.blurred.pixels, other.blurred.pixels[8:56, 8:56])
        pixels = torch.from_numpy(own.sharp.pixels).permute(2, 0, 1)[None]
        with torch.no_grad():
            likely = trained.module(trained.preprocessing.normalised(pixels)).softmax(1)[0]
        order = likely.argsort(descending=True)
        assert own.sharp.classes == tuple(trained.classes[k] for k in order)
        assert own.sharp.probabilities == pytest.approx(likely[order].tolist(), abs=1e-4)


def test_a_network_is_drawn_by_the_command(
    network: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "panel.png"
    with pytest.raises(SystemExit) as ended:
        main(["examples", *network, "--blur", "disk-8", "--images", "2", "--out", str(out)])
    assert not ended.value.code and out.read_bytes().startswith(b"\x89PNG")
    for words, message in (
        (network[:1], "is no run directory; networks that are no runs need --dataset NAME"),
        (["torchvision/resnet19", *network[1:]], "no network 'resnet19'; did you mean 'resnet18'?"),
        ([*network, "--epoch", "1"], "is no run, so it has no --epoch"),
        ([*network, "evaluation.split=val", "--images", "4"], "the val split has 3 to choose from"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["examples", *words, "--blur", "disk-8", "--out", str(out)])
        line = capsys.readouterr().err.strip()
        assert ended.value.code == 2 and message in line and "\n" not in line


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BlurtrainError):
        run_plan(tmp_path)
