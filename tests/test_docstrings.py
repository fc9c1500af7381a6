"""Every public name says what it is, and what raises an error says that it does: read from the source."""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from test_architecture import ROOT, source_of

BUILT_IN = {"ValueError", "TypeError", "IndexError"}
NAMES_ERRORS = re.compile(r"[Rr]aise|[Rr]efuse|[Ee]rror")
LEFT_OUT = {"overload", "setter", "model_validator", "field_validator"}
"""Decorators of functions that need no words of their own."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def last_part(node: ast.expr) -> str:
    """`c` of `a.b.c`, `a.b.c(...)` and `a.b.c[...]`."""
    while isinstance(node, ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def top_level(body: list[ast.stmt]) -> Iterator[Function | ast.ClassDef]:
    """The functions and classes of a body, also those below `if` and `try`."""
    for node in body:
        if isinstance(node, Function | ast.ClassDef):
            yield node
        elif isinstance(node, ast.If):
            yield from top_level([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            yield from top_level([*node.body, *node.orelse, *(line for h in node.handlers for line in h.body)])


@cache
def methods_of(node: ast.ClassDef) -> dict[str, Function]:
    """Those of public names that need words of their own or a base's."""
    functions = [inner for inner in top_level(node.body) if isinstance(inner, Function)]
    return {function.name: function for function in functions if wanted(function)}


def wanted(function: Function) -> bool:
    decorators = {last_part(decorator) for decorator in function.decorator_list}
    return not function.name.startswith("_") and not decorators & LEFT_OUT


def raised(function: Function) -> set[str]:
    """The names of what the body raises itself, outside functions in it."""
    found, waiting = set[str](), list[ast.AST](function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, Function | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(node, ast.Raise) and node.exc:
            found.add(last_part(node.exc))
        waiting += ast.iter_child_nodes(node)
    return found


@dataclass
class Words:
    """What the classes of some modules say, from their source by path."""

    trees: Mapping[str, ast.Module]

    def __post_init__(self) -> None:
        classes = [node for tree in self.trees.values() for node in top_level(tree.body)]
        self.classes: dict[str, list[ast.ClassDef]] = {}
        for node in classes:
            if isinstance(node, ast.ClassDef):
                self.classes.setdefault(node.name, []).append(node)
        self.protocols = [c for named in self.classes.values() for c in named if "Protocol" in map(last_part, c.bases)]

    def bases(self, node: ast.ClassDef) -> list[ast.ClassDef]:
        """All that a class inherits from, by name, and the protocols that it follows without naming them."""
        names, found = [last_part(base) for base in node.bases], list[ast.ClassDef]()
        while names:
            named = [base for base in self.classes.get(names.pop(), []) if base is not node and base not in found]
            found += named
            names += [last_part(base) for one in named for base in one.bases]
        own = {name for one in [node, *found] for name in methods_of(one)}
        follows = [p for p in self.protocols if p is not node and methods_of(p) and methods_of(p).keys() <= own]
        return found + follows

    def errors(self) -> set[str]:
        """Those a caller may want to catch: of the language, and all of the project's."""
        heirs = (name for name, nodes in self.classes.items() for node in nodes if self._is_error(node))
        return BUILT_IN | {"BlurtrainError", *heirs}

    def _is_error(self, node: ast.ClassDef) -> bool:
        return any(base.name == "BlurtrainError" for base in self.bases(node))

    def said(self, function: Function, node: ast.ClassDef | None) -> str:
        """The docstrings of a function and of what it overrides."""
        overridden = [methods_of(base).get(function.name) for base in self.bases(node)] if node else []
        return "\n".join(ast.get_docstring(one) or "" for one in [function, *overridden] if one).strip()

    def missing(self) -> Iterator[str]:
        """Each name that says nothing, and each that raises an error without a word of it."""
        errors = self.errors()
        for path, tree in self.trees.items():
            if not ast.get_docstring(tree):
                yield f"{path}:1 the module has no docstring"
            for node in top_level(tree.body):
                if node.name.startswith("_"):
                    continue
                if isinstance(node, ast.ClassDef):
                    if not ast.get_docstring(node):
                        yield f"{path}:{node.lineno} {node.name} has no docstring"
                    for function in methods_of(node).values():
                        yield from self._of(path, function, node, errors)
                elif wanted(node):
                    yield from self._of(path, node, None, errors)

    def _of(self, path: str, function: Function, node: ast.ClassDef | None, errors: set[str]) -> Iterator[str]:
        name = f"{path}:{function.lineno} {node.name + '.' if node else ''}{function.name}"
        said = self.said(function, node)
        if not said:
            yield f"{name} has no docstring"
        elif (unsaid := raised(function) & errors) and not NAMES_ERRORS.search(said):
            yield f"{name} raises {' and '.join(sorted(unsaid))} and does not say so"


def test_public_names_say_what_they_are_and_raise() -> None:
    paths = source_of("blurtrain", "jobs", "analysis")
    missing = list(Words({str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in paths}).missing())
    assert not missing, "\n".join(["", *missing])


MADE_UP = '''
"""A module."""
class BlurtrainError(Exception):
    """The base."""
class Worse(BlurtrainError):
    """An error."""
class Kind(Protocol):
    """What answers."""
    def answer(self):
        """The answer; raises Worse."""
class Base:
    """A base."""
    def count(self):
        """How many."""
class Heir(Base):
    """An heir."""
    def count(self):
        raise Worse("of an error that the base does not name")
    def answer(self):
        """See `Kind.answer`."""
        raise Worse("as the protocol says")
    @property
    def silent(self): ...
    @model_validator(mode="after")
    def check(self): ...
    def _own(self): ...
    def __len__(self): ...
class Silent: ...
def silent(): ...
if True:
    def below():
        raise KeyError(1)
def unsaid():
    """Words."""
    if True:
        raise errors.Worse("no word of it")
def said():
    """Words. Raises Worse."""
    raise Worse("said")
def inside():
    """Words."""
    def nested():
        raise ValueError
def other():
    """Words."""
    raise KeyError("not ours")
'''


def test_what_is_missing_is_found() -> None:
    missing = list(Words({"a.py": ast.parse(MADE_UP), "b.py": ast.parse("x = 1")}).missing())
    lines = MADE_UP.splitlines()
    assert [re.sub(r":\d+ ", " ", text) for text in missing] == [
        "a.py Heir.count raises Worse and does not say so",
        "a.py Heir.silent has no docstring",
        "a.py Silent has no docstring",
        "a.py silent has no docstring",
        "a.py below has no docstring",
        "a.py unsaid raises Worse and does not say so",
        "b.py the module has no docstring",
    ]
    line = re.match(r"a\.py:(\d+) Silent", missing[2])
    assert line and "class Silent" in lines[int(line[1]) - 1]
