"""Settings from files: read from YAML, composed from `configs/`, overridden by `key=value`.

Later layers win: defaults below < configs/models < configs/datasets < configs/regimes < the file < overrides.
Mappings merge key by key, lists are replaced. Only the warm-up of one or two epochs follows from another setting.
"""

import functools
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from blurtrain.documents import dump_yaml, merge, parse_overrides, read_yaml
from blurtrain.errors import SettingsError, nearest
from blurtrain.parts import look_beside
from blurtrain.schema import NAME, validate
from blurtrain.settings.network import DEFAULT_MODEL
from blurtrain.settings.run import Settings
from blurtrain.settings.sections import BlurUnits, Evaluation, Optimisation

_log = logging.getLogger(__name__)
PRESETS = next(
    (p for p in (Path(__file__).parents[1] / "configs", Path(__file__).parents[2] / "configs") if p.is_dir()),
    Path("configs"),
)


def _presets(kind: str) -> dict[str, dict[str, Any]]:
    return _documents(PRESETS / kind)


@functools.cache
def _documents(folder: Path) -> dict[str, dict[str, Any]]:
    """The YAML files of a folder, by name; read once."""
    return {path.stem: read_yaml(path) for path in sorted(folder.glob("*.yaml"))}


def preset_file(kind: str, name: str | Path) -> Path:
    """A file by its path, or by its name one of those that come with the project: `paper` of configs/grids, say.

    `kind` is the folder below configs; raises SettingsError where there is neither.
    """
    path = Path(name)
    shipped = PRESETS / kind / f"{path.stem}.yaml"
    if not path.is_file() and shipped.is_file() and str(path) in (path.stem, f"configs/{kind}/{path.stem}.yaml"):
        return shipped
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        return path
    what = kind.removesuffix("es" if kind == "searches" else "s")
    known = [preset.stem for preset in (PRESETS / kind).glob("*.yaml")]
    raise SettingsError(f"no {what} {str(name)!r} comes with the project; {nearest(str(name), known)}, or a file.yaml")


def compose(document: Mapping[str, Any], where: str) -> Settings:
    """Lay `document` over the presets that it names, and check the whole; raises SettingsError naming `where`."""
    if "model" not in document and (name := _own_model(document)):
        document = {**document, "model": name}
    model = document.get("model", DEFAULT_MODEL)
    dataset, regime = document.get("dataset"), document.get("regime")
    for kind, name, own in (("models", model, "network"), ("regimes", regime, "curriculum")):
        # A name of one's own needs no preset file if the settings themselves say what it stands for.
        if isinstance(name, str) and name not in _presets(kind) and own not in document:
            raise SettingsError(
                f"{where}: {kind[:-1]} {name!r} has no preset in configs/{kind} and no `{own}:` section here; "
                + nearest(name, _presets(kind))
            )
    layers = [
        _presets(kind).get(str(name), {})
        for kind, name in (("models", model), ("datasets", dataset), ("regimes", regime))
    ]
    settings: Settings = validate(_warmed_up(functools.reduce(merge, [*layers, document])), where, Settings)
    check_levels(settings.evaluation, settings.blur, where)
    return settings


def _warmed_up(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where no layer says how long the rate warms up and the default is not less than all epochs: for a tenth of them.
    (With the default such runs are refused, so that no id of one changes.)"""
    optimisation = document.get("optimisation")
    if not isinstance(optimisation, Mapping) or "warmup_epochs" in optimisation:
        return document
    epochs, default = optimisation.get("epochs"), Optimisation.model_fields["warmup_epochs"].default
    if type(epochs) is not int or not 0 < epochs <= default:
        return document
    _say(f"optimisation.warmup_epochs={epochs / 10:g}: a tenth of epochs={epochs}")
    return merge(document, {"optimisation": {"warmup_epochs": epochs / 10}})


@functools.cache
def _say(words: str) -> None:
    """Log what was derived; once, however many runs of a grid it holds for."""
    _log.info(words)


def _own_model(document: Mapping[str, Any]) -> str | None:
    """The name of a network that a document gives without naming a model; None where it gives none."""
    network = document.get("network")
    architecture = network.get("architecture") if isinstance(network, Mapping) else None
    name = model_name(architecture) if isinstance(architecture, str) else ""
    return name if re.fullmatch(NAME, name) else None


def model_name(architecture: str) -> str:
    """What a network is called as a model: `resnet-18`, `timm-NAME` of timm/NAME, `module-Name` of module:Name."""
    return architecture.replace("/", "-").replace(":", "-")


def check_levels(evaluation: Evaluation, units: BlurUnits, where: str) -> None:
    """Raise SettingsError where a level or a method of deblurring is given twice, or one does not go with the other.
    (Not in the section itself: older runs that were evaluated so must still be read.)"""
    names = [f"sigma {sigma:g}" for sigma in evaluation.sigmas]
    if twice := [name for k, name in enumerate(names) if name in names[:k]]:
        raise SettingsError(f"{where}: evaluation.sigmas: {twice[0]} is given twice; leave one of them out")
    labels = [blur.label for blur in evaluation.levels(units.reference_resolution)]
    if twice := [label for k, label in enumerate(labels) if label in labels[:k]]:
        raise SettingsError(f"{where}: evaluation: {twice[0]} is given twice, by sigma or by label; leave one out")
    methods = [method.label for method in evaluation.deblur]
    if twice := [label for k, label in enumerate(methods) if label in methods[:k]]:
        raise SettingsError(f"{where}: evaluation.deblur: {twice[0]} is given twice; leave one of them out")
    for method in evaluation.deblur:
        try:
            method.check(evaluation.levels(units.reference_resolution))
        except SettingsError as error:
            raise SettingsError(f"{where}: evaluation.deblur: {error}") from None


def load(path: str | Path, overrides: Sequence[str] | Mapping[str, Any] = ()) -> Settings:
    """Read a settings file, compose it with the presets it names and with overrides: `key=value`, or by section.

    Raises SettingsError, one line, for anything unknown, missing or out of range.
    """
    look_beside(Path(path))
    above = overrides if isinstance(overrides, Mapping) else parse_overrides(overrides)
    return compose(merge(read_yaml(Path(path)), above), str(path))


def load_resolved(path: Path) -> Settings:
    """Read the fully resolved `settings.yaml` of a run directory; presets play no part any more. Raises SettingsError,
    one line, for anything unknown, missing or out of range."""
    return validate(read_yaml(path), str(path), Settings)


def dump(settings: Settings) -> str:
    """All settings, fully resolved, as YAML."""
    return dump_yaml(settings.model_dump(mode="json"))
