"""Settings: every mistake is told in one line, later layers win, and equal runs have equal ids."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from blurtrain.blur.curricula import Curriculum
from blurtrain.documents import merge, parse_overrides, parse_yaml
from blurtrain.errors import SettingsError
from blurtrain.schema import Section, added_later
from blurtrain.settings import PRESETS, compose, dump, load, load_resolved, run_id
from blurtrain.settings.identity import identity_of

MINIMAL = {"dataset": "faces", "regime": "clear"}
DATA_ID = "0123456789abcdef"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text("dataset: faces\nregime: clear\n")
    return path


def mistake(path: Path, *overrides: str) -> str:
    """The one line that loading `path` is refused with."""
    with pytest.raises(SettingsError) as caught:
        load(path, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "where", "why"),
    [
        ("optimization.epochs=3", "optimization: unknown setting", "did you mean 'optimisation'?"),
        ("optimisation.epoch=3", "optimisation.epoch: unknown setting", "did you mean 'epochs'?"),
        (
            "curriculum.sigam=3",
            "curriculum.sigam: unknown setting",
            "did you mean 'sigma'? (known: blur, schedule, sigma)",
        ),
        ("curriculum.schedule=stepwize", "curriculum.schedule: 'stepwize' is unknown", "did you mean 'stepwise'?"),
        ("regime=cleer", "regime 'cleer' has no preset", "did you mean 'clear'?"),
        ("model=resnet18", "model 'resnet18' has no preset", "did you mean 'resnet-18'?"),
        ("optimisation.epochs=many", "optimisation.epochs: ", "integer, unable to parse string"),
        ("optimisation.epochs=1.5", "optimisation.epochs: ", "(given: 1.5)"),
        ("optimisation.epochs=", "optimisation.epochs: ", "(given: None)"),
        ("optimisation.epochs=true", "optimisation: epochs=true", "must not be a boolean"),
        ("optimisation.epochs=0", "optimisation.epochs: ", "greater than or equal to 1 (given: 0)"),
        ("optimisation.optimiser=adamm", "optimisation.optimiser: ", "'adam' or 'sgd' (given: 'adamm')"),
        ("optimisation=3", "optimisation: ", "(given: 3)"),
        ("network.architecture=resnet18", "network.architecture: did you mean 'resnet-18'?", "timm/NAME"),
        ("network.pretrained.file=w.pt", "network.pretrained.sha256: ", "missing"),
        ("optimisation.learning_rate=.inf", "optimisation.learning_rate: ", "finite"),
        ("augmentation.flip=1.5", "augmentation.flip: ", "less than or equal to 1"),
        ("augmentation.crop_scale=[0.9,0.1]", "augmentation: crop_scale ", "0 < low <= high <= 1"),
        ("augmentation.erasing=2", "augmentation.erasing: ", "less than or equal to 1 (given: 2)"),
        ("augmentation.erasing_area=[0.1,2]", "augmentation: erasing_area ", "0 < low <= high <= 1"),
        ("augmentation.erasing_ratio=[0,1]", "augmentation: erasing_ratio ", "0 < low <= high"),
        ("optimisation.learning_rate_schedule=none", "optimisation.learning_rate_schedule: ", "'cosine' or 'constant'"),
        ("network.bias=one", "network.bias: ", "'zero' or 'uniform' (given: 'one')"),
        ("data.mean=[0.5,0.5]", "data.mean.2: ", "missing"),
        ("evaluation.sigmas=[0,-1]", "evaluation.sigmas.1: ", "greater than or equal to 0 (given: -1)"),
        ("evaluation.sigmas=[]", "evaluation: ", "give at least one level, as sigmas or as blurs"),
        ("dataset=../elsewhere", "dataset: ", "pattern"),
        ("dataset=no", "dataset=false: ", "must not be a boolean"),
        ("seed=-1", "seed: ", "greater than or equal to 0"),
        ("optimisation.warmup_epochs=100", "optimisation: ", "warmup_epochs=100 must be less than epochs=100"),
        ("optimisation.batch_norm=frosen", "optimisation.batch_norm: ", "'batch' or 'frozen'"),
        ("optimisation.batch_norm=frozen", "optimisation.batch_norm=frozen needs network.pretr", "not be normalised"),
        ("network.arguments.pad_type=same", "network.arguments: alexnet-sup takes none", "timm and torchvision do"),
        ("network.arguments=same", "network.arguments: ", "dictionary"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_its_cure(file: Path, override: str, where: str, why: str) -> None:
    message = mistake(file, override)
    assert message.startswith(f"{file}: {where}")
    assert why in message


def test_biases_are_chosen_for_alexnet_sup_alone(file: Path) -> None:
    message = mistake(file, "model=resnet-18", "network.bias=uniform")
    assert message.startswith(
        f"{file}: network: bias=uniform is a choice for alexnet-sup alone; leave it out, resnet-18"
    )


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("pad_type=", "network.arguments: pad_type must be a number, a word"),
        ("pad_type={a: 1}", "network.arguments: pad_type must be a number, a word"),
        ("pad_type=[same, [1, {a: 1}]]", "network.arguments: pad_type must be a number, a word"),
        ("drop_rate=.nan", "network.arguments: drop_rate must be a number, a word"),
        ("drop_rate=-.inf", "network.arguments: drop_rate must be a number, a word"),
    ],
)
def test_arguments_of_a_network_are_plain_values(file: Path, argument: str, said: str) -> None:
    assert said in mistake(file, "network.architecture=resnet-18", f"network.arguments.{argument}")


def test_frozen_statistics_are_shared_by_no_images(file: Path) -> None:
    frozen = ["optimisation.batch_norm=frozen", "optimisation.batch_norm_images=8"]
    pretrained = ["network.pretrained.file=w.pt", f"network.pretrained.sha256={'a' * 64}"]
    assert "batch_norm_images=8 goes with batch_norm=batch" in mistake(file, *pretrained, *frozen)
    assert load(file, [*pretrained, frozen[0]]).optimisation.batch_norm == "frozen"


def test_all_mistakes_are_told_at_once(file: Path) -> None:
    message = mistake(file, "seed=-1", "logging.tensorbord=true", "augmentation.colour=2")
    for part in ("seed: ", "logging.tensorbord: unknown setting; did you mean 'tensorboard'", "augmentation.colour: "):
        assert part in message


@pytest.mark.parametrize("override", ["epochs", "=3", ""])
def test_an_override_needs_key_and_value(file: Path, override: str) -> None:
    assert mistake(file, override) == f"override {override!r}: must be key=value, e.g. optimisation.epochs=10"


def test_an_override_that_is_no_yaml_is_named(file: Path) -> None:
    assert mistake(file, "curriculum.sigmas=[1,").startswith("override 'curriculum.sigmas=[1,', line 1: not valid YAML")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 0\nseed: 1\n", ", line 2: not valid YAML: 'seed' is given twice"),
        ("seed: 0\noptimisation:\n  epochs: 3\n  epochs: 4\n", ", line 4: not valid YAML: 'epochs' is given twice"),
        ("seed: 0\nregime: [a\n", ", line 3: not valid YAML: expected"),
        ("seed: 0\n\tregime: a\n", ", line 2: not valid YAML: found character '\\t'"),
        ("seed: 0\n[a, b]: 3\n", ", line 2: not valid YAML: a key must be a word"),
        ("seed: 2024-13-45\n", ": not valid YAML: month must be in 1..12"),
        ("seed: \0\n", ": not valid YAML: special characters are not allowed"),
        ("x: !!python/object/apply:os.getcwd []\n", ", line 1: not valid YAML: could not determine a constructor"),
        ("- seed\n", ": must hold `key: value` lines, not a list"),
        ("seed\n", ": must hold `key: value` lines, not a str"),
        ("", ": dataset: missing; regime: missing"),
        ("dataset: a\nregime: mine\n", ": regime 'mine' has no preset in configs/regimes and no `curriculum:` section"),
        ("dataset: a\nregime: mine\ncurriculum: {sigma: 3}\n", ": curriculum.schedule: missing"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_line_and_cause(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    assert mistake(path).startswith(f"{path}{message}")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert mistake(tmp_path / "none.yaml") == f"{tmp_path}/none.yaml: cannot be read: No such file or directory"
    assert "Is a directory" in mistake(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"dataset: caf\xe9\n")
    assert "utf-8" in mistake(tmp_path / "latin.yaml")


# --- YAML and overrides ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.0e-3", ".001", "1.e-3", "+1e-3"])
def test_numbers_are_numbers_however_they_are_written(text: str) -> None:
    assert parse_yaml(text, "test") == 0.001


def test_words_that_look_a_little_like_numbers_stay_words() -> None:
    assert parse_yaml("[e3, 1e, 1e3x, 1-3]", "test") == ["e3", "1e", "1e3x", "1-3"]


def test_yaml_anchors_can_be_used() -> None:
    assert parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n", "test")["b"] == {"x": 1, "y": 3}


def test_overrides_are_one_document_and_the_last_one_counts() -> None:
    assert parse_overrides(["a.b=1", "a.c=[2]", "a.b=3", "d=x=y"]) == {"a": {"b": 3, "c": [2]}, "d": "x=y"}


def test_the_order_of_overrides_of_one_section_does_not_matter(file: Path) -> None:
    one = load(file, ["curriculum.schedule=stepwise", "curriculum.sigmas=[4,0]"])
    assert one == load(file, ["curriculum.sigmas=[4,0]", "curriculum.schedule=stepwise"])
    assert one.curriculum.sigmas == (4, 0)  # type: ignore[attr-defined]


# --- composition ----------------------------------------------------------------------------------------------------


@pytest.fixture
def presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Preset files of our own: model, dataset and regime each say what the next contradicts."""
    from blurtrain.settings import composition

    root = tmp_path / "configs"
    for name, text in {
        "models/alexnet-sup": "",
        "models/resnet-18": "network: {architecture: resnet-18}\naugmentation: {flip: 0.1, jitter: 0.1, colour: 0.1}\n",
        "datasets/faces": "augmentation: {jitter: 0.2, colour: 0.2}\n",
        "regimes/clear": "curriculum: {schedule: stepwise, sigmas: [8, 4]}\naugmentation: {colour: 0.3}\nseed: 3\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.yaml").write_text(text)
    composition._presets.cache_clear()
    monkeypatch.setattr(composition, "PRESETS", root)
    yield root
    composition._presets.cache_clear()


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
        compose({**MINIMAL, kind[:-1]: name}, name)


