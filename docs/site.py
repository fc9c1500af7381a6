"""What MkDocs is to do with links that leave the site, to the code say: as a clone has them, they are names here."""

import posixpath
import re
from typing import Any

_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(((?!https?:|#)[^)\s]+)\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The text of a page, links out of docs/ and to notebooks replaced by their words, those to README by the index."""
    folder = posixpath.dirname(page.file.src_uri)

    def link(found: re.Match[str]) -> str:
        words, target = found.groups()
        place = posixpath.normpath(posixpath.join(folder, target.partition("#")[0]))
        if place == "../README.md":
            return f"[{words}]({posixpath.relpath('index.md', folder or '.')})"
        return words if place.startswith("../") or place.endswith(".ipynb") else found[0]

    return _LINK.sub(link, markdown)
