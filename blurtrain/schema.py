"""What all settings share: strict, frozen sections, and errors that say where, what and which name was meant."""

import types
from collections.abc import Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from blurtrain.errors import SettingsError, nearest


def outside_identity(default: Any, **limits: Any) -> Any:
    """A setting that does not change the trained weights, so it takes no part in the run id."""
    return Field(default, json_schema_extra={"identity": False}, **limits)


def added_later(default: Any, **limits: Any) -> Any:
    """A setting that came after runs had been trained without it: at its default it is left out of the run id."""
    return Field(default, json_schema_extra={"identity": "unless default"}, **limits)


class Section(BaseModel):
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


def validate(document: Mapping[str, Any], where: str, model: type[BaseModel]) -> Any:
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
        if get_origin(here) in (Union, types.UnionType):
            alternatives = [a for a in get_args(here) if a is not type(None)]
            here = alternatives[0] if len(alternatives) == 1 else here
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
