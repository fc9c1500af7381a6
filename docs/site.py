"""What MkDocs is to do with links that leave the site, to the code say: as a clone has them, they are names here."""

import posixpath
import re
from pathlib import Path
from typing import Any

README = Path(__file__).parents[1] / "README.md"
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(((?!https?:|#)[^)\s]+)\)")
_SECTION = re.compile(r"^\[README\]\((?:\.\./)+README\.md#([\w-]+)\).*$", re.M)
"""A line that sends readers of a clone to a section of README."""


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The text of a page, links out of docs/ and to notebooks replaced by their words, those to README by the index;
    a line that begins with a link to a section of README is replaced by that section."""
    folder = posixpath.dirname(page.file.src_uri)

    def link(found: re.Match[str]) -> str:
        words, target = found.groups()
        place = posixpath.normpath(posixpath.join(folder, target.partition("#")[0]))
        if place == "../README.md":
            return f"[{words}]({posixpath.relpath('index.md', folder or '.')})"
        return words if place.startswith("../") or place.endswith(".ipynb") else found[0]

    return _LINK.sub(link, _SECTION.sub(lambda found: _section(found[1], folder), markdown))


def _section(anchor: str, folder: str) -> str:
    """What stands below a heading of README, its links as a page in `folder` of docs/ has them; raises ValueError where
    README has no such heading."""
    for part in re.split(r"^#+ ", README.read_text(encoding="utf-8"), flags=re.M):
        head, _, text = part.partition("\n")
        if re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") == anchor:
            return _LINK.sub(lambda found: f"[{found[1]}]({_from(folder, found[2])})", text.strip())
    raise ValueError(f"README.md has no heading #{anchor}, which a page of docs/ shows")


def _from(folder: str, target: str) -> str:
    path, hash_, anchor = target.partition("#")
    return posixpath.relpath(path, posixpath.join("docs", folder)) + hash_ + anchor
