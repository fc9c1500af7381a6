"""Profiles and resources: complete, strict, and refused in one line where they do not fit."""

from pathlib import Path
from typing import Any

import pytest

from blurtrain.errors import BlurtrainError, JobError
from jobs.cluster import Cluster, Resources, check_resources, clusters, read_cluster


@pytest.mark.parametrize("name", sorted(clusters()))
def test_every_profile_of_the_project_can_be_read(name: str) -> None:
    assert read_cluster(name).scheduler == ("local" if name == "local" else "slurm")


def test_there_are_profiles() -> None:
    assert set(clusters()) >= {"a100", "a100-preemptible", "simulator", "local"}


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("partition: big\nsbatch: {account: vision}\n")
    assert read_cluster(str(tmp_path / "mine.yaml")) == Cluster(partition="big", sbatch={"account": "vision"})


def test_what_a_run_leaves_open_comes_from_the_profile() -> None:
    cluster = Cluster(partition="big", minutes=30, cpus_per_gpu=4)
    assert cluster.complete(Resources(nodes=2)) == Resources(nodes=2, partition="big", minutes=30, cpus_per_gpu=4)
    assert cluster.complete(Resources(partition="small", minutes=5)).partition == "small"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("partitoin: x", "partitoin: unknown setting; did you mean 'partition'?"),
        ("failures: -1", "failures: input"),
        ("sbatch: {job-name: x}", "sbatch: job_name cannot be set here: blurtrain sets it"),
        ("sbatch: {time: 60}", "sbatch: time cannot be set here: say minutes"),
        ("sbatch: {exclusive: false}", "sbatch: exclusive: false: leave it out instead"),
    ],
)
def test_a_mistake_in_a_profile_is_reported(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(BlurtrainError) as caught:
        read_cluster(str(path))
    assert str(caught.value).startswith(f"{path}: {message}")


def test_an_unknown_profile_is_reported_with_those_there_are() -> None:
    with pytest.raises(BlurtrainError, match="--cluster simulater: no such profile; did you mean 'simulator'"):
        read_cluster("simulater")


@pytest.mark.parametrize(
    ("wanted", "batch", "message"),
    [
        ({"gpus": 9}, 9, "resources.gpus=9 a node, but the cluster's have 8"),
        ({"nodes": 2, "pack": 2}, 8, "resources.pack=2 is for runs of 1 node and 1 GPU only"),
        ({"nodes": 2, "gpus": 4}, 12, "batch_size=12 cannot be shared evenly by 8 processes"),
    ],
)
def test_resources_that_do_not_fit_are_reported(wanted: dict[str, Any], batch: int, message: str) -> None:
    with pytest.raises(JobError, match=message):
        check_resources(Resources(**wanted), batch, Cluster(), "run x")
    check_resources(Resources(), batch, Cluster(), "run x")
