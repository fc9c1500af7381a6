"""Networks of a user's own, from a file in the working folder."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from blurtrain.errors import DataError, SettingsError
from blurtrain.models import build, check_input
from blurtrain.parts import source_hash
from blurtrain.run import Run
from blurtrain.settings import Settings, compose, model_name
from blurtrain.training.train import train

NETS = '''
from __future__ import annotations

import torch
from torch import nn


class Net(nn.Sequential):
    def __init__(self, classes: int, width: int = 8, *, slope: float = 0.0, act: type[nn.Module] = nn.ReLU, copy=None):
        self.slope = slope
        pool, head = nn.AdaptiveAvgPool2d(1), nn.Linear(width, classes)
        super().__init__(nn.Conv2d(3, width, 3), act(), pool, nn.Flatten(), head)


class Looks(nn.Module):
    """Computes what depends on the values, which torch's meta device cannot follow."""

    def __init__(self, classes: int):
        super().__init__()
        self.head = nn.Linear(3, classes)

    def forward(self, x):
        return self.head(x.mean((2, 3)) if x.max() > 1 else x.amax((2, 3)))


def small(classes: int, widths: list[int], **others):
    return Net(classes, widths[0], **others)


def unresolved(classes: NotThere, width: NotThere = 3):
    return Net(classes, width)


def of_nothing():
    return nn.Identity()


def no_module(classes):
    return classes


def no_logits(classes):
    return nn.Identity()


def fails(classes, width=1):
    raise RuntimeError("width is odd\\nvery odd")


def deep(classes):
    return nn.Sequential(nn.Conv2d(3, 4, 50), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))


size = 3
'''


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("own_nets.py").write_text(NETS)
    yield
    sys.modules.pop("own_nets", None)


def test_it_is_given_the_classes_and_the_arguments() -> None:
    torch.manual_seed(0)
    network: Any = build("own_nets.py:Net", 5, {"width": 4, "slope": 1, "copy": "x"})
    assert type(network).__name__ == "Net" and network[4].weight.shape == (5, 4) and network[0].weight.shape[0] == 4
    assert isinstance(network.slope, float) and network.slope == 1.0  # as its signature says
    torch.manual_seed(0)
    again: Any = build("own_nets:Net", 5, {"width": 4})
    assert torch.equal(again[0].weight, network[0].weight)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("Net", {}), ("Looks", {}), ("small", {"widths": [3, 4], "slope": 2}), ("unresolved", {"width": 6})],
)
def test_it_is_tried_before_the_run_begins(name: str, arguments: dict[str, Any]) -> None:
    before = torch.get_rng_state()
    check_input(f"own_nets.py:{name}", 7, 32, arguments)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("Ned", {}, "has no 'Ned'; did you mean 'Net'"),
        (
            "Net",
            {"widht": 4},
            r"network.arguments.widht: unknown setting; did you mean 'width'\? \(known: act, copy",
        ),
        ("Net", {"width": "many"}, r"network.arguments.width: input should be a valid integer.* \(given: 'many'\)"),
        ("Net", {"width": True}, "width=true: must not be "),
        ("Net", {"width": -1}, r"cannot be made with network.arguments={'width': -1} \("),
        ("Net", {"classes": 3}, "network.arguments.classes: cannot be set: it comes from the data"),
        ("small", {}, "network.arguments.widths: missing"),
        ("small", {"widths": [2], "slop": 1}, r"cannot be made with .* \(TypeError: .*slop"),
        ("fails", {}, r"cannot be made with network.arguments={} \(RuntimeError: width is odd\)"),
        ("of_nothing", {}, r"must take `classes`, the number of logits, but takes \(\)"),
        ("no_module", {}, "made a int, not a torch.nn.Module"),
        ("no_logits", {}, r"gave \[2, 3, 32, 32\] for two images, not logits \[2, 7\]"),
        ("size", {}, "is neither a class nor a function"),
    ],
)
def test_mistakes_are_one_line(name: str, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=rf"^(network )?own_nets.py:{name}: [^\n]*{said}[^\n]*$"):
        check_input(f"own_nets.py:{name}", 7, 32, arguments)


def test_too_small_images_are_refused() -> None:
    with pytest.raises(DataError, match=r"^own_nets.py:deep cannot take data.resolution=32 .* it takes is 64$"):
        check_input("own_nets.py:deep", 7, 32)


# --- in settings ----------------------------------------------------------------------------------------------------

RUN = {"dataset": "any", "regime": "clear"}


def test_settings_take_its_name_without_importing_it() -> None:
    settings = compose({**RUN, "network": {"architecture": "not_there.nets:Net", "arguments": {"width": 4.0}}}, "here")
    assert settings.network.arguments == {"width": 4} and settings.model == "not_there.nets-Net"
    assert model_name("parts/nets.py:Net") == "parts-nets.py-Net"


@pytest.mark.parametrize("name", ["../nets.py:Net", "/nets.py:Net", "nets:", "nets.py:Net()"])
def test_settings_refuse_what_is_no_name_of_one(name: str) -> None:
    with pytest.raises(
        SettingsError, match=r"^here: network.architecture: one of your own must be package.module:Name or"
    ):
        compose({**RUN, "model": "mine", "network": {"architecture": name}}, "here")


# --- in runs --------------------------------------------------------------------------------------------------------


INTERRUPTED = """
class Interrupted(Net):
    batches = 0

    def forward(self, images):
        Interrupted.batches += bool(images.any())
        if Interrupted.batches == 5:
            raise KeyboardInterrupt
        return super().forward(images)
"""


def origins(run: Run) -> list[dict[str, str]]:
    return [json.loads((folder / "origin.json").read_text())["sources"] for folder in run.attempts()]


def test_a_run_says_what_source_it_was_made_of(tiny: Callable[..., Settings], tmp_path: Path) -> None:
    short = {"epochs": 1, "warmup_epochs": 0}
    settings = tiny(model="mine", network={"architecture": "own_nets.py:Net"}, optimisation=short)
    run = train(settings, tmp_path / "runs")
    assert run.id.startswith("textures-clear-mine-s0-")
    assert origins(run) == [{"own_nets.py:Net": source_hash("own_nets.py:Net")}]
    assert not [event for event in run.journal() if event["event"] == "sources changed"]
    assert origins(train(tiny(optimisation=short), tmp_path / "runs")) == [{}]


def test_a_resume_on_changed_source_says_so(
    tiny: Callable[..., Settings], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = tiny(model="mine", network={"architecture": "own_nets:Interrupted"}, checkpoints={"every_minutes": 0})
    Path("own_nets.py").write_text(NETS + INTERRUPTED)
    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "runs")
    Path("own_nets.py").write_text(NETS + INTERRUPTED.replace("raise KeyboardInterrupt", "pass  # mended"))
    del sys.modules["own_nets"]
    run = train(settings, tmp_path / "runs")
    first, second = origins(run)
    assert first != second == {"own_nets:Interrupted": source_hash("own_nets:Interrupted")}
    changed = [event for event in run.journal() if event["event"] == "sources changed"]
    assert [(event["at"], event["parts"]) for event in changed] == [(4, ["own_nets:Interrupted"])]
    assert "the source of own_nets:Interrupted has changed" in caplog.text and run.result()
