"""A parser of arguments that says, of a mistyped command or option, which one was meant."""

import argparse
import re
from collections.abc import Sequence
from typing import NoReturn

from blurtrain.errors import nearest


class Parser(argparse.ArgumentParser):
    """As argparse's, for commands and their sub-commands alike."""

    def error(self, message: str) -> NoReturn:
        """Say the mistake in a line, below how the command is used, and exit with 2."""
        if choice := re.fullmatch(r"argument (.*): invalid choice: '(.*)' \(choose from (.*)\)", message, re.S):
            name, given, known = choice.groups()
            what = "command" if name == "COMMAND" else name
            message = f"{what} {given!r} is unknown; {nearest(given, (k.strip(chr(39)) for k in known.split(', ')))}"
        super().error(message)

    def options(self) -> dict[str, argparse.Action]:
        """The options of this command that its help shows, by all their names."""
        shown = self._option_string_actions.items()
        return {name: action for name, action in shown if action.help != argparse.SUPPRESS}

    def commands(self) -> dict[str, "Parser"]:
        """The parsers of the commands below this one, by name."""
        groups = (a for a in self._actions if isinstance(a, argparse._SubParsersAction))
        return {name: parser for group in groups for name, parser in group.choices.items()}

    def arguments(self) -> list[argparse.Action]:
        """What stands without a name, in order."""
        return [a for a in self._actions if not a.option_strings and not isinstance(a, argparse._SubParsersAction)]

    def refuse(self, words: Sequence[str]) -> NoReturn:
        """Say that these arguments are unknown, and what was meant by the first one, if it looks like an option."""
        hint = ""
        if words[0].startswith("-"):
            hint = f"; {nearest(words[0].partition('=')[0], self.options())}"
        self.error(f"unknown arguments: {' '.join(words)}{hint}")
