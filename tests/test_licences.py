"""Licences of all that the project needs, and of all that these need: nothing under the AGPL, in any extra."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
REQUIRED = [*PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)]
SILENT = {"ffcv"}
"""Brings no word of its licence; by its repository it is Apache-2.0."""
FORBIDDEN = re.compile(r"\bA-?GPL|affero", re.IGNORECASE)


def reachable() -> dict[str, metadata.Distribution]:
    """What is installed here of the requirements, and of theirs, with the extras that are asked for."""
    found: dict[str, metadata.Distribution] = {}
    seen, waiting = set[tuple[str, str]](), [Requirement(line) for line in REQUIRED]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                found[name] = distribution = metadata.distribution(name)
            except metadata.PackageNotFoundError:
                continue
            for line in distribution.requires or []:
                other = Requirement(line)
                if other.marker is None or other.marker.evaluate({"extra": extra}):
                    waiting.append(other)
    return found


def licences(distribution: metadata.Distribution) -> list[str]:
    """What a distribution says of its licence, and the first lines of each file of licence that it brings."""
    about = distribution.metadata
    said = [about.get("License-Expression", ""), (about.get("License") or "")[:300]]
    said += [line for line in about.get_all("Classifier") or [] if line.startswith("License")]
    for file in distribution.files or []:
        if re.match(r"(LICEN[CS]E|COPYING)", file.name, re.IGNORECASE) and file.suffix not in (".py", ".pyc"):
            text = Path(str(distribution.locate_file(file))).read_text(errors="replace")
            said.append(text.strip()[:300])
    return [line for line in said if line and line != "UNKNOWN"]


def test_nothing_is_under_the_agpl() -> None:
    found = reachable()
    assert len(found) > 40
    assert {name: said for name, one in found.items() if (said := list(filter(FORBIDDEN.search, licences(one))))} == {}


def test_every_licence_is_known() -> None:
    assert {name for name, one in reachable().items() if not licences(one)} <= SILENT


def test_the_pattern_finds_what_it_is_for() -> None:
    for text in ("AGPL-3.0-only", "GNU AFFERO GENERAL PUBLIC LICENSE", "License :: OSI Approved :: GNU Affero GPL v3"):
        assert FORBIDDEN.search(text)
    assert not FORBIDDEN.search("GNU Lesser General Public License (LGPL)")
