"""The recipes of containers, which only a machine with a network and a builder can build: what they copy is there, is
what the package is made of, and both do the same."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "containers" / "Dockerfile").read_text()
DEFINITION = (ROOT / "containers" / "blurtrain.def").read_text()
WHERE = "/opt/blurtrain/"


def copied_by_docker() -> set[str]:
    lines = [line.split()[1:] for line in DOCKERFILE.splitlines() if line.startswith("COPY ")]
    assert all(target.startswith(WHERE) for *_, target in lines)
    assert all(target == f"{WHERE}{names[0]}" for *names, target in lines if (ROOT / names[0]).is_dir())
    return {name for *names, _ in lines for name in names}


def copied_by_apptainer() -> set[str]:
    (section,) = re.findall(r"^%files\n(.*?)^%", DEFINITION, re.S | re.M)
    pairs = [line.split() for line in section.split("\n") if line.strip()]
    assert all(target == f"{WHERE}{source}" for source, target in pairs)
    return {source for source, _ in pairs}


def test_both_copy_what_the_package_is_made_of() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folders = set(project["tool"]["setuptools"]["package-dir"].values())
    files = {"pyproject.toml", "constraints.txt", "install.sh", project["project"]["readme"]}
    assert copied_by_docker() == copied_by_apptainer() == folders | files | {*project["project"]["license-files"]}
    assert all((ROOT / name).exists() for name in copied_by_docker())


def test_docker_is_sent_no_more_than_it_copies() -> None:
    lines = (ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == copied_by_docker()


def test_both_begin_and_go_on_alike() -> None:
    base = re.search(r"^FROM (\S+)$", DOCKERFILE, re.M)
    assert base and f"\nFrom: {base[1]}\n" in DEFINITION
    (run,) = re.findall(r"^RUN (.*)$", DOCKERFILE, re.M)
    (post,) = re.findall(r"^%post\n\s+(.*)$", DEFINITION, re.M)
    assert run.replace("$TORCH_INDEX", "") == post.replace("{{ TORCH_INDEX }}", "")
    path = f"PATH={WHERE}.venv/bin:$PATH"
    assert path in DOCKERFILE and path in DEFINITION
