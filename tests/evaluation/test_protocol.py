"""Tested by scales and crops: what comes of it for runs, and that an evaluation without a protocol stays as it was."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from blurtrain.cli import main
from blurtrain.errors import SettingsError
from blurtrain.run import Run
from blurtrain.settings import Settings
from blurtrain.training.train import train

Tiny = Callable[..., Settings]
PROTOCOL = {"defined_at": 96, "scales": [80, 64]}


@pytest.fixture(scope="module")
def trained(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A done run whose own evaluation is by the protocol."""
    runs = tmp_path_factory.mktemp("runs")
    train(tiny(optimisation={"epochs": 1, "warmup_epochs": 0}, evaluation={"protocol": PROTOCOL}), runs)
    return next(path.parent for path in runs.glob("*/result.json"))


def evaluated(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, object]:
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", *(str(word) for word in words), "--json"])
    out, err = capsys.readouterr()
    assert not caught.value.code, err
    found: dict[str, object] = json.loads(out)
    return found


def test_the_end_of_training_is_by_the_protocol_and_not_computed_again(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accuracy = Run(trained).result()["accuracy"]
    document = json.loads((Run(trained).evaluations / accuracy).read_text())
    assert (document["protocol"], document["resolution"], document["n"]) == ("all-80+64@96", 96, 9)
    again = evaluated(capsys, trained)
    assert (again["file"], again["rows"]) == (accuracy, document["rows"])
    assert len(list(Run(trained).evaluations.glob("*.json"))) == 1
    five = evaluated(capsys, trained, "evaluation.protocol.crops=five")
    assert five["protocol"] == "five-80+64@96" and five["file"] != accuracy


def test_without_a_protocol_the_key_is_what_it_was(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = evaluated(capsys, trained, "evaluation.protocol=null")
    assert "protocol" not in plain and "crop" not in plain


def test_mistakes_give_one_line(tiny: Tiny, tmp_path: Path) -> None:
    for protocol, said in (
        ({"scales": [64, 64]}, "64 is given twice"),
        ({"scales": [0]}, "scales.0: input should be greater than or equal to 8"),
        ({"scales": [32, 96], "crops": "five"}, "at scale 32 the test images are smaller than a crop of 64 px"),
        ({"scales": [16, 96]}, "scale 16 is smaller than the network takes"),
    ):
        with pytest.raises(SettingsError) as caught:
            train(tiny(evaluation={"protocol": protocol}), tmp_path)
        assert said in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(SettingsError, match=r"scales=\[96\] would fit"):
        train(tiny(evaluation={"protocol": {"scales": [16, 96]}}), tmp_path)
