"""Later layers win, and what is resolved stays as it is."""

from pathlib import Path
from typing import Any

import pytest

from blurtrain.documents import merge
from blurtrain.errors import SettingsError
from blurtrain.settings import PRESETS, compose, dump, load, load_resolved

MINIMAL = {"dataset": "faces", "regime": "clear"}
DATA_ID = "0123456789abcdef"


def test_the_order_of_overrides_of_one_section_does_not_matter(file: Path) -> None:
    one = load(file, ["curriculum.schedule=stepwise", "curriculum.sigmas=[4,0]"])
    assert one == load(file, ["curriculum.sigmas=[4,0]", "curriculum.schedule=stepwise"])
    assert one.curriculum.sigmas == (4, 0)  # type: ignore[attr-defined]


def test_later_layers_win(presets: Path, file: Path) -> None:
    file.write_text("dataset: faces\nregime: clear\nmodel: resnet-18\nseed: 4\noptimisation: {epochs: 7}\n")
    settings = load(file, ["optimisation.epochs=9"])
    assert settings.optimisation.batch_size == 256  # default
    assert settings.network.architecture == "resnet-18"  # model over default
    assert settings.augmentation.flip == 0.1  # model
    assert settings.augmentation.jitter == 0.2  # dataset over model
    assert settings.augmentation.colour == 0.3  # regime over dataset
    assert settings.seed == 4  # file over regime
    assert settings.optimisation.epochs == 9  # override over file


def test_lists_are_replaced_and_mappings_merged(presets: Path, file: Path) -> None:
    assert load(file, ["curriculum.sigmas=[1]"]).curriculum.sigmas == (1,)  # type: ignore[attr-defined]
    assert merge({"a": {"b": [1, 2], "c": 1}}, {"a": {"b": [3]}}) == {"a": {"b": [3], "c": 1}}


def test_merging_changes_neither_side() -> None:
    below: dict[str, Any] = {"a": {"b": 1}}
    above: dict[str, Any] = {"a": {"c": 2}}
    merge(below, above)["a"]["d"] = 3
    assert (below, above) == ({"a": {"b": 1}}, {"a": {"c": 2}})


def test_another_schedule_replaces_the_whole_section(presets: Path, file: Path) -> None:
    assert load(file, ["curriculum.schedule=constant"]).curriculum.model_dump() == {
        "schedule": "constant",
        "sigma": 0,
        "blur": None,
    }
    file.write_text("dataset: faces\nregime: clear\ncurriculum: {schedule: constant, sigma: 2}\n")
    assert load(file).curriculum.model_dump() == {"schedule": "constant", "sigma": 2, "blur": None}


def test_a_regime_of_ones_own_needs_no_preset() -> None:
    own = compose({"dataset": "faces", "regime": "mild", "curriculum": {"schedule": "constant", "sigma": 1}}, "test")
    assert (own.regime, own.curriculum.model_dump()["sigma"]) == ("mild", 1)


@pytest.mark.parametrize("kind", ["models", "datasets", "regimes"])
def test_every_preset_composes(kind: str) -> None:
    names = [path.stem for path in (PRESETS / kind).glob("*.yaml")]
    assert names
    for name in names:
        # No curriculum alone makes a network worth keeping as it is.
        kept = {"network": {"pretrained": {"file": "w.pt", "sha256": "a" * 64, "head": "kept"}}}
        compose({**MINIMAL, **(kept if name == "original" else {}), kind[:-1]: name}, name)


def test_resolved_settings_do_not_depend_on_presets(presets: Path, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(dump(compose(MINIMAL, "test")))
    (presets / "regimes" / "clear.yaml").write_text("curriculum: {schedule: constant, sigma: 5}\n")
    assert load_resolved(tmp_path / "settings.yaml").curriculum.model_dump()["sigmas"] == (8, 4)


def test_settings_cannot_be_changed() -> None:
    settings = compose(MINIMAL, "test")
    with pytest.raises(ValueError, match="frozen"):
        settings.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("given", "warmup"),
    [
        ({"epochs": 1}, 0.1),
        ({"epochs": 2}, 0.2),
        ({"epochs": 3}, 2),
        ({"epochs": 100}, 2),
        ({}, 2),
        ({"epochs": 2, "warmup_epochs": 1}, 1),
        ({"epochs": 1, "warmup_epochs": 0}, 0),
    ],
)
def test_the_warm_up_of_one_or_two_epochs_is_a_tenth_of_them(given: dict[str, float], warmup: float) -> None:
    settings = compose({"dataset": "any", "regime": "clear", "optimisation": given}, "here")
    assert settings.optimisation.warmup_epochs == warmup
    assert f"warmup_epochs: {warmup:.1f}\n" in dump(settings)


def test_what_is_given_is_never_replaced() -> None:
    with pytest.raises(SettingsError, match="warmup_epochs=2 must be less than epochs=2"):
        compose({"dataset": "any", "regime": "clear", "optimisation": {"epochs": 2, "warmup_epochs": 2}}, "here")
