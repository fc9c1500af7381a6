"""Files that come with the project go by their names, from any folder; one's own of that name come first."""

from pathlib import Path

import pytest

from blurtrain.errors import SettingsError
from blurtrain.settings import PRESETS, preset_file
from jobs.grid import read_grid


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["paper", Path("paper"), "configs/grids/paper.yaml"])
def test_by_name_and_as_the_docs_write_it(name: str | Path) -> None:
    assert preset_file("grids", name) == PRESETS / "grids" / "paper.yaml"


def test_a_file_of_ones_own_comes_first(here: Path) -> None:
    (here / "paper").touch()
    (here / "configs" / "grids").mkdir(parents=True)
    (here / "configs" / "grids" / "paper.yaml").touch()
    for name in ("paper", "configs/grids/paper.yaml", "mine.yaml"):
        assert preset_file("grids", name) == Path(name)


@pytest.mark.parametrize(("kind", "name", "message"), [
    ("grids", "papr", "no grid 'papr' comes with the project; did you mean 'paper'? "),
    ("searches", "face", "no search 'face' comes with the project; did you mean 'faces'? "),
    ("grids", "../searches/faces", "no grid '../searches/faces' comes with the project; "),
    ("tables", "../grids/paper", "no table '../grids/paper' comes with the project; "),
])  # fmt: skip
def test_what_there_is_not_is_said_with_what_was_meant(kind: str, name: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        preset_file(kind, name)
    assert str(caught.value).startswith(message) and str(caught.value).endswith(", or a file.yaml")


def test_a_grid_is_the_same_by_name_and_by_file() -> None:
    """With what it extends, which lies beside it."""
    assert read_grid(Path("paper-5-seeds")) == read_grid(PRESETS / "grids" / "paper-5-seeds.yaml")