# --- identity -------------------------------------------------------------------------------------------------------


def identity(**changes: Any) -> str:
    return run_id(compose(merge(MINIMAL, changes), "test"), DATA_ID)


@pytest.mark.parametrize(
    ("document", "known"),
    [
        ({}, "faces-clear-alexnet-sup-s0-8bdd685988f4"),
        (
            {
                "dataset": "toybox-category",
                "regime": "blurry-to-clear",
                "seed": 3,
                "optimisation": {"optimiser": "sgd", "learning_rate": 0.05, "epochs": 90, "batch_size": 128},
            },
            "toybox-category-blurry-to-clear-alexnet-sup-s3-6a75dcbef251",
        ),
        (
            {
                "dataset": "imagenet-12",
                "regime": "blurry",
                "model": "resnet-18",
                "data": {"resolution": 64, "mean": [0.5, 0.5, 0.5], "sd": [0.25, 0.25, 0.25]},
                "augmentation": {"interpolation": "bilinear", "flip": 0, "crop_scale": [0.08, 1]},
                "blur": {"truncate": 2},
            },
            "imagenet-12-blurry-resnet-18-s0-fd8c378c39e5",
        ),
    ],
)
def test_pinned_ids(document: dict[str, Any], known: str) -> None:
    """These must never change: a run that was trained is found by its id.

    A setting that is added takes a neutral default that is left out of the hash; a change of meaning raises SCHEMA.
    """
    assert identity(**document) == known


