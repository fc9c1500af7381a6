"""How the code hangs together, read from its source: what imports what, how long files are, what things are called."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("blurtrain", "jobs", "analysis", "slurm", "tests")

LAYERS = [  # from the ground up: each may import from those above it in this list, and from its own
    [
        *("errors", "files", "documents", "parts", "schema", "kinds", "device", "compiling", "log_file", "journal"),
        "terminal",
    ],
    ["blur", "blur_types", "tasks"],
    ["deblurring"],
    ["settings"],
    ["run", "rendezvous", "distributed"],
    ["objective", "trials"],
    ["data"],
    ["models", "serving"],
    ["evaluation"],
    ["training"],
    ["bench"],
    ["jobs"],
    ["analysis"],
    ["api", "commands", "cli", "__main__"],
]
RANKS = {name: rank for rank, names in enumerate(LAYERS) for name in names}
WITHOUT_TORCH = [
    "jobs",
    "analysis",
    "blurtrain.settings",
    "blurtrain.blur.curricula",
    "blurtrain.deblurring",
    "blurtrain.tasks",
    "blurtrain.serving",
]


def source_of(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in source_of("blurtrain", "jobs", "analysis")}


@cache
def imports(module: str) -> dict[str, int]:
    """The modules of ours that a module imports, wherever in it, each with the line."""
    found: dict[str, int] = {}
    tree = ast.parse(MODULES[module].read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{module}, line {node.lineno}: a relative import"
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in inside]
        else:
            continue
        found |= {name: node.lineno for name in names if name in MODULES and name != "blurtrain"}
    return found


def part(module: str) -> str:
    """The name in LAYERS under which a module stands."""
    names = module.split(".") if module != "blurtrain" else ["blurtrain", ""]
    return names[1] if names[0] == "blurtrain" else names[0]


def test_every_package_has_its_place() -> None:
    assert {part(module) for module in MODULES} - {""} == set(RANKS)


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"blurtrain"}))
def test_imports_run_downwards(module: str) -> None:
    lines = imports(module).items()
    upwards = [f"{name} (line {line})" for name, line in lines if RANKS[part(name)] > RANKS[part(module)]]
    assert not upwards


def test_there_is_no_circle() -> None:
    done: set[str] = set()

    def follow(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " imports ".join([*path[path.index(module) :], module])
        if module not in done:
            for name in imports(module):
                if name != module:
                    follow(name, (*path, module))
            done.add(module)

    for module in MODULES:
        follow(module, ())


def reached_from(module: str) -> set[str]:
    """The modules of ours that importing and using `module` can come to."""
    reached, waiting = set[str](), {module}
    while waiting:
        here = waiting.pop()
        reached.add(here)
        parents = {here.rsplit(".", k)[0] for k in range(1, here.count(".") + 1)} - {"blurtrain"}
        waiting |= ({*imports(here)} | parents) - reached
    return reached


def test_training_never_imports_preparation() -> None:
    reached = {name for module in MODULES if part(module) == "training" for name in reached_from(module)}
    assert "blurtrain.data.dataset" in reached
    assert not {name for name in reached if name.startswith("blurtrain.data.preparation")}


def test_what_never_needs_torch_does_not_import_it() -> None:
    code = f"import sys, {', '.join(WITHOUT_TORCH)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert {*WITHOUT_TORCH} <= set(done.stdout.split())
    assert not {"torch", "torchvision", "timm"} & set(done.stdout.split())


@pytest.mark.parametrize("package", ["analysis", "jobs"])
def test_all_modules_of(package: str) -> None:
    """Also those that the package itself does not import, but for jobs that run in the processes that train."""
    modules = [module for module in MODULES if part(module) == package and module != "jobs.probe"]
    code = f"import sys, {', '.join(modules)}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "False\n"


def test_no_file_is_long() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in source_of(*PACKAGES)}
    long = {path: lines for path, lines in lengths.items() if lines > 400}
    assert not long


# --- words ----------------------------------------------------------------------------------------------------------

QUAINT = (
    "told|tells?|everyone|passes|settles?|settled|agreement|wish|wishes|meeting|card|place_of_rank|sound|follow_average|"
    "left_out|turned|straight|laid_over|laid|put_back|elsewhere|last_words|of_nobody|nobody|truth|room|rooms"
)
"""Words that the design replaces by standard terms; as parts of identifiers."""
EXCUSED = {"requeue_elsewhere"}


def identifiers(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno


def test_identifiers_are_of_standard_words() -> None:
    quaint = re.compile(rf"(?:^|_)(?:{QUAINT})(?:$|_)")
    found = []
    for path in source_of("blurtrain", "jobs", "analysis"):
        for name, line in identifiers(ast.parse(path.read_text())):
            words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
            if quaint.search(words) and words.strip("_") not in EXCUSED:
                found.append(f"{path.relative_to(ROOT)}, line {line}: {name}")
    assert not found
