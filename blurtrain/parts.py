"""A user's own parts by name: `package.module:Name`, or `folder/file.py:Name`. They stay in the user's folder.

A package is found as Python finds it, and in the working folder. A file is found below a folder of PYTHONPATH (that of
a job's snapshot), beside the settings file that names it, or in the working folder; its own folder can be imported
from, as that of a script. Names are relative, so that they, and the ids of runs, are the same on every machine.
"""

import ast
import hashlib
import importlib
import importlib.util
import os
import pkgutil
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from blurtrain.errors import SettingsError, nearest

FORM = "package.module:Name or folder/file.py:Name, relative and without .."
_FILE = r"(?:\w[\w.-]*/)*[A-Za-z_]\w*\.py"
_MODULE = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_NAME = re.compile(rf"(?P<where>{_FILE}|{_MODULE}):(?P<what>[A-Za-z_]\w*)")
_OURS = {"blurtrain", "jobs", "analysis"}

_beside_settings: list[Path] = []  # folders of settings files, the last one read first


def is_part_name(text: str) -> bool:
    """Whether `text` has the form of a part's name; nothing is looked up or imported."""
    return _NAME.fullmatch(text) is not None


def parts_named(document: Any) -> tuple[str, ...]:
    """All names of parts in a document of mappings, lists and texts, anywhere in it, in order of the alphabet."""
    words = {
        word for text in _texts(document) for word in (text, text.split(" ")[0])
    }  # behind a measure are its options
    return tuple(sorted({word for word in words if is_part_name(word)}))


def _texts(document: Any) -> Iterator[str]:
    if isinstance(document, str):
        yield document
    elif isinstance(document, dict | list | tuple):
        for value in document.values() if isinstance(document, dict) else document:
            yield from _texts(value)


def look_beside(settings_file: Path) -> None:
    """From now on, files of parts are found in the folder of `settings_file`, too."""
    folder = settings_file.resolve().parent
    if folder in _beside_settings:
        _beside_settings.remove(folder)
    _beside_settings.insert(0, folder)


def import_part(name: str, kind: str, base: type | None = None) -> Any:
    """What `name` names, imported; with `base`, a class derived from it. `kind` (network, blur, ...) begins messages.

    Raises SettingsError, one line, where there is no such module or name, where the import itself raises, and where
    it is no class of `base`.
    """
    where, what = _split(name, kind)
    module = _module_of_file(where, f"{kind} {name}") if where.endswith(".py") else _module(where, f"{kind} {name}")
    if not hasattr(module, what):
        public = [n for n in vars(module) if not n.startswith("_")]
        raise SettingsError(f"{kind} {name}: {module.__file__} has no {what!r}; {nearest(what, public)}")
    part = getattr(module, what)
    if base is not None and not (isinstance(part, type) and issubclass(part, base)):
        raise SettingsError(f"{kind} {name}: is no class derived from {base.__module__}.{base.__qualname__}")
    return part


def source_files(name: str) -> list[Path]:
    """The user's source behind a part: its module, and what that imports from the same folder, directly or not.

    For a package, the folder is the one that holds it. Found by reading, nothing is imported. Empty for a part of an
    installed package. Raises SettingsError where the module is not found or is not valid Python.
    """
    where, _ = _split(name, "part")
    folder = source_folder(name)
    if _is_installed(folder):
        return []
    if where.endswith(".py"):
        first, roots = folder / where, list(dict.fromkeys([(folder / where).parent, folder]))
    else:
        first, roots = _source_in(folder, where) or _missing(folder, where, f"part {name}"), [folder]
    # What a package's own __init__ files import is imported with the module.
    found, waiting = set[Path](), {first} if where.endswith(".py") else set(_sources_on_the_way(folder, where))
    while waiting:
        file = waiting.pop()
        found.add(file)
        imported = {source for root in roots for n in _imports(file, root) for source in _sources_on_the_way(root, n)}
        waiting |= imported - found
    return sorted(found)


def source_folder(name: str) -> Path:
    """The folder that `source_files` lie in, and under which a copy of them has to be found: on PYTHONPATH. Raises
    SettingsError where there is no such module or file."""
    where, _ = _split(name, "part")
    if where.endswith(".py"):
        return _folder_of_file(where, f"part {name}")
    _search_working_folder()
    top = where.split(".")[0]
    spec = importlib.util.find_spec(top)
    places = [] if spec is None else [*(spec.submodule_search_locations or [spec.origin or ""])]
    if not places:
        raise SettingsError(f"part {name}: no module {top!r} found; {_CURE}")
    return Path(places[0]).resolve().parent