def test_the_id_begins_with_names_to_read_and_ends_in_a_hash() -> None:
    *names, digest = identity(seed=7).rsplit("-", 1)
    assert names == ["faces-clear-alexnet-sup-s7"]
    assert len(digest) == 12
    assert set(digest) <= set("0123456789abcdef")


CHANGES: list[dict[str, Any]] = [
    {"dataset": "other"},
    {"regime": "blurry", "curriculum": {"schedule": "constant", "sigma": 0}},
    {"model": "own", "network": {"architecture": "alexnet-sup"}},
    {"seed": 1},
    {"data": {"resolution": 223}},
    {"data": {"mean": [0.5, 0.5, 0.5]}},
    {"data": {"sd": [0.5, 0.5, 0.5]}},
    {"network": {"architecture": "resnet-18"}},
    {"network": {"architecture": "timm/convnext_tiny"}},
    {"network": {"bias": "uniform"}},
    {"network": {"pretrained": {"file": "w.pt", "sha256": "a" * 64}}},
    {"network": {"pretrained": {"file": "w.pt", "sha256": "b" * 64}}},
    {"network": {"pretrained": {"file": "w.pt", "sha256": "b" * 64, "last_layer": "zero"}}},
    {"network": {"architecture": "resnet-18", "arguments": {"zero_init_residual": True}}},
    {"network": {"architecture": "resnet-18", "arguments": {"zero_init_residual": False}}},
    {"network": {"architecture": "resnet-18", "arguments": {"zero_init_residual": 1}}},
    {"network": {"architecture": "resnet-18", "arguments": {"replace_stride_with_dilation": [False, True, True]}}},
    {"curriculum": {"sigma": 1}},
    {"curriculum": {"schedule": "constant", "blur": "disk-4"}},
    {"curriculum": {"schedule": "stepwise"}},
    {"curriculum": {"schedule": "stepwise", "sigmas": [8, 4, 2, 1]}},
    {"curriculum": {"schedule": "stepwise", "blurs": ["disk-4", "sharp"]}},
    {"curriculum": {"schedule": "mix", "blurs": ["disk-4", "box-8"], "probabilities": [0.5, 0.5]}},
    {"curriculum": {"schedule": "half-batch", "blur": "disk-4"}},
    {"curriculum": {"schedule": "replay", "blurs": ["disk-4", "sharp"]}},
    {"curriculum": {"schedule": "fading", "blur": "disk-4"}},
    {"curriculum": {"schedule": "stepwise", "epochs_per_level": 10}},
    {"curriculum": {"schedule": "linear"}},
    {"curriculum": {"schedule": "linear", "start": 4}},
    {"curriculum": {"schedule": "linear", "end": 1}},
    {"curriculum": {"schedule": "cosine"}},
    {"curriculum": {"schedule": "cosine", "start": 4}},
    {"curriculum": {"schedule": "cosine", "end": 1}},
    {"curriculum": {"schedule": "geometric"}},
    {"curriculum": {"schedule": "geometric", "start": 8}},
    {"curriculum": {"schedule": "geometric", "factor": 0.8}},
    {"curriculum": {"schedule": "geometric", "every_epochs": 6}},
    {"curriculum": {"schedule": "mix"}},
    {"curriculum": {"schedule": "mix", "sigmas": [0, 1, 2, 4, 6]}},
    {"curriculum": {"schedule": "mix", "probabilities": [0.4, 0.1, 0.1, 0.2, 0.2]}},
    {"curriculum": {"schedule": "mix", "draw": "batch"}},
    {"curriculum": {"schedule": "uniform"}},
    {"curriculum": {"schedule": "uniform", "low": 1}},
    {"curriculum": {"schedule": "uniform", "high": 4}},
    {"curriculum": {"schedule": "uniform", "share": 0.5}},
    {"curriculum": {"schedule": "uniform", "draw": "batch"}},
    {"curriculum": {"schedule": "half-batch"}},
    {"curriculum": {"schedule": "half-batch", "sigma": 8}},
    {"curriculum": {"schedule": "replay"}},
    {"curriculum": {"schedule": "replay", "sigmas": [8, 4, 2, 1]}},
    {"curriculum": {"schedule": "replay", "durations": [1, 1, 1, 1, 2]}},
    {"curriculum": {"schedule": "replay", "draw": "batch"}},
    {"curriculum": {"schedule": "fading"}},
    {"curriculum": {"schedule": "fading", "sigma": 8}},
    {"curriculum": {"schedule": "fading", "a": 0.9}},
    {"curriculum": {"schedule": "fading", "rate": 0.1}},
    {"curriculum": {"schedule": "fading", "draw": "batch"}},
    {"curriculum": {"schedule": "developmental"}},
    {"curriculum": {"schedule": "developmental", "months_per_epoch": 1}},
    {"curriculum": {"schedule": "developmental", "ageing": "batch"}},
    {"curriculum": {"schedule": "feature-smoothing"}},
    {"curriculum": {"schedule": "feature-smoothing", "sigma": 2}},
    {"curriculum": {"schedule": "feature-smoothing", "factor": 0.8}},
    {"curriculum": {"schedule": "feature-smoothing", "every_epochs": 6}},
    {"curriculum": {"schedule": "feature-smoothing", "kernel_size": 5}},
    {"curriculum": {"schedule": "feature-smoothing", "border": "zero"}},
    {"curriculum": {"schedule": "feature-smoothing", "convolutions": "as-published"}},
    {"curriculum": {"schedule": "feature-smoothing", "at_test": True}},
    {"blur": {"reference_resolution": 256}},
    {"blur": {"truncate": 2}},
    {"blur": {"linear_light": True}},
    {"augmentation": {"crop_scale": [0.4, 1]}},
    {"augmentation": {"crop_ratio": [0.5, 1]}},
    {"augmentation": {"interpolation": "bilinear"}},
    {"augmentation": {"flip": 0}},
    {"augmentation": {"colour": 0}},
    {"augmentation": {"jitter": 0}},
    {"augmentation": {"erasing": 0.5}},
    {"augmentation": {"erasing_area": [0.02, 0.3]}},
    {"augmentation": {"erasing_ratio": [0.3, 3]}},
    {"optimisation": {"optimiser": "sgd"}},
    {"optimisation": {"learning_rate": 0.002}},
    {"optimisation": {"momentum": 0.8}},
    {"optimisation": {"weight_decay": 0}},
    {"optimisation": {"batch_size": 255}},
    {"optimisation": {"epochs": 99}},
    {"optimisation": {"warmup_epochs": 1}},
    {"optimisation": {"warmup_factor": 0.1}},
    {"optimisation": {"learning_rate_schedule": "constant"}},
    {"optimisation": {"label_smoothing": 0.1}},
    {"optimisation": {"ema": 0.99}},
    {"optimisation": {"batch_norm_images": 32}},
    {
        "network": {"pretrained": {"file": "w.pt", "sha256": "a" * 64}},
        "optimisation": {"batch_norm": "frozen"},
    },
    {"optimisation": {"non_finite": "skip"}},
    {"precision": {"arithmetic": "bfloat16"}},
    {"precision": {"tf32": True}},
    {"precision": {"compile": True}},
]


