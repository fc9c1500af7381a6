"""The settings of many runs, taken apart: as the whole file would be read, but each section once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.collecting.read_settings import SettingsReader
from blurtrain.documents import parse_yaml
from blurtrain.errors import SettingsError
from blurtrain.settings import PRESETS, compose, dump, load_resolved, settings_id
from blurtrain.settings.labels import model_label, regime_label

REGIMES = sorted(path.stem for path in (PRESETS / "regimes").glob("*.yaml"))


def text_of(regime: str = "clear", seed: int = 0, **sections: object) -> str:
    fine_tuned = {
        "network": {"architecture": "vgg-16", "pretrained": {"published": "torchvision/VGG16", "head": "kept"}}
    }
    own = {"original": fine_tuned | {"optimisation": {"epochs": 0}}}.get(regime, {})
    return dump(compose({"dataset": "faces", "regime": regime, "seed": seed, **own, **sections}, "test"))


@pytest.mark.parametrize("regime", REGIMES)
def test_settings_are_read_as_ever_and_given_back_whole(tmp_path: Path, regime: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text_of(regime, seed=3))
    reader = SettingsReader()
    settings = reader.read(path)
    expected = load_resolved(path)
    assert settings == expected and dump(settings) == dump(expected)
    assert reader.settings_id(settings, "data") == settings_id(expected, "data")
    assert reader.labels(settings) == (regime_label(expected), model_label(expected))
    for other in (reader, SettingsReader()):
        restored = other.restore(reader.texts(settings), "test")
        assert restored == expected and dump(restored) == dump(expected)


CHANGES: dict[str, Callable[[str], str]] = {
    "comments": lambda text: text.replace("data:\n", "# mine\ndata: # here\n  # and here\n"),
    "another order": lambda text: "seed: 5\n" + text.replace("seed: 0\n", ""),
    "an older file": lambda text: text[: text.index("precision:")],
    "flow style": lambda text: text.replace("  sigma: 0.0\n  blur: null", "  {0}").replace(
        "curriculum:\n  schedule: constant\n  {0}", "curriculum: {schedule: constant, sigma: 2}"),
    "an alias": lambda text: text.replace("crop_scale:\n  - 0.5", "crop_scale: &a\n  - 0.5").replace(
        "crop_ratio:\n  - 0.75\n  - 1.3333333333333333", "crop_ratio: *a"),
    "folded": lambda text: text.replace("  root: data", "  root: >-\n    a\n    b"),
    "quoted over lines": lambda text: text.replace("  root: data", '  root: "a\n  b: c"'),
    "windows": lambda text: text.replace("\n", "\r\n"),
    "blank lines": lambda text: text.replace("\n", "\n\n"),
    "a document mark": lambda text: f"---\n{text}...\n",
    "a number of YAML 1.2": lambda text: text.replace("learning_rate: 0.001", "learning_rate: 1e-3"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_however_a_file_is_written(tmp_path: Path, change: Callable[[str], str]) -> None:
    path = tmp_path / "settings.yaml"
    reader = SettingsReader()
    path.write_text(text_of())
    reader.read(path)
    path.write_bytes(change(text_of()).encode())
    assert path.read_bytes() != text_of().encode()
    assert reader.read(path) == load_resolved(path)


MISTAKES: dict[str, Callable[[str], str]] = {
    "a section twice": lambda text: text + "data: {}\n",
    "a setting twice": lambda text: text.replace("  root: data\n", "  root: data\n  root: other\n"),
    "unknown": lambda text: text + "warp: 9\n",
    "unknown within": lambda text: text.replace("  root: data\n", "  root: data\n  warp: 9\n"),
    "out of range": lambda text: text.replace("seed: 0", "seed: -1"),
    "a boolean": lambda text: text.replace("seed: 0", "seed: yes"),
    "sections that do not go together": lambda text: text.replace("keep_epochs: []", "keep_epochs: [100000]"),
    "not a mapping": lambda text: "- a\n- b\n",
    "cut": lambda text: text[:-60] + '  x: "',
    "nothing": lambda text: "",
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_named_as_ever(tmp_path: Path, mistake: Callable[[str], str]) -> None:
    path = tmp_path / "settings.yaml"
    reader = SettingsReader()
    path.write_text(text_of())
    reader.read(path)  # so that all sections are known
    path.write_text(mistake(text_of()))
    with pytest.raises(SettingsError) as expected:
        load_resolved(path)
    with pytest.raises(SettingsError) as found:
        reader.read(path)
    assert str(found.value) == str(expected.value)


def test_equal_sections_are_parsed_once_and_are_one_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    monkeypatch.setattr(
        "analysis.collecting.read_settings.parse_yaml",
        lambda text, where: parsed.append(text) or parse_yaml(text, where),
    )
    reader = SettingsReader()
    paths = [tmp_path / f"{k}.yaml" for k in range(3)]
    rates = (1e-3, 1e-3, 2e-3)
    for k, (path, rate) in enumerate(zip(paths, rates, strict=True)):
        path.write_text(text_of(seed=k, optimisation={"learning_rate": rate}))
    one, two, three = (reader.read(path) for path in paths)
    assert [text.strip() for text in parsed[-3:]] == ["seed: 1", "seed: 2", "learning_rate: 0.002"]
    assert one.optimisation is two.optimisation and one.optimisation is not three.optimisation
    assert one.augmentation is three.augmentation and [s.seed for s in (one, two, three)] == [0, 1, 2]
