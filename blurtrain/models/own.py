"""A network of the user's own: a class or factory by name, its arguments checked against its signature."""

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model
from pydantic.errors import PydanticUserError
from torch import nn

from blurtrain.errors import SettingsError
from blurtrain.parts import import_part
from blurtrain.schema import Section, validate


def build_own(name: str, classes: int, arguments: Mapping[str, Any]) -> nn.Module:
    """What `package.module:Name` or `file.py:Name` makes of `classes` and `arguments`, all given by keyword.

    Raises SettingsError, one line, where it cannot be imported, does not take these arguments (their types are checked
    where the signature has annotations), raises, or makes no torch.nn.Module.
    """
    make = import_part(name, "network")
    if not callable(make):
        raise SettingsError(f"network {name}: is neither a class nor a function")
    if "classes" in arguments:
        raise SettingsError(f"{name}: network.arguments.classes: cannot be set: it comes from the data")
    given = _checked(make, name, arguments)
    try:
        network = make(classes=classes, **given)
    except Exception as error:
        said = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        raise SettingsError(f"network {name}: cannot be made with network.arguments={given} ({said})") from error
    if not isinstance(network, nn.Module):
        raise SettingsError(f"network {name}: made a {type(network).__name__}, not a torch.nn.Module")
    return network


def _checked(make: Callable[..., Any], name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    try:
        signature = inspect.signature(make, eval_str=True)
    except NameError:  # an annotation that is there for type checkers alone
        signature = inspect.signature(make)
    parameters = signature.parameters.values()
    any_other = any(p.kind is p.VAR_KEYWORD for p in parameters)
    if "classes" not in signature.parameters and not any_other:
        raise SettingsError(f"network {name}: must take `classes`, the number of logits, but takes {signature}")
    taken = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "classes"]
    model = _model(taken, any_other)
    section = validate({"network": {"arguments": dict(arguments)}}, name, model).network.arguments
    return {argument: getattr(section, argument) for argument in section.model_fields_set}


class _Arguments(Section):
    # Of defaults, and of types that pydantic does not know, only what the network itself makes of them counts.
    model_config = ConfigDict(validate_default=False, arbitrary_types_allowed=True)


class _AnyArguments(_Arguments):
    model_config = ConfigDict(extra="allow")


def _named(name: str, base: type[BaseModel], fields: Any) -> Any:
    return create_model(name, __base__=base, **fields)


def _model(parameters: list[inspect.Parameter], any_other: bool) -> type[BaseModel]:
    """The settings network.arguments that a signature describes."""
    base, empty = _AnyArguments if any_other else _Arguments, inspect.Parameter.empty
    types = {p.name: Any if p.annotation is empty else p.annotation for p in parameters}
    defaults = {p.name: ... if p.default is empty else p.default for p in parameters}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of names that pydantic's own methods have, too
        try:
            fields: Any = {name: (types[name], defaults[name]) for name in types}
            arguments = _named("Arguments", base, fields)
            arguments.model_rebuild()
        except (PydanticUserError, NameError):
            untyped: Any = {name: (Any, defaults[name]) for name in types if not name.startswith("_")}
            arguments = _named("Arguments", base, untyped)
    network = create_model("Network", __base__=Section, arguments=(arguments, ...))
    return create_model("Settings", __base__=Section, network=(network, ...))