def test_whatever_changes_the_weights_changes_the_id() -> None:
    ids = [identity(), *(identity(**change) for change in CHANGES), run_id(compose(MINIMAL, "test"), "f" * 16)]
    assert len(set(ids)) == len(ids)


def test_every_setting_is_known_to_change_the_id_or_not_to() -> None:
    """Whoever adds a setting decides: into CHANGES, or into NEUTRAL; those of a curriculum under each schedule."""
    tried = {key for document in [*CHANGES, *NEUTRAL] for key in _leaves(_by_schedule(document))}
    pretrained = {"file": "w.pt", "sha256": "a" * 64}
    arguments = {"zero_init_residual": True, "replace_stride_with_dilation": [False, True, True]}
    network = {"architecture": "resnet-18", "arguments": arguments, "pretrained": pretrained}
    whole = merge(MINIMAL, {"network": network})
    known = set(_leaves(_by_schedule(compose(whole, "test").model_dump())))
    for kind in Curriculum.kinds.values():
        known |= set(_leaves(_by_schedule({"curriculum": kind().model_dump()})))
    assert known == tried


def _by_schedule(document: dict[str, Any]) -> dict[str, Any]:
    """The curriculum's settings below the name of its schedule: `sigma` of one is not `sigma` of another."""
    if "curriculum" not in document:
        return document
    schedule = document["curriculum"].get("schedule", "constant")
    return {**document, "curriculum": {schedule: {**document["curriculum"], "schedule": schedule}}}


