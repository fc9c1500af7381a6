"""A run as frozen, typed, documented settings: read from YAML, composed from `configs/`, overridden by `key=value`.

Later layers win: defaults below < configs/models < configs/datasets < configs/regimes < the file < overrides.
Mappings merge key by key, lists are replaced.
"""

import functools
import hashlib
import json
import re
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from blurtrain.errors import SettingsError, nearest

SCHEMA = 1  # raised when a change of meaning makes old run ids wrong
PRESETS = next(
    (p for p in (Path(__file__).parent / "configs", Path(__file__).parent.parent / "configs") if p.is_dir()),
    Path("configs"),
)


def _outside_identity(default: Any, **limits: Any) -> Any:
    """A setting that does not change the trained weights, so it takes no part in the run id."""
    return Field(default, json_schema_extra={"identity": False}, **limits)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, document: Any) -> Any:
        # pydantic takes true for 1; YAML takes the words yes, no, on and off for truth values.
        for name, value in document.items() if isinstance(document, dict) else ():
            if isinstance(value, bool) and name in cls.model_fields and cls.model_fields[name].annotation is not bool:
                raise ValueError(f"{name}={str(value).lower()}: must not be a truth value, as yes, no, on, off are")
        return document


NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
Name = Annotated[str, Field(pattern=NAME, max_length=80)]
Probability = Annotated[float, Field(ge=0, le=1)]
Sigma = Annotated[float, Field(ge=0, le=1000)]


class Data(_Section):
    """Which pixels the network sees."""

    root: str = _outside_identity("data")
    """Folder of prepared datasets."""
    resolution: int = Field(224, ge=8, le=4096)
    """Side of the network's input in pixels."""
    mean: tuple[float, float, float] | None = None
    """Normalisation mean per channel, of pixels in 0..1; none: as measured on the training split."""
    sd: tuple[float, float, float] | None = None
    """Normalisation standard deviation per channel; none: as measured on the training split."""


class Network(_Section):
    """What is trained."""

    architecture: Literal["alexnet-sup", "resnet-18"] = "alexnet-sup"


class ConstantBlur(_Section):
    """The same sigma throughout."""

    schedule: Literal["constant"] = "constant"
    sigma: Sigma = 0.0


class StepwiseBlur(_Section):
    """Levels of equal duration, one after the other, as the blurry-to-clear study does."""

    schedule: Literal["stepwise"] = "stepwise"
    sigmas: tuple[Sigma, ...] = Field((8.0, 4.0, 2.0, 1.0, 0.0), min_length=1)


class Blur(_Section):
    """How sigma is to be read, in training and in evaluation alike."""

    reference_resolution: int = Field(224, ge=8)
    """Sigmas are given in pixels at this resolution, and scaled with the network's input."""
    truncate: float = Field(4.0, gt=0, le=8)
    """Kernels are cut at this many sigmas; 2 reproduces the 33 taps at sigma 8 of the original study."""


class Augmentation(_Section):
    """The training transform: random resized crop, colour operations, flip; before the blur."""

    crop_scale: tuple[float, float] = (0.5, 1.0)
    """Smallest and largest area of the crop, as a share of the image's."""
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Smallest and largest aspect ratio (width to height) of the crop."""
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    flip: Probability = 0.5
    """Probability of a horizontal flip."""
    colour: Probability = 0.2
    """Probability of each of the seven colour operations, which come in random order."""
    jitter: float = Field(0.2, ge=0, le=0.5)
    """Strength of the brightness, contrast, saturation (factor 1 +/- jitter) and hue (turn +/- jitter) operations."""

    @model_validator(mode="after")
    def _ordered(self) -> "Augmentation":
        for name in ("crop_scale", "crop_ratio"):
            low, high = getattr(self, name)
            if not 0 < low <= high or (name == "crop_scale" and high > 1):
                raise ValueError(f"{name} must be [low, high] with 0 < low <= high{' <= 1' * (name == 'crop_scale')}")
        return self


class Optimisation(_Section):
    """How the weights are found."""

    optimiser: Literal["adam", "sgd"] = "adam"
    learning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Of SGD; Adam uses its usual (0.9, 0.999)."""
    weight_decay: float = Field(1e-5, ge=0)
    """L2 penalty added to the gradient (also in Adam, as in the study)."""
    batch_size: int = Field(256, ge=1)
    """Images a step, over all processes."""
    epochs: int = Field(100, ge=1)
    warmup_epochs: float = Field(2.0, ge=0)
    """Linear warm-up, stepped per batch, then cosine to zero."""
    warmup_factor: float = Field(0.01, ge=0, le=1)
    """Learning rate at the first step, as a share of the peak."""

    @model_validator(mode="after")
    def _warm_up_ends(self) -> "Optimisation":
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs={self.warmup_epochs:g} must be less than epochs={self.epochs}")
        return self


