"""Tables as text and files: each format a pure function of a `Table`, with the same result whenever it is called."""

from collections.abc import Callable

from analysis.tabulation.rendering.html import as_html
from analysis.tabulation.rendering.latex import as_latex
from analysis.tabulation.rendering.markdown import as_markdown
from analysis.tabulation.rendering.text import as_text
from analysis.tabulation.rendering.tidy import as_csv, as_json, as_parquet, tidy
from analysis.tabulation.tables import Table

__all__ = ["FORMATS", "as_csv", "as_html", "as_json", "as_latex", "as_markdown", "as_parquet", "as_text", "tidy"]

FORMATS: dict[str, Callable[[Table], str | bytes]] = {
    "text": as_text,
    "markdown": as_markdown,
    "latex": as_latex,
    "html": as_html,
    "csv": lambda table: as_csv([table]),
    "parquet": lambda table: as_parquet([table]),
}