def _leaves(document: dict[str, Any], above: str = "") -> list[str]:
    parts = [_leaves(v, f"{above}{k}.") if isinstance(v, dict) else [f"{above}{k}"] for k, v in document.items()]
    return [leaf for part in parts for leaf in part]


NEUTRAL: list[dict[str, Any]] = [
    {"optimisation": {"accumulate": 4}},
    {"data": {"root": "/elsewhere"}},
    {"evaluation": {"split": "val", "sigmas": [3], "blurs": ["disk-4"], "batch_size": 7, "drop_last": True}},
    {"loader": {"kind": "resident", "workers": 3, "threads": 1, "stalled_seconds": 9}},
    {"checkpoints": {"every_minutes": 5, "keep": 9}},
    {"logging": {"tensorboard": False, "every_steps": 3}},
]


@pytest.mark.parametrize("change", NEUTRAL)
def test_what_does_not_change_the_weights_does_not_change_the_id(change: dict[str, Any]) -> None:
    assert identity(**change) == identity()


@pytest.mark.parametrize(
    ("change", "without"),
    [
        ({"blur": {"linear_light": False}}, {}),
        ({"augmentation": {"erasing": 0.0, "erasing_area": [0.02, 0.33], "erasing_ratio": [0.3, 3.3]}}, {}),
        ({"network": {"bias": "zero"}}, {}),
        ({"optimisation": {"learning_rate_schedule": "cosine"}}, {}),
        ({"optimisation": {"batch_norm": "batch"}}, {}),
        ({"network": {"arguments": {}}}, {}),
        (
            {"curriculum": {"schedule": "stepwise", "epochs_per_level": None}},
            {"curriculum": {"schedule": "stepwise"}},
        ),
    ],
)
def test_a_setting_added_later_is_not_in_the_id_at_its_default(change: dict[str, Any], without: dict[str, Any]) -> None:
    assert identity(**change) == identity(**without)


