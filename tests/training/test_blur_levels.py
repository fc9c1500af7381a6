"""A curriculum of disks, shakes and boxes, whole: FFCV, training, a stop inside an epoch, journal and TensorBoard."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blurtrain.errors import SettingsError
from blurtrain.run import Run
from blurtrain.settings import Settings
from blurtrain.training.learner import Learner
from blurtrain.training.train import train

Tiny = Callable[..., Settings]
LEVELS = ["disk-8", "shake@384", "box-8-random", "gaussian-4", "sharp"]


def mixed(tiny: Tiny, **changes: Any) -> Settings:
    return tiny(
        regime="blurs",
        curriculum={"schedule": "mix", "blurs": LEVELS, "probabilities": [0.25, 0.25, 0.25, 0.125, 0.125]},
        checkpoints={"every_minutes": 0}, augmentation={"colour": 0.5, "erasing": 0.5}, seed=3,
        loader={"kind": "ffcv" if importlib.util.find_spec("ffcv") else "resident", "workers": 1},
        logging={"tensorboard": True, "every_steps": 1}, **changes,
    )  # fmt: skip


def test_a_curriculum_of_blurs_trains_resumes_bit_exactly_and_shows_by_its_labels(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(mixed(tiny), tmp_path / "whole")
    taken, step = [], Learner.step

    def interrupted(self: Learner, *arguments: Any) -> Any:
        taken.append(1)
        if len(taken) == 3:  # the second of the first epoch is saved
            raise KeyboardInterrupt
        return step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(mixed(tiny), tmp_path / "stopped")
    stopped = train(mixed(tiny), tmp_path / "stopped")
    assert [event["at"] for event in stopped.journal() if event["event"] == "start"] == [0, 2]
    assert whole.weights.read_bytes() == stopped.weights.read_bytes()
    for run in (whole, stopped):
        shares = [event["blurs"] for event in run.journal() if event["event"] == "epoch"]
        assert len(shares) == 2 and all(list(share) == LEVELS for share in shares)
        assert all(sum(share.values()) == pytest.approx(1) for share in shares)
        assert all("sigma" not in event for event in run.journal())
        assert _tags(run) >= {f"epoch/blurs/{label}" for label in LEVELS}


NATURAL = ["myopia-3", "aberration-coma-0.5-random", "depth-focus-2", "parallax-60", "rotation-10", "dirty-lens-8"]


@pytest.mark.parametrize(
    "curriculum",
    [
        {"schedule": "mix", "blurs": NATURAL, "probabilities": [1 / 6] * 6},
        {"schedule": "developmental-diet", "months_per_epoch": 20},
    ],
    ids=["natural", "diet"],
)
def test_natural_blurs_and_sight_train_the_same_bits_on_any_number_of_threads(
    tiny: Tiny, tmp_path: Path, curriculum: dict[str, Any]
) -> None:
    runs = [
        train(
            tiny(
                curriculum=curriculum,
                loader={"kind": "resident", "threads": threads},
                evaluation={"sigmas": [0], "blurs": [*NATURAL, "sight-2"]},
            ),
            tmp_path / str(threads),
        )
        for threads in (1, 2)
    ]
    assert runs[0].weights.read_bytes() == runs[1].weights.read_bytes()
    shares = [event["blurs"] for event in runs[0].journal() if event["event"] == "epoch"]
    assert all(set(share) <= {*NATURAL} or all(label.startswith("sight-") for label in share) for share in shares)


def _tags(run: Run) -> set[str]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    return set(events.Tags()["scalars"])


def test_another_kernel_is_another_run_and_other_pixels(tiny: Tiny, tmp_path: Path) -> None:
    runs = [
        train(tiny(regime="one", curriculum={"schedule": "constant", "blur": blur}), tmp_path)
        for blur in ("disk-8", {"kernel": "disk", "radius": 8}, "disk-8@384")
    ]
    assert runs[0].id == runs[1].id != runs[2].id
    assert runs[0].weights.read_bytes() != runs[2].weights.read_bytes()


def test_steps_over_blurs_come_one_after_the_other(tiny: Tiny, tmp_path: Path) -> None:
    curriculum = {"schedule": "stepwise", "blurs": ["disk-8", "sharp"]}
    run = train(tiny(regime="disks", curriculum=curriculum), tmp_path)
    shares = [event["blurs"] for event in run.journal() if event["event"] == "epoch"]
    assert shares == [{"disk-8": 1, "sharp": 0}, {"disk-8": 0, "sharp": 1}]


def test_a_blur_that_has_no_counterpart_at_the_resolution_is_refused_before_the_run(tiny: Tiny, tmp_path: Path) -> None:
    for settings in (
        tiny(regime="glass", curriculum={"schedule": "constant", "blur": "glass-1"}),
        tiny(evaluation={"blurs": ["glass-1"]}),
    ):
        with pytest.raises(SettingsError, match="glass-1: moves whole pixels"):
            train(settings, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
