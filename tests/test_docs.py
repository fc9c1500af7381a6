"""The pages: what they link to is there, with the heading that is meant, and the references are those of the code."""

import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "slurm").rglob("*.md")})
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def plain(page: Path) -> str:
    """Without blocks and words of code, in which brackets are no links."""
    return re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.S)


def anchors(page: Path) -> set[str]:
    """The headings, as a browser is sent to them."""
    heads = re.findall(r"^#+ +(.*?)\s*$", re.sub(r"```.*?```", "", page.read_text(), flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    lost = []
    for target in LINK.findall(plain(page)):
        if re.match("https?:|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        if place.is_relative_to(ROOT / "docs" / "gallery"):
            continue  # made by `make gallery`: below
        if not place.exists() or (anchor and place.suffix == ".md" and anchor not in anchors(place)):
            lost.append(target)
    assert not lost


def test_the_site_names_every_page_once() -> None:
    named = re.findall(r"[\w/.-]+\.md", (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2])
    assert sorted(named) == sorted(str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md"))


def test_the_site_shows_the_section_of_readme_that_a_page_points_to() -> None:
    shown = runpy.run_path(str(ROOT / "docs" / "site.py"))["on_page_markdown"]
    page = SimpleNamespace(file=SimpleNamespace(src_uri="performance.md"))
    text = shown((ROOT / "docs" / "performance.md").read_text(), page)
    readme = (ROOT / "README.md").read_text().partition("### On a GPU\n")[2].partition("\n## ")[0]
    assert "make gpu" in readme and set(re.findall(r"^\|.*$", readme, re.M)) <= set(text.splitlines())
    assert LINK.findall(text.partition("## On a GPU")[2]) == ["fused-kernel.md"] and "README.md#" not in text
    with pytest.raises(ValueError, match="no heading"):
        shown("[README](../README.md#not-there) has it.", page)


@pytest.mark.parametrize("name", ["settings.md", "commands.md"])
def test_references_are_of_the_code_as_it_is(name: str) -> None:
    folder = ROOT / "docs" / "reference"
    pages = runpy.run_path(str(folder / "make.py"))["PAGES"]
    assert (folder / name).read_text() == pages[name](), "`make reference` writes it anew"


def test_the_gallery_is_of_the_presets_as_they_are() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "gallery.py"))
    page = (ROOT / "docs" / "gallery.md").read_text()
    assert page == made["gallery_page"](), "`make reference` writes it anew"
    outs = set(re.findall(r"--out docs/(gallery/\S+\.png)", page)) | {"gallery/kernels.png"}
    assert {p for p in re.findall(r"!\[[^\]]*\]\((\S+)\)", page) if "/report/" not in p} == outs, "shown and made"


def test_the_kernels_of_the_gallery_are_drawn(tmp_path: Path) -> None:
    runpy.run_path(str(ROOT / "docs" / "gallery.py"))["kernels"](tmp_path / "kernels.png")
    assert (tmp_path / "kernels.png").read_bytes().startswith(b"\x89PNG")


def test_every_setting_says_what_it_means() -> None:
    """In its row, or, of the kinds of curricula, blurs, losses and deblurring, in the words above their table."""
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    plain = "".join(section for section in re.split(r"^(?=##)", page, flags=re.M) if not section.startswith("### "))
    rows = re.findall(r"^\| `([\w.]+)`.*\|([^|]*)\|$", plain, re.M)
    assert len(rows) > 100
    assert [name for name, meaning in rows if not meaning.strip()] == []
    assert not re.findall(r"^### .*\n\n\|", page, re.M), "a kind that says nothing"
