"""Real runs, tiny ones: the same bits however they are interrupted, and the same images at any world size."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from interruption import train_until

from blurtrain.data.dataset import Dataset
from blurtrain.errors import DataError
from blurtrain.run import Run
from blurtrain.settings import Settings, dump
from blurtrain.training.learner import Learner
from blurtrain.training.train import train

Tiny = Callable[..., Settings]


def same_outcome(first: Run, second: Run) -> bool:
    outcomes = [(run.evaluations / run.result()["accuracy"]).read_bytes() for run in (first, second)]
    return first.weights.read_bytes() == second.weights.read_bytes() and outcomes[0] == outcomes[1]


def epochs_of(run: Run) -> list[int]:
    return [event["epoch"] for event in run.journal() if event["event"] == "epoch"]


@pytest.mark.parametrize("model", ["alexnet-sup", "resnet-18"])
def test_same_settings_and_seed_give_the_same_bits(tiny: Tiny, tmp_path: Path, model: str) -> None:
    settings = tiny(model=model, network={"architecture": model})
    first, second = train(settings, tmp_path / "a"), train(settings, tmp_path / "b")
    assert same_outcome(first, second)
    other = train(tiny(model=model, network={"architecture": model}, seed=1), tmp_path / "a")
    assert other.id != first.id and other.weights.read_bytes() != first.weights.read_bytes()


def test_loaders_and_threads_of_the_loader_do_not_change_the_bits(tiny: Tiny, tmp_path: Path) -> None:
    ffcv = train(tiny(loader={"kind": "ffcv", "threads": 1}), tmp_path / "a")
    resident = train(tiny(loader={"kind": "resident", "threads": 1}), tmp_path / "b")
    assert same_outcome(ffcv, resident)


def test_a_run_leaves_all_that_the_design_promises(tiny: Tiny, prepared: Dataset, tmp_path: Path) -> None:
    settings = tiny(
        regime="blurry-to-clear",
        curriculum={"schedule": "stepwise", "sigmas": [8, 0]},
        logging={"tensorboard": True},
    )
    run = train(settings, tmp_path)
    assert run.settings == settings
    epochs = [event for event in run.journal() if event["event"] == "epoch"]
    assert [e["epoch"] for e in epochs] == [1, 2]
    assert [e["sigma"] for e in epochs] == [8, 0]
    batches = len(prepared.split("train")[0]) // settings.optimisation.batch_size
    assert all(e["n"] == batches * settings.optimisation.batch_size for e in epochs)
    assert {"loss", "top1", "learning_rate", "images_per_second"} <= set(epochs[0])
    assert list((run.path / "tensorboard").glob("events*"))
    assert "epoch 2/2" in (run.path / "attempts" / "0001" / "log.txt").read_text()
    weights = safetensors.torch.load_file(run.weights)
    assert weights["classifier.weight"].shape[0] == len(prepared.classes)
    result = run.result()
    outcome = json.loads((run.evaluations / result["accuracy"]).read_text())
    assert outcome["n"] == len(prepared.split("test")[0])
    assert [row["sigma"] for row in outcome["rows"] if row["metric"] == "top1"] == list(settings.evaluation.sigmas)


def test_a_done_run_is_left_alone(tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = train(tiny(), tmp_path)
    before = {p: p.stat().st_mtime_ns for p in run.path.rglob("*")}
    with caplog.at_level("INFO"):
        assert train(tiny(), tmp_path) == run
    assert "already done" in caplog.text
    assert before == {p: p.stat().st_mtime_ns for p in run.path.rglob("*")}


@pytest.mark.parametrize("after", [1, 3])
def test_a_run_interrupted_after_an_epoch_ends_with_the_same_bits(tiny: Tiny, tmp_path: Path, after: int) -> None:
    settings = tiny(optimisation={"epochs": 4}, checkpoints={"every_minutes": 0})
    whole = train(settings, tmp_path / "whole")

    train_until(3 * after, settings, tmp_path / "parts")
    run = Run(tmp_path / "parts" / whole.id)
    assert run.result() is None and [e["event"] for e in run.journal()][-1] == "failed"
    train(settings, tmp_path / "parts")
    assert same_outcome(whole, run)
    assert epochs_of(run) == [1, 2, 3, 4] and len(run.attempts()) == 2


def test_an_average_in_half_precision_and_two_passes_is_resumed_inside_an_epoch(tiny: Tiny, tmp_path: Path) -> None:
    settings = tiny(
        model="small",
        network={"architecture": "timm/mobilenetv2_035"},
        precision={"arithmetic": "bfloat16"},
        optimisation={"ema": 0.9, "accumulate": 2, "batch_norm_images": 4, "epochs": 2},
        checkpoints={"every_minutes": 0},
    )
    whole = train(settings, tmp_path / "whole")
    train_until(4, settings, tmp_path / "parts")
    run = train(settings, tmp_path / "parts")
    starts = [event["at"] for event in run.journal() if event["event"] == "start"]
    assert starts == [0, 4] and same_outcome(whole, run)
    told = [
        [(e["epoch"], e["loss"], e["top1"], e["n"]) for e in r.journal() if e["event"] == "epoch"] for r in (whole, run)
    ]
    assert told[0] == told[1] and len(told[0]) == 2, "also of the epoch that was interrupted"


@pytest.mark.slow
@pytest.mark.parametrize(
    "curriculum",
    [
        {"schedule": "stepwise", "sigmas": [8, 0]},
        {"schedule": "uniform", "share": 0.5},
        {"schedule": "fading", "a": 0.6, "draw": "batch"},
        {"schedule": "developmental", "ageing": "batch"},
    ],
    ids=lambda curriculum: curriculum["schedule"],
)
def test_one_and_two_processes_see_the_same_augmented_images(
    tiny: Tiny, tmp_path: Path, curriculum: dict[str, Any]
) -> None:
    settings = tiny(
        regime="blurry-to-clear",
        curriculum=curriculum,
        augmentation={"colour": 0.5, "erasing": 0.5},
        loader={"threads": 1},
    )
    file = tmp_path / "settings.yaml"
    file.write_text(dump(settings))
    script = str(Path(__file__).with_name("record_images.py"))
    seen, losses, counts = {}, {}, {}
    for world in (1, 2):
        out = tmp_path / str(world)
        out.mkdir()
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if world == 2 else []
        command = [sys.executable, *launcher, script, str(file), str(out / "runs"), str(out)]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True)
        parts = [json.loads(p.read_text()) for p in sorted(out.glob("*.json"))]
        assert len(parts) == world
        seen[world] = {key: value for part in parts for key, value in part.items()}
        assert len(seen[world]) == sum(len(part) for part in parts), "ranks share no image"
        run = Run(next((out / "runs").glob("*-*")))
        losses[world] = [e["loss"] for e in run.journal() if e["event"] == "epoch"]
        counts[world] = json.loads((run.evaluations / run.result()["accuracy"]).read_text())["n"]
    assert seen[1] == seen[2]
    assert losses[1] == pytest.approx(losses[2], rel=1e-3)
    assert counts[1] == counts[2]


def test_settings_that_do_not_fit_the_data_are_refused_before_anything_is_written(tiny: Tiny, tmp_path: Path) -> None:
    for settings, words in (
        (tiny(data={"resolution": 224}), "stored at 73 px"),
        (tiny(data={"resolution": 32}), "cannot take data.resolution=32"),
        (tiny(optimisation={"batch_size": 10_000}), "more than the"),
        (tiny(dataset="no-such"), "not prepared"),
    ):
        with pytest.raises(DataError, match=words):
            train(settings, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_loss_that_is_no_number_any_more_ends_the_run(tiny: Tiny, tmp_path: Path) -> None:
    from blurtrain.errors import TrainingError

    settings = tiny(optimisation={"learning_rate": 1e30, "optimiser": "sgd", "epochs": 2, "warmup_epochs": 0})
    with pytest.raises(TrainingError, match=r"NaN or infinite in step \d of epoch 1, .* begins with .*png"):
        train(settings, tmp_path)
    run = Run(next(tmp_path.glob("*-*")))
    assert run.result() is None
    assert list(run.journal())[-1]["error"] == "TrainingError"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_trains_on_a_gpu(tiny: Tiny, tmp_path: Path) -> None:
    assert train(tiny(), tmp_path).result() is not None


def test_the_log_of_a_failed_attempt_has_the_traceback_and_the_terminal_one_line(
    tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from blurtrain.errors import TrainingError

    settings = tiny(optimisation={"learning_rate": 1e30, "optimiser": "sgd", "epochs": 1, "warmup_epochs": 0})
    with pytest.raises(TrainingError):
        train(settings, tmp_path)
    run = Run(next(tmp_path.glob("*-*")))
    log = (run.path / "attempts" / "0001" / "log.txt").read_text()
    assert "attempt 1 ends" in log and "Traceback" in log and "TrainingError" in log
    assert "Traceback" not in caplog.text


def test_a_resumed_run_computes_with_the_threads_that_it_began_with(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Learner, "step", stop)
    with pytest.raises(KeyboardInterrupt):
        train(tiny(loader={"threads": 1}), tmp_path)
    monkeypatch.undo()
    run = train(tiny(loader={"threads": 0, "workers": 2}), tmp_path)
    assert [e["threads"] for e in run.journal() if e["event"] == "start"] == [1, 1]


def test_a_run_that_goes_on_with_other_threads_says_so(
    tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = tiny(loader={"threads": 1}, checkpoints={"every_minutes": 0})
    with caplog.at_level("INFO"):
        train_until(2, settings, tmp_path)
    assert "attempt 1 begins" in caplog.text and "goes on" not in caplog.text
    run = train(tiny(loader={"threads": 2}), tmp_path)
    said = [event for event in run.journal() if event["event"] == "resumed otherwise"]
    assert [event["changed"] for event in said] == [{"threads": [1, 2]}]
    assert "goes on with other threads (2, before 1): sums are rounded otherwise" in caplog.text


def test_a_fused_kernel_that_cannot_be_had_is_said_once_and_changes_nothing_but_the_id(
    tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sharp, once = {"colour": 0}, {"epochs": 1, "warmup_epochs": 0}
    plain = train(tiny(augmentation=sharp, optimisation=once), tmp_path)
    assert "crop_and_blur" not in caplog.text
    fused = train(tiny(augmentation=sharp, optimisation=once, precision={"crop_and_blur": "fused"}), tmp_path)
    line = "precision.crop_and_blur=fused cannot be had, so that plain is taken: it needs"
    assert caplog.text.count(line) == 1
    assert fused.id != plain.id and fused.weights.read_bytes() == plain.weights.read_bytes()
