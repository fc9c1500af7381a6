import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from blurtrain.bench.losses import Training, losses_of, table
from blurtrain.bench.train import Bench, opened
from blurtrain.cli import main

SMALL = Bench(architecture="alexnet-sup", resolution=64, batch=4, arithmetic="float32", loader="pytorch")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.mark.parametrize("name", ["jensen-shannon", "adversarial-blur", "proposed-blur"])
def test_a_step_shows_the_network_all_views_and_decodes_once(name: str, data: Path) -> None:
    with (
        opened(replace(SMALL, data=data)) as (settings, dataset),
        closing(Training(settings, dataset, torch.device("cpu"), losses_of(SMALL.batch)[name])) as training,
    ):
        shown: list[int] = []
        training.learner.network.register_forward_pre_hook(lambda _, given: shown.append(len(given[0])))
        training.step()
        training.step()
    assert (training.decoded, training.learnt) == (8, 8)
    # Against learnt kernels: the ascent's 3 + 1 passes, and one over both views.
    passes = {"jensen-shannon": [8], "adversarial-blur": [4, 4, 4, 4, 8], "proposed-blur": [8]}
    assert shown == passes[name] * 2


@pytest.mark.slow
@pytest.mark.long
def test_every_loss_stands_beside_the_plain_one(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--resolution", "64", "--batch", "4", "--steps", "1", "--repeats", "1", "--device", "cpu", "--json"]
    with pytest.raises(SystemExit) as ended:
        main(["bench", "losses", "--architecture", "alexnet-sup", "--arithmetic", "float32", *options])
    assert ended.value.code == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["loss"] for row in rows] == list(losses_of(4)) and rows[0]["of_plain"] == 1
    assert all(row["ms"] > 0 and row["decoded"] == 1 for row in rows)
    assert len(table(rows).splitlines()) == 2 + len(rows)


def test_no_steps_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "losses", "--steps", "0"])
    assert ended.value.code == 2 and "at least 1" in capsys.readouterr().err
