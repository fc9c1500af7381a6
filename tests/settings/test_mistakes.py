"""Every mistake in settings is reported in one line: where, what, and what to do."""

from pathlib import Path

import pytest

from blurtrain.errors import SettingsError
from blurtrain.settings import load


def mistake(path: Path, *overrides: str) -> str:
    """The one line that loading `path` is refused with."""
    with pytest.raises(SettingsError) as caught:
        load(path, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


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
        # Its kernels are learnt tap by tap: there is no gradient of a family's parameter.
        (
            "loss={type: adversarial-blur, family: disk}",
            "loss.family: unknown setting",
            "(known: among, distance, ",
        ),
        ("regime=cleer", "regime 'cleer' has no preset", "did you mean 'clear'?"),
        ("model=resnet18", "model 'resnet18' has no preset", "did you mean 'resnet-18'?"),
        ("optimisation.epochs=many", "optimisation.epochs: ", "integer, unable to parse string"),
        ("optimisation.epochs=1.5", "optimisation.epochs: ", "(given: 1.5)"),
        ("optimisation.epochs=", "optimisation.epochs: ", "(given: None)"),
        ("optimisation.epochs=true", "optimisation: epochs=true", "must not be a boolean"),
        ("optimisation.epochs=0", "optimisation.epochs=0 takes a pretrained network", "network.pretrained is missing"),
        ("optimisation.optimiser=adamm", "optimisation.optimiser: ", "'adam' or 'sgd' (given: 'adamm')"),
        ("optimisation=3", "optimisation: ", "(given: 3)"),
        ("network.architecture=resnet18", "network.architecture: did you mean 'resnet-18'?", "timm/NAME"),
        ("network.pretrained.file=w.pt", "network.pretrained: ", "sha256 is missing"),
        ("optimisation.learning_rate=.inf", "optimisation.learning_rate: ", "finite"),
        ("augmentation.flip=1.5", "augmentation.flip: ", "less than or equal to 1"),
        ("augmentation.crop_scale=[0.9,0.1]", "augmentation: crop_scale ", "0 < low <= high <= 1"),
        ("augmentation.erasing=2", "augmentation.erasing: ", "less than or equal to 1 (given: 2)"),
        ("augmentation.erasing_area=[0.1,2]", "augmentation: erasing_area ", "0 < low <= high <= 1"),
        ("augmentation.erasing_ratio=[0,1]", "augmentation: erasing_ratio ", "0 < low <= high"),
        ("augmentation.rotation=181", "augmentation.rotation: ", "less than or equal to 180 (given: 181)"),
        ("augmentation.translation=10", "augmentation.translation: ", "less than or equal to 1 (given: 10)"),
        ("augmentation.zoom=1", "augmentation.zoom: ", "less than or equal to 0.9 (given: 1)"),
        ("augmentation.hsv_hue=-0.1", "augmentation.hsv_hue: ", "greater than or equal to 0 (given: -0.1)"),
        ("augmentation.hsv_saturation=2", "augmentation.hsv_saturation: ", "less than or equal to 1 (given: 2)"),
        ("augmentation.hsv_value=2", "augmentation.hsv_value: ", "less than or equal to 1 (given: 2)"),
        ("optimisation.learning_rate_schedule=none", "optimisation.learning_rate_schedule: ", "'constant' or 'step'"),
        ("optimisation.learning_rate_schedule=step", "optimisation: ", "needs learning_rate_steps, rising and below"),
        ("optimisation.learning_rate_steps=[3]", "optimisation: learning_rate_steps goes with ", "=step, not cosine"),
        ("optimisation.learning_rate_step_factor=1", "optimisation: learning_rate_step_factor ", "=step, not cosine"),
        ("optimisation.learning_rate_floor=2", "optimisation.learning_rate_floor: ", "less than or equal to 1"),
        (
            "optimisation.groups=[{match: a, learning_rate_factor: -1}]",
            "optimisation.groups.0.learning",
            "(given: -1)",
        ),
        (
            "optimisation.groups=[{match: a, frozen: true, weight_decay: 0}]",
            "optimisation.groups.0: ",
            "leave them out",
        ),
        ("optimisation.groups=[{frozen: true}]", "optimisation.groups.0.match: ", "missing"),
        ("network.dropout=1", "network.dropout: ", "less than 1 (given: 1)"),
        ("network.bias=one", "network.bias: ", "'zero' or 'uniform' (given: 'one')"),
        ("data.mean=[0.5,0.5]", "data.mean.2: ", "missing"),
        ("data.mean=123.675,116.28,103.53", "data.mean: ", "as shares of 255 that is [0.485, 0.456, 0.406]"),
        ("data.sd=[0,0.2,0.2]", "data.sd: ", "pixels are divided by it"),
        ("data.sd=[-0.2,0.2,0.2]", "data.sd: ", "each value lies in 0..1 (given: [-0.2, 0.2, 0.2])"),
        ("seed=1:30:00", "seed: ", "integer"),
        ("evaluation.sigmas=[0,-1]", "evaluation.sigmas.1: ", "greater than or equal to 0 (given: -1)"),
        ("evaluation.sigmas=[]", "evaluation: ", "give at least one level, as sigmas or as blurs"),
        ("dataset=../elsewhere", "dataset: ", "pattern"),
        ("dataset=no", "dataset=false: ", "must not be a boolean"),
        ("seed=-1", "seed: ", "greater than or equal to 0"),
        ("optimisation.warmup_epochs=100", "optimisation: ", "warmup_epochs=100 must be less than epochs=100"),
        ("optimisation.batch_norm=frosen", "optimisation.batch_norm: ", "'batch' or 'frozen'"),
        ("optimisation.batch_norm=frozen", "optimisation.batch_norm=frozen needs network.pretr", "not be normalised"),
        ("network.arguments.pad_type=same", "network.arguments: alexnet-sup takes none", "other networks do"),
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


@pytest.mark.parametrize("steps", ["[]", "[60,30]", "[30,30]", "[30,100]"])
def test_steps_of_the_learning_rate_rise_and_end_before_the_run_does(file: Path, steps: str) -> None:
    given = ["optimisation.learning_rate_schedule=step", f"optimisation.learning_rate_steps={steps}"]
    assert "needs learning_rate_steps, rising and below epochs=100, e.g. [30, 60]" in mistake(file, *given)
    floor = ["optimisation.learning_rate_schedule=constant", "optimisation.learning_rate_floor=0.1"]
    assert "learning_rate_floor goes with learning_rate_schedule=cosine, not constant" in mistake(file, *floor)


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
        ("seed: !!timestamp 2024-13-45\n", ": not valid YAML: month must be in 1..12"),
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