class Evaluation(_Section):
    """What is measured at the end."""

    split: Literal["train", "val", "test"] = "test"
    sigmas: tuple[Sigma, ...] = Field((0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0), min_length=1)
    """Blur levels, in pixels at the reference resolution."""
    batch_size: int = Field(256, ge=1)


class Loader(_Section):
    """How pixels reach the device: never changes them."""

    kind: Literal["auto", "ffcv", "resident"] = "auto"
    """ffcv: decoded by FFCV's threads; resident: the whole pixel store in the device's memory; auto: ffcv where it
    can be imported, else resident."""
    workers: int = Field(0, ge=0)
    """FFCV threads a process; 0: the processor cores this process may use, shared among the node's processes."""
    threads: int = Field(0, ge=0)
    """torch threads a process; 0: as workers."""


class Checkpoints(_Section):
    """What a run is resumed from; how often never changes its outcome."""

    every_minutes: float = Field(1.0, ge=0)
    """At the end of an epoch, if the last one is so old; 0: after every epoch."""
    keep: int = Field(2, ge=2)
    """So many of the newest stay, so that a damaged one loses little."""


class Logging(_Section):
    tensorboard: bool = True


class Settings(_Section):
    """One run, whole. `dataset`, `regime` and `model` name files in `configs/` and label the run in tables."""

    dataset: Name
    regime: Name
    model: Name = "alexnet-sup"
    seed: int = Field(0, ge=0, lt=2**32)
    data: Data = Data()
    network: Network = Network()
    curriculum: Annotated[ConstantBlur | StepwiseBlur, Field(discriminator="schedule")] = ConstantBlur()
    blur: Blur = Blur()
    augmentation: Augmentation = Augmentation()
    optimisation: Optimisation = Optimisation()
    evaluation: Evaluation = _outside_identity(Evaluation())
    loader: Loader = _outside_identity(Loader())
    checkpoints: Checkpoints = _outside_identity(Checkpoints())
    logging: Logging = _outside_identity(Logging())


# --- identity -------------------------------------------------------------------------------------------------------


def _identity(section: BaseModel) -> dict[str, Any]:
    fields = type(section).model_fields
    kept = {
        name: getattr(section, name)
        for name, field in fields.items()
        if not (isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("identity") is False)
    }
    return {name: _identity(v) if isinstance(v, BaseModel) else v for name, v in kept.items()}


def run_id(settings: Settings, data_id: str) -> str:
    """Readable name and 12 hex digits of a hash over everything that changes the trained weights.

    The same id is the same run, whatever it is started on, and however its settings were spelled.
    """
    identity = _identity(settings)
    label = "-".join([identity.pop("dataset"), identity.pop("regime"), identity.pop("model"), f"s{settings.seed}"])
    canonical = json.dumps({"schema": SCHEMA, "data_id": data_id, **identity}, sort_keys=True, separators=(",", ":"))
    return f"{label}-{hashlib.sha256(canonical.encode()).hexdigest()[:12]}"


# --- YAML -----------------------------------------------------------------------------------------------------------


