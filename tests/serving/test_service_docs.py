"""What docs/detector-service.md has of programs and commands works; Celery is stood in for by what is used of it."""

import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from blurtrain.cli import main
from blurtrain.serving import Detector

PAGE = (Path(__file__).parents[2] / "docs" / "detector-service.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def here(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: Sequence[bytes]) -> Path:
    """A folder with detector.onnx and photo.jpg, as the page has them."""
    for name in ("detector.onnx", "detector.onnx.json"):
        shutil.copy(model.with_name(name), tmp_path)
    (tmp_path / "photo.jpg").write_bytes(photos[0])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_program_of_ones_own(here: Path, capsys: pytest.CaptureFixture[str], photos: Sequence[bytes]) -> None:
    exec(PROGRAMS[0], {})
    assert str(Detector("detector.onnx").classify(photos[0]).probabilities) in capsys.readouterr().out  # type: ignore[union-attr]


def test_a_celery_application(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Celery:
        def __init__(self, name: str) -> None:
            pass

        def task(self, function: Callable[..., object]) -> Callable[..., object]:
            return function

    module = ModuleType("celery")
    module.Celery = Celery  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "celery", module)
    names: dict[str, Callable[..., dict[str, object]]] = {}
    exec(PROGRAMS[1], names)
    assert set(names["classify"]("photo.jpg", "motion_blurred")) == {"detected", "confidence", "blur_type_probability"}
    (here / "none.jpg").write_bytes(b"hello")
    assert "no photo" in str(names["classify"]("none.jpg")["error"])


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    return capsys.readouterr().out


def test_commands_and_options_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.split("#")[0].split() for line in PAGE.splitlines() if line.startswith("blurtrain ")]
    assert [words[1] for words in lines] == ["export", "classify", "serve"]
    known = "".join(help_of(words[1], capsys) for words in lines)
    options = {word for words in lines for word in words if word.startswith("--")} | {
        *re.findall(r"`(--[a-z-]+)", PAGE)
    }
    assert len(options) > 8 and [option for option in options if f"{option} " not in known] == []
