"""Writes settings.md and commands.md beside it from the code: `make reference`. A test finds them out of date."""

import argparse
import ast
import inspect
import re
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from blurtrain.cli import command_line
from blurtrain.commands.parser import Parser
from blurtrain.documents import shown
from blurtrain.kinds import Kind
from blurtrain.settings import Settings

HERE = Path(__file__).parent
HEAD = "<!-- Written by docs/reference/make.py (`make reference`): change the code, not this page. -->\n"
LIMITS = {"ge": ">= ", "gt": "> ", "le": "<= ", "lt": "< ", "min_length": "length >= "}


# --- settings -------------------------------------------------------------------------------------------------------


def settings_page() -> str:
    """Every setting with its type, default and meaning, section by section."""
    lines = [
        HEAD,
        "# Settings",
        "",
        "A run is a settings file (YAML), or the same as `key=value` on the command line, `optimisation.epochs=30`.",
        "What is not given comes from the presets that `dataset`, `regime` and `model` name, and below these from the",
        "defaults here. **w**: it does not change the weights, so it is no part of a run's id.",
        "",
        "| run | | default | meaning |",
        "|---|---|---|---|",
    ]
    plain = [name for name, field in Settings.model_fields.items() if not _sections(field.annotation)]
    lines += [_row(Settings, name, _documented(Settings)) for name in plain]
    seen: set[type[BaseModel]] = {Settings}
    for name, field in Settings.model_fields.items():
        for section in _sections(field.annotation):
            lines += _section(section, name, seen)
    return "\n".join(lines) + "\n"


def _section(section: type[BaseModel], name: str, seen: set[type[BaseModel]]) -> Iterator[str]:
    if section in seen:
        return
    seen.add(section)
    if issubclass(section, Kind) and "kinds" in vars(section):
        yield from ("", f"## {name}", "", *_said(section), "", f"One of these kinds, by `{section.discriminator}`:")
        for kind_name, kind in section.kinds.items():
            yield from ("", f"### {name}: {kind_name}", "", *_said(kind), *_table(kind, but=section.discriminator))
        below = list(section.kinds.values())
    else:
        yield from ("", f"## {name}", "", *_said(section), *_table(section))
        below = [section]
    for part in below:
        for setting, field in part.model_fields.items():
            for inner in _sections(field.annotation):
                yield from _section(inner, f"{name}.{setting}", seen)


def _said(section: type[BaseModel]) -> list[str]:
    """The docstring, in lines."""
    return inspect.cleandoc(section.__doc__ or "").replace("|", "\\|").splitlines()


def _table(section: type[BaseModel], but: str = "") -> list[str]:
    docs = _documented(section)
    names = [name for name in section.model_fields if name != but]
    head = ["", "| setting | | default | meaning |", "|---|---|---|---|"]
    return [*head, *(_row(section, name, docs) for name in names)] if names else []


def _row(section: type[BaseModel], name: str, docs: dict[str, str]) -> str:
    field = section.model_fields[name]
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    weightless = " **w**" if extra.get("identity", True) is False else ""
    limits = ", ".join(
        f"{sign}{value}" for entry in field.metadata for key, sign in LIMITS.items()
        if isinstance(value := getattr(entry, key, None), int | float)
    )  # fmt: skip
    kind = _type(field.annotation) + (f", {limits}" if limits else "")
    default = "required" if field.is_required() else f"`{_default(field)}`"
    cells = [f"`{name}`{weightless}", kind, default, re.sub(r"\s+", " ", docs.get(name, ""))]
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return ""
    if isinstance(value, BaseModel) and not isinstance(getattr(value, "label", None), str):
        return "as below" if value == type(value).model_construct() else shown(value.model_dump(exclude_defaults=True))
    return shown(value) if value != "" else '""'


def _type(hint: Any) -> str:
    origin = get_origin(hint)
    if origin is Annotated:
        return _type(get_args(hint)[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in get_args(hint))
    if origin in (Union, types.UnionType):
        return " or ".join(_type(one) for one in get_args(hint))
    if origin in (tuple, list):
        return f"list of {_type(get_args(hint)[0])}"
    if origin is dict:
        return "mapping"
    names = {str: "text", int: "whole number", float: "number", bool: "true, false", type(None): "none", Any: "any"}
    return names.get(hint, "section" if inspect.isclass(hint) and issubclass(hint, BaseModel) else str(hint))


def _sections(hint: Any) -> list[type[BaseModel]]:
    """The sections that a setting of this type is made of."""
    if inspect.isclass(hint) and get_origin(hint) is None:
        return [hint] if issubclass(hint, BaseModel) else []
    return [section for part in get_args(hint) for section in _sections(part)]


def _documented(section: type[BaseModel]) -> dict[str, str]:
    """What stands below each field in the source, of the class and those that it derives from."""
    docs: dict[str, str] = {}
    for base in reversed(section.__mro__):
        if base is BaseModel or not issubclass(base, BaseModel):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(tree, ast.ClassDef)
        for field, below in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(field.target, ast.Name):
                docs[field.target.id] = str(getattr(below.value, "value", ""))
    return docs


# --- commands -------------------------------------------------------------------------------------------------------


def commands_page() -> str:
    """Every command with its arguments and options."""
    lines = [
        HEAD,
        "# Commands",
        "",
        "Results go to stdout, all else to stderr. Exit codes: 0, what was asked for happened; 1, it failed; 2, a",
        "mistake that you can mend, said in one line; 75, a training was asked to stop and has saved all: start it",
        "again.",
    ]
    return "\n".join([*lines, *_commands(command_line(), "blurtrain")]) + "\n"


def _commands(parser: Parser, name: str) -> Iterator[str]:
    below = parser.commands()
    if not below:
        yield from ("", f"## {name}", "", f"{_sentence(parser.description)}", *_arguments(parser))
    for word, one in below.items():
        yield from _commands(one, f"{name} {word}")


def _arguments(parser: Parser) -> list[str]:
    rows = [f"| `{_words(action)}` | {_meaning(action)} |" for action in parser.arguments()]
    options = {id(action): action for action in parser.options().values() if "--help" not in action.option_strings}
    rows += [f"| `{_words(action)}` | {_meaning(action)} |" for action in options.values()]
    return ["", "| | |", "|---|---|", *rows] if rows else []


def _words(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else str(action.metavar or action.dest.upper())
    if action.choices and not action.metavar:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    if action.nargs in ("*", "+"):
        value += " ..."
    names = ", ".join(action.option_strings)
    return f"{names} {value}".strip().replace("|", "or")


def _meaning(action: argparse.Action) -> str:
    text = (action.help or "").replace("%%", "%").replace("|", "\\|")
    optional = not action.option_strings and action.nargs in ("?", "*")
    return f"{text}{' (may be left out)' if optional else ''}"


def _sentence(text: str | None) -> str:
    return f"{(text or '')[:1].upper()}{(text or '')[1:]}."


PAGES = {"settings.md": settings_page, "commands.md": commands_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (HERE / name).write_text(page())
        print(HERE / name)