class _Yaml(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, except that 1e-3 is a number and that a key given twice is refused."""


_Yaml.yaml_implicit_resolvers = {k: list(v) for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def _mapping_without_repeats(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key_node.start_mark)
        key = loader.construct_object(key_node)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Yaml.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_repeats)


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML safely; raises SettingsError, naming `where`, the line and the cause."""
    try:
        return yaml.load(text, Loader=_Yaml)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        cause = getattr(error, "problem", None) or getattr(error, "reason", error)
        raise SettingsError(f"{where}{line}: not valid YAML: {cause}") from None
    except ValueError as error:  # a date that is none, say
        raise SettingsError(f"{where}: not valid YAML: {error}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that must hold one mapping; raises SettingsError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    document = parse_yaml(text, str(path))
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise SettingsError(f"{path}: must hold `key: value` lines, not a {type(document).__name__}")
    return document


# --- composition ----------------------------------------------------------------------------------------------------


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`: mappings merge, all else is replaced. Another `schedule` replaces its whole section."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            other_kind = "schedule" in value and value["schedule"] != old.get("schedule")
            merged[key] = dict(value) if other_kind else merge(old, value)
        else:
            merged[key] = value
    return merged


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """`["optimisation.epochs=3", ...]` as a nested mapping; values are read as YAML."""
    document: dict[str, Any] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise SettingsError(f"override {override!r}: must be key=value, e.g. optimisation.epochs=10")
        # Laid beside each other without `merge`: a schedule must not replace what an override before it says.
        here, (*sections, last) = document, key.split(".")
        for section in sections:
            if not isinstance(here.get(section), dict):
                here[section] = {}
            here = here[section]
        here[last] = parse_yaml(text, f"override {override!r}")
    return document


@functools.cache
def _presets(kind: str) -> dict[str, dict[str, Any]]:
    return {path.stem: read_yaml(path) for path in sorted((PRESETS / kind).glob("*.yaml"))}


def compose(document: Mapping[str, Any], where: str) -> Settings:
    """Lay `document` over the presets that it names, and check the whole; raises SettingsError naming `where`."""
    model = document.get("model", Settings.model_fields["model"].default)
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
    return validate(functools.reduce(merge, [*layers, document]), where)


def load(path: str | Path, overrides: Sequence[str] = ()) -> Settings:
    """Read a settings file, compose it with the presets it names and with `key=value` overrides.

    Raises SettingsError, one line, for anything unknown, missing or out of range.
    """
    return compose(merge(read_yaml(Path(path)), parse_overrides(overrides)), str(path))


def load_resolved(path: Path) -> Settings:
    """Read the fully resolved `settings.yaml` of a run directory; presets play no part any more."""
    return validate(read_yaml(path), str(path))


def dump(settings: Settings) -> str:
    """All settings, fully resolved, as YAML."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)


def validate(document: Mapping[str, Any], where: str, model: type[BaseModel] = Settings) -> Any:
    """`document` as a `model`; raises SettingsError with the path, the cause and the nearest name of each mistake."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        mistakes = [_explain(e["loc"], e, model) for e in error.errors()]
        raise SettingsError(f"{where}: " + "; ".join(dict.fromkeys(mistakes))) from None


def _explain(loc: tuple[int | str, ...], error: Any, model: type[BaseModel]) -> str:
    """One mistake that pydantic found, as a user would put it."""
    beside, shown = _walk(model, loc)
    path = ".".join(shown)
    if error["type"] == "extra_forbidden":
        return f"{path}: unknown setting; {nearest(str(loc[-1]), beside)}"
    if error["type"] == "missing":
        return f"{path}: missing"
    if error["type"] == "union_tag_invalid":
        tags = error["ctx"]["expected_tags"].replace("'", "").split(", ")
        return f"{path}.schedule: {error['ctx']['tag']!r} is unknown; {nearest(str(error['ctx']['tag']), tags)}"
    if error["type"] == "union_tag_not_found":
        return f"{path}.schedule: missing"
    message = error["msg"].removeprefix("Value error, ")
    value = error.get("input")
    given = f" (given: {value!r})" if value is None or isinstance(value, str | int | float | list | tuple) else ""
    return f"{path}: {message[:1].lower()}{message[1:]}{given}" if path else f"{message}{given}"


def _walk(model: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[set[str], list[str]]:
    """The settings known beside the last part of `loc`, and `loc` as a user writes it (no pydantic union tags)."""
    here: Any = model
    beside: set[str] = set()
    shown: list[str] = []
    for part in loc:
        tagged = {
            m.model_fields["schedule"].default: m
            for m in getattr(here, "__args__", ())
            if "schedule" in getattr(m, "model_fields", {})
        }
        if part in tagged:
            here = tagged[part]
            continue
        if get_origin(here) in (Union, types.UnionType) and isinstance(part, str):
            continue  # which alternative pydantic tried
        fields = getattr(here, "model_fields", {})
        beside = set(fields)
        shown.append(str(part))
        inside = get_args(here)[-1] if get_origin(here) in (dict, list) else None
        here = fields[part].annotation if part in fields else inside
    return beside, shown
