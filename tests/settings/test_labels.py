"""What runs are called, and in what they differ."""

from pathlib import Path
from typing import Any

import pytest

from blurtrain.documents import merge
from blurtrain.errors import SettingsError
from blurtrain.settings import (
    PRESETS,
    ParameterGroup,
    Settings,
    compose,
    dump,
    load,
    load_resolved,
    run_id,
    settings_id,
)
from blurtrain.settings.labels import differences, model_label, regime_label, shown

DATA_ID = "0123456789abcdef"


def made(**changes: Any) -> Settings:
    return compose(merge({"dataset": "faces", "regime": "clear"}, changes), "test")


@pytest.mark.parametrize("regime", sorted(path.stem for path in (PRESETS / "regimes").glob("*.yaml")))
def test_a_regime_as_its_preset_has_it_keeps_its_name(regime: str) -> None:
    kept = {"pretrained": {"file": "w.pt", "sha256": "a" * 64, "head": "kept"}}
    assert regime_label(made(regime=regime, network=kept if regime == "original" else {})) == regime


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({"curriculum": {"sigma": 8}}, "blurry"),
        ({"curriculum": {"sigma": 3}}, "constant sigma=3"),
        ({"regime": "blurry-to-clear", "curriculum": {"sigmas": [4, 2, 0]}}, "stepwise sigmas=[4, 2, 0]"),
        ({"regime": "blurry", "curriculum": {"schedule": "linear", "end": 1}}, "linear end=1"),
        ({"regime": "mild", "curriculum": {"schedule": "constant", "sigma": 1}}, "mild"),
        ({"regime": "mine", "curriculum": {"schedule": "constant", "sigma": 8}}, "mine"),
    ],
)
def test_a_regime_is_called_what_its_curriculum_is(changes: dict[str, Any], label: str) -> None:
    assert regime_label(made(**changes)) == label


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({}, "alexnet-sup"),
        ({"model": "resnet-50"}, "resnet-50"),
        ({"model": "alexnet-sup", "network": {"architecture": "resnet-18"}}, "resnet-18"),
        ({"model": "alexnet-sup", "network": {"architecture": "timm/resnet10t"}}, "timm-resnet10t"),
        ({"model": "own", "network": {"architecture": "resnet-18"}}, "own"),
    ],
)
def test_a_model_is_called_what_its_network_is(changes: dict[str, Any], label: str) -> None:
    assert model_label(made(**changes)) == label


def test_differences_are_those_that_labels_do_not_say() -> None:
    runs = [
        made(),
        made(seed=1, loader={"workers": 2}, evaluation={"sigmas": [1]}),
        made(regime="blurry", model="resnet-18"),
        made(dataset="imagenet-100", optimisation={"epochs": 7}),
    ]
    assert differences(runs) == {}
    rate = made(optimisation={"learning_rate": 0.01})
    assert differences([*runs, rate]) == {"optimisation.learning_rate": [0.001] * 4 + [0.01]}


def test_differences_of_what_some_runs_do_not_have() -> None:
    weights = {"file": "w.pt", "sha256": "a" * 64}
    assert differences([made(), made(network={"pretrained": weights})]) == {
        "network.pretrained.sha256": [None, "a" * 64],
        "network.pretrained.last_layer": [None, "drawn"],
        "network.pretrained.head": [None, "replaced"],
    }
    mild = {"regime": "mild", "curriculum": {"schedule": "constant", "sigma": 1}}
    other = merge(mild, {"curriculum": {"schedule": "linear", "start": 1}})
    found = differences([made(**mild), made(**other)])
    assert found["curriculum.schedule"] == ["constant", "linear"]
    assert found["curriculum.start"] == [None, 1]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        (1e-3, "0.001"),
        (8.0, "8"),
        (3, "3"),
        (True, "true"),
        ("sgd", "sgd"),
        ((1, 2), "[1, 2]"),
        ((ParameterGroup(match="*.bias", weight_decay=0),), '[{"match": "*.bias", "weight_decay": 0.0}]'),
    ],
)
def test_values_are_shown_as_one_would_give_them(value: Any, text: str) -> None:
    assert shown(value) == text


# --- what a run is called -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "model"),
    [
        ({}, "alexnet-sup"),
        ({"network": {"architecture": "resnet-18"}}, "resnet-18"),
        ({"network": {"architecture": "timm/resnet10t"}}, "timm-resnet10t"),
        ({"network": {"pretrained": {"file": "w.pt", "sha256": "a" * 64}}}, "alexnet-sup"),
        ({"model": "own", "network": {"architecture": "resnet-18"}}, "own"),
        ({"model": "alexnet-sup", "network": {"architecture": "resnet-18"}}, "alexnet-sup"),
    ],
)
def test_a_network_given_alone_names_the_model(document: dict[str, Any], model: str) -> None:
    assert made(**document).model == model
    assert f"-{model}-" in run_id(made(**document), DATA_ID)


def test_ids_of_resolved_settings_stay_whatever_they_are_called(tmp_path: Path) -> None:
    """As a run of an older version has them: a ResNet-18 under the default's name."""
    resolved = made(network={"architecture": "resnet-18"}).model_copy(update={"model": "alexnet-sup"})
    (tmp_path / "settings.yaml").write_text(dump(resolved))
    expected = "faces-clear-alexnet-sup-s0-"
    for read in (load_resolved(tmp_path / "settings.yaml"), load(tmp_path / "settings.yaml")):
        assert run_id(read, DATA_ID).startswith(expected)
        assert run_id(read, DATA_ID)[-12:] == run_id(made(network={"architecture": "resnet-18"}), DATA_ID)[-12:]


def test_the_settings_id_leaves_out_the_seed_alone() -> None:
    def of(data_id: str = DATA_ID, **changes: Any) -> str:
        return settings_id(made(**changes), data_id)

    assert of() == of(seed=7) == of(loader={"workers": 3}) == of(optimisation={"label_smoothing": 0})
    others = [of("another"), of(network={"architecture": "resnet-18"}), of(curriculum={"sigma": 1}),
              of(optimisation={"label_smoothing": 0.1}), of(data={"resolution": 64})]  # fmt: skip
    assert len({of(), *others}) == 6


@pytest.mark.parametrize("sigmas", ["[8,8]", "[0, 8.0, 4, 8]", "[0.1, 0.10000001]"])
def test_a_level_given_twice_is_refused(tmp_path: Path, sigmas: str) -> None:
    (tmp_path / "run.yaml").write_text("dataset: faces\nregime: clear\n")
    with pytest.raises(SettingsError, match=r"evaluation\.sigmas: sigma (8|0\.1) is given twice"):
        load(tmp_path / "run.yaml", [f"evaluation.sigmas={sigmas}"])


def test_settings_of_a_run_that_was_measured_twice_at_a_level_are_read(tmp_path: Path) -> None:
    twice = made()
    twice = twice.model_copy(update={"evaluation": twice.evaluation.model_copy(update={"sigmas": (0.0, 8.0, 8.0)})})
    (tmp_path / "settings.yaml").write_text(dump(twice))
    assert load_resolved(tmp_path / "settings.yaml") == twice
