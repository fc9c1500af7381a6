"""`blurtrain bench` of blur against copies, of trainings (alone and several at a time), and of sweeps, all tiny."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from blurtrain.bench.bandwidth import bench_bandwidth, table
from blurtrain.bench.packed import bench_packed
from blurtrain.bench.sweep import bench_sweep
from blurtrain.bench.train import Bench, Pipeline, opened
from blurtrain.cli import main
from blurtrain.errors import BlurtrainError

CPU = torch.device("cpu")


@pytest.fixture
def bench(tree: Path, tmp_path: Path) -> Callable[..., Bench]:
    def made(**options: Any) -> Bench:
        usual = {"architecture": "alexnet-sup", "batch": 4, "loader": "resident", "steps": 1, "repeats": 1}
        return Bench(**{"images": tree, "data": tmp_path / "data", **usual, **options})

    return made


def test_every_kind_of_blur_stands_beside_a_copy_of_its_bytes() -> None:
    rows = list(bench_bandwidth(CPU, batch=3, size=56, repeats=1))
    assert len({(row["what"], row["dtype"]) for row in rows}) == len(rows) == 14
    for row in rows:
        composed, dtype = row["what"].startswith("composed"), row["dtype"].split(" ")
        size = {"uint8": 1, "bfloat16": 2, "float32": 4}
        total = 3 * 3 * ((64 if composed else 56) ** 2 * size[dtype[0]] + 56**2 * size[dtype[-1]])
        assert row["gigabytes"] == round(total / 1e9, 4)
        assert row["gigabytes_per_second"] == pytest.approx(total / row["ms"] / 1e6, rel=0.05, abs=0.1)
        assert row["max_abs_error_255"] < (2 if "bfloat16" in dtype else 1e-3), row
    assert len(table(rows).splitlines()) == len(rows) + 1


def test_a_pipeline_brings_epoch_after_epoch(bench: Callable[..., Bench]) -> None:
    with opened(bench(batch=8)) as (settings, dataset):
        source = Pipeline(settings, dataset, CPU).source
        steps = len(dataset.split("train")[0]) // 8
        taken = [next(source) for _ in range(70 * steps)]
    assert [epoch for epoch, _ in taken] == [k // steps for k in range(len(taken))]
    assert len({batch.indices.tobytes() for _, batch in taken}) == len(taken)  # another order each epoch


@pytest.mark.slow
@pytest.mark.long
def test_several_at_a_time_are_counted_together(bench: Callable[..., Bench]) -> None:
    one, two = bench_packed(CPU, bench(), counts=(1, 2), seconds=0.3)
    assert (one["processes"], one["of_one"], two["processes"]) == (1, 1.0, 2)
    assert two["images_per_second"] == pytest.approx(2 * two["each"], abs=0.2)
    assert two["of_one"] == pytest.approx(
        two["images_per_second"] / one["images_per_second"],
        rel=0.02,  # of rounded numbers, which may be small
    )


@pytest.mark.slow
def test_what_a_packed_training_dies_of_is_said(bench: Callable[..., Bench]) -> None:
    rows = bench_packed(CPU, bench(batch=1000), counts=(1,), seconds=0.1)
    with pytest.raises(
        BlurtrainError, match=r"1 at a time: DataError: optimisation\.batch_size=1000 is more than the 30"
    ):
        next(rows)


@pytest.mark.slow
def test_a_sweep_stands_beside_bare_passes(bench: Callable[..., Bench]) -> None:
    rows = bench_sweep(CPU, bench(), "test", levels=2)
    assert [row["what"] for row in rows] == [
        "2 bare forward passes",
        "sweep of 2 levels",
        "sweep with records",
        "2 blurs alone",
    ]
    for row in rows:
        assert row["n"] == 9 and row["of_bare"] > 0
        # The seconds are rounded to four digits, and the images to one: much of few, on a fast or a slow machine.
        rounding = 6e-5 + row["seconds"] * 0.06 / row["images_per_second"]
        assert 9 * 2 / row["images_per_second"] == pytest.approx(row["seconds"], abs=rounding, rel=0)


@pytest.mark.slow
def test_a_training_has_its_shares_and_keeps_its_images(
    bench: Callable[..., Bench], tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--device", "cpu", "--images", str(tree), "--data", str(tmp_path / "data"), "--batch", "4"]
    options += ["--architecture", "alexnet-sup", "--loader", "pytorch", "--steps", "1", "--repeats", "1", "--json"]
    with pytest.raises(SystemExit) as ended:
        main(["bench", "train", *options, "--no-deterministic"])
    assert ended.value.code == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["deterministic"] for row in rows} == {False} and {row["gpu_memory_gib"] for row in rows} == {None}
    assert [row["what"] for row in rows] == [
        "one fixed batch in memory",
        "whole pipeline, clear",
        "whole pipeline, sigma 8",
        "loader alone",
        "augmentation alone, clear",
        "augmentation alone, sigma 8",
        "augmentation at sigma 8, of a step",
        "blur, of a step",
    ]
    with opened(bench()) as (settings, dataset):
        assert dataset.folder == tmp_path / "data" / "bench" and settings.data.root == str(tmp_path / "data")


@pytest.mark.parametrize(
    "command, message",
    [
        ("blur --batch 0", "--batch must be at least 1, not 0"),
        ("blur --against copy --size 0", "--size must be at least 1"),
        ("train --steps 0", "--steps must be at least 1"),
        ("packed --at-a-time 2,1", "--at-a-time must be rising numbers"),
        ("packed --at-a-time 0,1", "--at-a-time must be rising numbers"),
        ("packed --at-a-time x", "invalid"),
        ("sweep --levels 0", "--levels must be at least 1"),
    ],
)
def test_nothing_to_measure_is_refused(command: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", *command.split()])
    assert ended.value.code == 2 and message in capsys.readouterr().err
