"""`blurtrain completion SHELL`: a script that lets a shell complete commands, options, settings and names."""

import argparse
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from blurtrain.commands.options import command
from blurtrain.commands.parser import Parser

SCRIPTS = {
    "bash": """# eval "$(blurtrain completion bash)", in ~/.bashrc to keep it
_blurtrain() {
    local IFS=$'\\n'
    COMPREPLY=($(blurtrain completion bash --line "${COMP_LINE:0:COMP_POINT}" 2>/dev/null))
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]]; then compopt -o nospace; fi
}
complete -o default -F _blurtrain blurtrain
""",
    "zsh": """#compdef blurtrain
# eval "$(blurtrain completion zsh)", in ~/.zshrc behind compinit to keep it
_blurtrain() {
    local -a found
    found=(${(f)"$(blurtrain completion zsh --line "${(j: :)${(@q)words[1,CURRENT]}}" 2>/dev/null)"})
    if (( ${#found} == 1 )) && [[ $found[1] == *= ]]; then compadd -S '' -- $found
    elif (( ${#found} )); then compadd -- $found
    else _files
    fi
}
if (( $+functions[compdef] )); then compdef _blurtrain blurtrain; fi
""",
    "fish": """# blurtrain completion fish > ~/.config/fish/completions/blurtrain.fish
complete -c blurtrain -a '(blurtrain completion fish --line (commandline -cp | string collect) 2>/dev/null)'
""",
}
NAMED = {"grid": "grids", "spec": "tables"}
"""Arguments that may name what comes with the project, and the folder below configs that has these."""
WITH_SETTINGS = ("train", "evaluate", "curriculum", "runs")


def _completion(options: argparse.Namespace) -> int:
    if options.line is None:
        print(SCRIPTS[options.shell], end="")
        return 0
    try:
        words, last = _words(options.line)
    except ValueError:  # a quote that is not closed yet
        return 0
    found = candidates(options.root, words[1:], last)
    # Readline takes = and : for ends of words, and puts what is given behind the last of them.
    behind = max(last.rfind("="), last.rfind(":")) + 1 if options.shell == "bash" else 0
    for word in found:
        print(word[behind:])
    return 0


def _words(line: str) -> tuple[list[str], str]:
    """The whole words of a command line, and the one that is being typed, empty where it has not begun.

    Raises ValueError within quotes."""
    words = shlex.split(line)
    is_open = bool(words) and (not line[-1:].isspace() or line.endswith("\\ ")) and words[-1] != ""
    if words and words[-1] == "":
        words.pop()
    return (words[:-1], words[-1]) if is_open else (words, "")


def candidates(parser: Parser, words: list[str], last: str) -> list[str]:
    """What `last` may become behind `words`, sorted; empty where the shell should offer files."""
    path: list[str] = []
    while words and (below := parser.commands().get(words[0])):
        path.append(words[0])
        parser, words = below, words[1:]
    if below_names := parser.commands():
        return _beginning(below_names, last)
    options = parser.options()
    if words and (action := options.get(words[-1])) and action.nargs != 0:
        return _beginning(action.choices or _values_of(words[-1], options, words), last)
    if last.startswith("-"):
        return _beginning((name for name in options if name.startswith("--")), last)
    behind_options = {k + 1 for k, w in enumerate(words) if w in options and options[w].nargs != 0}
    given = [w for k, w in enumerate(words) if k not in behind_options and not w.startswith("-") and "=" not in w]
    named = [a for a in parser.arguments() if a.dest != "overrides"]
    found = [name for action in named[len(given) : len(given) + 1] for name in _values(action, path, words)]
    if path[0] in WITH_SETTINGS:
        found += _settings(last)
    return _beginning(found, last)


def _beginning(names: Iterable[Any], last: str) -> list[str]:
    return sorted(name for name in map(str, names) if name.startswith(last))


def _values_of(option: str, options: dict[str, argparse.Action], words: list[str]) -> list[str]:
    from blurtrain.settings import PRESETS

    folder = {"--cluster": "clusters", "--grid": "grids"}.get(option)
    return _stems(PRESETS / folder) if folder else []


def _values(action: argparse.Action, path: list[str], words: list[str]) -> list[str]:
    """Of an argument without a name."""
    if action.choices:
        return [str(choice) for choice in action.choices]
    if action.dest == "run":
        return [run.parent.name for run in _folder(words, "--runs", "runs").glob("*/settings.yaml")]
    if path == ["data", "check"]:
        return [one.parent.name for one in _folder(words, "--data", "data").glob("*/manifest.json")]
    from blurtrain.settings import PRESETS

    if path == ["tune"]:
        return [*_stems(PRESETS / "searches"), "status", "cancel"]
    if path == ["curriculum"]:
        return _stems(PRESETS / "regimes")
    return _stems(PRESETS / NAMED[action.dest]) if action.dest in NAMED else []


def _folder(words: list[str], option: str, default: str) -> Path:
    return Path(words[words.index(option) + 1] if option in words[:-1] else default)


def _stems(folder: Path) -> list[str]:
    return [path.stem for path in folder.glob("*.yaml")]


def _settings(last: str) -> list[str]:
    """`optimisation.epochs=`, and of names of presets their values."""
    from blurtrain.settings import PRESETS, Settings

    name, equals, _ = last.partition("=")
    if equals:
        folder = {"regime": "regimes", "model": "models", "dataset": "datasets"}.get(name)
        return [f"{name}={stem}" for stem in _stems(PRESETS / folder)] if folder else []
    if not re.match("[a-z]", last):
        return ["dataset=", "regime=", "model=", "seed="]
    found = []
    for section, field in Settings.model_fields.items():
        inside = getattr(field.annotation, "model_fields", {})
        found += [f"{section}.{setting}=" for setting in inside] or [f"{section}="]
    return found


# --- options --------------------------------------------------------------------------------------------------------


def add(commands: Any) -> None:
    """Add this command to the parser."""
    p = command(commands, "completion", _completion, "print a script that lets your shell complete commands")
    p.add_argument("shell", choices=sorted(SCRIPTS), help='e.g. eval "$(blurtrain completion bash)"')
    p.add_argument("--line", help=argparse.SUPPRESS)  # what the script asks with