def source_hash(name: str) -> str:
    """SHA-256 of the part's `source_files` and their places; of an installed package, of its name and version. Raises
    SettingsError as `source_folder` does."""
    content = hashlib.sha256()
    folder = source_folder(name)
    for file in source_files(name):
        content.update(f"{file.relative_to(folder)}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    if _is_installed(folder):
        top = _split(name, "part")[0].split(".")[0]
        try:
            content.update(f"{top}=={metadata.version(top)}".encode())
        except metadata.PackageNotFoundError:  # distributed under another name, or a part of Python
            content.update(f"{top}=={getattr(importlib.import_module(top), '__version__', '')}".encode())
    return content.hexdigest()


# --- names and folders ----------------------------------------------------------------------------------------------

_CURE = "run in the folder that holds it, or put that folder on PYTHONPATH"


def _split(name: str, kind: str) -> tuple[str, str]:
    parsed = _NAME.fullmatch(name)
    if parsed is None:
        raise SettingsError(f"{kind} {name!r}: must be {FORM}")
    if parsed["where"] == "__main__":
        raise SettingsError(f"{kind} {name}: no other process could import it; put it into a file of its own")
    return parsed["where"], parsed["what"]


def _folders() -> list[Path]:
    """Where the file of a part is looked for; a job's snapshot comes before the folder that it was copied from."""
    given = [Path(place).resolve() for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    return list(dict.fromkeys([*given, *_beside_settings, Path.cwd()]))


def _folder_of_file(where: str, whose: str) -> Path:
    for folder in _folders():
        if (folder / where).is_file():
            return folder
    named = dict.fromkeys([Path.cwd(), *_beside_settings[:1]])  # a long session has read settings from many folders
    raise SettingsError(f"{whose}: no file {where} in {', '.join(map(str, named))}, nor on PYTHONPATH")


def _search_working_folder() -> None:
    """Last of all, so that nothing in it hides what Python finds anyway. It stays: functions import later, too."""
    _search(Path.cwd())


def _search(folder: Path) -> None:
    # Ours first: of an editable installation they are on no path, and a jobs.py of the user's own would hide them.
    for place in (Path(__file__).resolve().parents[1], folder):
        if not any(Path(known).resolve() == place for known in sys.path):
            sys.path.append(str(place))
    importlib.invalidate_caches()  # a file may have been written a moment ago


def _is_installed(folder: Path) -> bool:
    return bool({"site-packages", "dist-packages"} & set(folder.parts)) or folder.is_relative_to(
        Path(sysconfig.get_path("stdlib")).resolve()
    )


# --- importing ------------------------------------------------------------------------------------------------------


def _module(where: str, whose: str) -> ModuleType:
    _search_working_folder()
    try:
        return importlib.import_module(where)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{where}.".startswith(f"{error.name}."):
            raise _raised(whose, error) from error
        package, _, last = error.name.rpartition(".")
        if not package:
            raise SettingsError(f"{whose}: no module {last!r} found; {_CURE}") from None
        beside = [m.name for m in pkgutil.iter_modules(getattr(sys.modules[package], "__path__", []))]
        raise SettingsError(f"{whose}: {package} has no module {last!r}; {nearest(last, beside)}") from None
    except (Exception, SystemExit) as error:
        raise _raised(whose, error) from error


def _module_of_file(where: str, whose: str) -> ModuleType:
    """The file as a module of its bare name, so that what it defines can be pickled and found again."""
    file = _folder_of_file(where, whose) / where
    _search(file.parent)
    _search_working_folder()
    taken = importlib.util.find_spec(file.stem)
    if taken is None or taken.origin is None or Path(taken.origin).resolve() != file.resolve():
        other = taken.origin if taken else "nowhere"
        raise SettingsError(f"{whose}: a module of the name {file.stem!r} is there already ({other}); rename the file")
    try:
        return importlib.import_module(file.stem)
    except (Exception, SystemExit) as error:
        raise _raised(whose, error) from error


def _raised(whose: str, error: BaseException) -> SettingsError:
    """What an import raised, and on which line of code that is the user's."""
    if isinstance(error, SyntaxError):
        where = f" ({error.filename}, line {error.lineno})"
    else:
        frames = [f for f in traceback.extract_tb(error.__traceback__)[1:] if not f.filename.startswith("<")]
        users = [f for f in frames if not _is_installed(Path(f.filename).parent)] or frames
        where = f" ({users[-1].filename}, line {users[-1].lineno})" if users else ""
    said = error.msg if isinstance(error, SyntaxError) else next(iter(str(error).splitlines()), "")
    return SettingsError(f"{whose}: importing it raised {type(error).__name__}: {said}{where}")


# --- source ---------------------------------------------------------------------------------------------------------


def _source_in(root: Path, module: str) -> Path | None:
    place = root.joinpath(*module.split("."))
    return next((p for p in (place / "__init__.py", place.with_suffix(".py")) if p.is_file()), None)


def _sources_on_the_way(root: Path, module: str) -> Iterator[Path]:
    """The files of `root` that importing `module` runs: of its packages, and its own."""
    names = module.split(".")
    for k in range(len(names)):
        if source := _source_in(root, ".".join(names[: k + 1])):
            yield source


def _missing(folder: Path, where: str, whose: str) -> Path:
    package, _, last = where.rpartition(".")
    beside = [m.name for m in pkgutil.iter_modules([str(folder.joinpath(*package.split(".")))])]
    raise SettingsError(f"{whose}: {package or folder} has no module {last!r}; {nearest(last, beside)}")


def _imports(file: Path, root: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it, and what it takes from them, which may be modules, too."""
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise SettingsError(f"{file}{line}: not valid Python: {error.args[0]}") from None
    package = file.parent.relative_to(root).parts if file.is_relative_to(root) else ()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            modules = [module, *(f"{module}.{alias.name}" if module else alias.name for alias in node.names)]
        else:
            continue
        yield from (m for m in modules if m and m.split(".")[0] not in _OURS)