def test_what_is_added_later_leaves_the_identity_of_old_settings_as_it_was() -> None:
    class Old(Section):
        a: float = 1.0

    class New(Section):
        a: float = 1.0
        b: float | None = added_later(None, gt=0)
        c: int = added_later(3)

    class OldRun(Section):
        part: Old = Old()

    class NewRun(Section):
        part: New = New()

    assert identity_of(NewRun()) == identity_of(OldRun()) == {"part": {"a": 1}}
    assert identity_of(NewRun(part=New(a=2, b=None, c=3))) == identity_of(OldRun(part=Old(a=2)))
    assert identity_of(NewRun(part=New(b=2, c=4))) == {"part": {"a": 1, "b": 2, "c": 4}}
    with pytest.raises(ValueError, match="greater than 0"):
        New(b=0)


def test_pretrained_weights_are_known_by_their_content_not_by_their_place() -> None:
    here, there = ({"pretrained": {"file": file, "sha256": "a" * 64}} for file in ("w.pt", "/elsewhere/v.pt"))
    assert identity(network=here) == identity(network=there) != identity()
    drawn = {"pretrained": {**here["pretrained"], "last_layer": "drawn"}}
    assert identity(network=drawn) == identity(network=here), "as it was before it could be said"


def test_one_run_has_one_id_however_it_is_spelled(file: Path) -> None:
    whole, fraction = identity(curriculum={"sigma": 8}), identity(curriculum={"sigma": 8.0})
    assert whole == fraction == run_id(load(file, ["curriculum.sigma=8e0"]), DATA_ID)
    assert identity(optimisation={"learning_rate": 0.001}) == identity()
    assert run_id(load(file, ["optimisation.learning_rate=1e-3"]), DATA_ID) == identity()
    assert identity(optimisation={"epochs": 50.0}) == identity(optimisation={"epochs": 50})
    networks = [["stem_width=64.0", "drop_rate=5e-1"], ["drop_rate=.5", "stem_width=64"]]
    first, second = (
        load(file, ["network.architecture=timm/resnet50", *(f"network.arguments.{part}" for part in parts)])
        for parts in networks
    )
    assert first.network.arguments == {"stem_width": 64, "drop_rate": 0.5}
    assert run_id(first, DATA_ID) == run_id(second, DATA_ID)


def test_resolved_settings_survive_the_round_trip(tmp_path: Path) -> None:
    for document in ({}, *CHANGES, *NEUTRAL):
        settings = compose(merge(MINIMAL, document), "test")
        (tmp_path / "settings.yaml").write_text(dump(settings))
        again = load_resolved(tmp_path / "settings.yaml")
        assert again == settings
        assert run_id(again, DATA_ID) == run_id(settings, DATA_ID)


def test_resolved_settings_do_not_depend_on_presets(presets: Path, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(dump(compose(MINIMAL, "test")))
    (presets / "regimes" / "clear.yaml").write_text("curriculum: {schedule: constant, sigma: 5}\n")

    from blurtrain.settings import composition

    composition._presets.cache_clear()
    assert load_resolved(tmp_path / "settings.yaml").curriculum.model_dump()["sigmas"] == (8, 4)


def test_settings_cannot_be_changed() -> None:
    settings = compose(MINIMAL, "test")
    with pytest.raises(ValueError, match="frozen"):
        settings.seed = 1  # type: ignore[misc]
