"""What all settings share: strict, frozen sections, and errors that say where, what and which name was meant."""

import os
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from blurtrain.documents import parse_yaml
from blurtrain.errors import SettingsError, nearest


def outside_identity(default: Any, **limits: Any) -> Any:
    """A setting that does not change the trained weights, so it takes no part in the run id."""
    return Field(default, json_schema_extra={"identity": False}, **limits)


def added_later(default: Any, **limits: Any) -> Any:
    """A setting that came after runs had been trained without it: at its default it is left out of the run id."""
    return Field(default, json_schema_extra={"identity": "unless default"}, **limits)


class Section(BaseModel):
    """Base of what settings are made of: it cannot be changed, and refuses unknown names, infinite numbers and NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, document: Any) -> Any:
        # pydantic takes true for 1; YAML takes the words yes, no, on and off for booleans.
        for name, value in document.items() if isinstance(document, dict) else ():
            if isinstance(value, bool) and name in cls.model_fields and cls.model_fields[name].annotation is not bool:
                raise ValueError(f"{name}={str(value).lower()}: must not be a boolean, as yes, no, on, off are")
        return document

    @model_validator(mode="before")
    @classmethod
    def _lists_without_brackets(cls, document: Any) -> Any:
        """`sigmas=0,4,8`, or one value where a list is meant."""
        given = document.items() if isinstance(document, dict) else ()
        lists = {
            name: parse_yaml(f"[{value}]", f"{name}={value}") if isinstance(value, str) else [value]
            for name, value in given
            if isinstance(value, str | int | float) and name in cls.model_fields and _is_list(cls.model_fields[name])
        }
        return {**document, **lists} if lists else document

    @classmethod
    def kind_of(cls, document: Any) -> "type[Section]":
        """The class that `document` is read as: this one, or where there are kinds of it (`blurtrain.kinds`) one of
        those."""
        return cls


def _home(path: str) -> str:
    return os.path.expanduser(path)  # noqa: PTH111  (what is not in the home directory stays as it was written)


def _digest(text: Any) -> Any:
    return text.split()[0].lower() if isinstance(text, str) and text.strip() else text


FileName = Annotated[str, AfterValidator(_home)]
"""A path, in which ~ is the home directory."""
Sha256 = Annotated[str, BeforeValidator(_digest), Field(pattern=r"^[0-9a-f]{64}$")]
"""As `sha256sum` prints it, also with the file's name behind it, or in capitals."""
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
Name = Annotated[str, Field(pattern=NAME, max_length=80)]
Probability = Annotated[float, Field(ge=0, le=1)]
Sigma = Annotated[float, Field(ge=0, le=1000)]


def _odd(taps: int) -> int:
    if taps % 2 == 0:
        raise ValueError("must be odd, so that the kernel has a centre")
    return taps


Taps = Annotated[int, Field(ge=3, le=63), AfterValidator(_odd)]
"""Of a side of a kernel."""


def _is_list(field: Any) -> bool:
    return get_origin(_without_annotations(field.annotation)) in (tuple, list)


def validate(document: Mapping[str, Any], where: str, model: type[BaseModel]) -> Any:
    """`document` as a `model`; raises SettingsError with the path, the cause and the nearest name of each mistake."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        mistakes = [_explain(e, model, document) for e in error.errors()]
        raise SettingsError(f"{where}: " + "; ".join(dict.fromkeys(mistakes))) from None


def _explain(error: Any, model: type[BaseModel], document: Mapping[str, Any]) -> str:
    """One mistake that pydantic found, as a user would put it."""
    beside, shown = _walk(model, error["loc"], document)
    path = ".".join(shown)
    if error["type"] == "extra_forbidden":
        return f"{path}: unknown setting; {nearest(str(error['loc'][-1]), beside)}"
    if error["type"] == "missing":
        return f"{path}: missing"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "unknown_kind":
        return f"{path}: {message}"
    value = error.get("input")
    given = f" (given: {value!r})" if value is None or isinstance(value, str | int | float | list | tuple) else ""
    return f"{path}: {message[:1].lower()}{message[1:]}{given}" if path else f"{message}{given}"


def _walk(model: type[BaseModel], loc: tuple[int | str, ...], document: Any) -> tuple[set[str], list[str]]:
    """The settings known beside the last part of `loc`, and `loc` as a user writes it (no pydantic union tags)."""
    here: Any = model
    beside: set[str] = set()
    shown: list[str] = []
    for part in loc:
        here = _without_annotations(here)
        if get_origin(here) in (Union, types.UnionType) and isinstance(part, str):
            tagged = [a for a in get_args(here) if Tag(part) in getattr(a, "__metadata__", ())]
            here = tagged[0] if tagged else here
            continue  # which alternative pydantic tried
        if isinstance(here, type) and issubclass(here, Section) and not isinstance(document, here):
            here = here.kind_of(document)
        fields = getattr(here, "model_fields", {})
        beside = set(fields)
        shown.append(str(part))
        if part in fields:
            here = fields[part].annotation
        else:
            here = {dict: get_args(here)[-1:], list: get_args(here), tuple: get_args(here)}.get(get_origin(here), ())
            here = here[0] if here else None
        document = _inside(document, part)
    return beside, shown


def _without_annotations(hint: Any) -> Any:
    """The type behind `Annotated` and `| None`."""
    while True:
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        elif get_origin(hint) in (Union, types.UnionType) and len(real := set(get_args(hint)) - {type(None)}) == 1:
            hint = real.pop()
        else:
            return hint


def _inside(document: Any, part: int | str) -> Any:
    if isinstance(document, Mapping):
        return document.get(part)
    if isinstance(document, Sequence) and not isinstance(document, str) and isinstance(part, int):
        return document[part] if part < len(document) else None
    return getattr(document, str(part), None)
