"""What the set-up installs: pins that any package index can serve, and one list of requirements in three places."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIRED = [Requirement(text) for text in PROJECT["dependencies"]]
OPTIONAL = [Requirement(text) for texts in PROJECT["optional-dependencies"].values() for text in texts]
MODULES = {
    "mkdocs-material": "material",
    "mlflow-skinny": "mlflow",
    "opencv-python": "cv2",
    "pillow": "PIL",
    "python-multipart": "python_multipart",
    "pyyaml": "yaml",
    "scikit-image": "skimage",
    "segmentation-models-pytorch": "segmentation_models_pytorch",
}
STUBS = {"types-pyyaml", "pandas-stubs", "types-tqdm"}
CONDA = {"pytorch": "torch"}
SYSTEM = {"pip", "compilers", "pkg-config", "libjpeg-turbo", "opencv", "make"}
"""What conda-forge brings, and Debian's packages elsewhere."""


def pins() -> dict[str, Version]:
    found = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, version = line.split("==")
        assert canonicalize_name(name) not in found, f"{name} is pinned twice"
        found[canonicalize_name(name)] = Version(version)
    return found


def test_pins_are_versions_that_a_public_index_can_have() -> None:
    assert [f"{name}=={version}" for name, version in pins().items() if version.local] == []


def test_pins_are_what_the_project_allows_and_leave_out_nothing_that_it_names() -> None:
    locked = pins()
    for requirement in REQUIRED + OPTIONAL:
        version = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} is pinned to {version}"


def test_every_python_of_the_project_is_taken_by_the_set_up() -> None:
    allowed = SpecifierSet(PROJECT["requires-python"])
    taken = [f"3.{minor}" for minor in range(8, 20) if allowed.contains(f"3.{minor}")]
    low, high = re.search(r"\(\(3, (\d+)\) <= sys.version_info\[:2\] <= \(3, (\d+)\)\)", _script()).groups()  # type: ignore[union-attr]
    assert taken == [f"3.{minor}" for minor in range(int(low), int(high) + 1)]


def _script() -> str:
    return (ROOT / "install.sh").read_text()


def test_conda_brings_what_pip_does() -> None:
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    by_pip = next(entry["pip"] for entry in listed if isinstance(entry, dict))
    conda = [Requirement(entry) for entry in listed if isinstance(entry, str)]
    brought = {}
    for requirement in [*conda, *map(Requirement, by_pip)]:
        name = CONDA.get(requirement.name, canonicalize_name(requirement.name))
        brought[name] = requirement.specifier
    asked = {canonicalize_name(requirement.name): requirement.specifier for requirement in REQUIRED + OPTIONAL}
    for requirement in REQUIRED + OPTIONAL:  # of which some are in several extras
        assert asked[canonicalize_name(requirement.name)] == requirement.specifier, requirement
    for name, specifier in asked.items():
        assert brought.pop(name, None) == specifier, name
    assert brought.pop("python") == SpecifierSet(PROJECT["requires-python"])
    assert set(brought) <= SYSTEM, "conda brings what the project does not ask for"


@pytest.mark.slow
def test_requirements_can_be_imported_by_this_python() -> None:
    """In one process of its own; optional ones as far as they are installed."""
    names = [canonicalize_name(r.name) for r in REQUIRED] + [
        name for r in OPTIONAL if (name := canonicalize_name(r.name)) not in STUBS and _is_installed(name)
    ]
    modules = [MODULES.get(name, name) for name in names]
    script = "import importlib, blurtrain.models.torchvision_ops\n"  # which has to come before torchvision
    script += "".join(f"importlib.import_module({module!r})\n" for module in modules)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


# --- an environment of one's own, where torch is already there --------------------------------------------------------


def wheel(folder: Path, name: str, version: str, *requires: str) -> None:
    """A wheel with nothing in it but what it requires."""
    about = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {other}\n" for other in requires)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{about}/METADATA", metadata)
        file.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{about}/RECORD", "")


@pytest.mark.slow
@pytest.mark.parametrize("there", [["torch==2.11.0"], ["torch==2.11.0", "torchvision==0.26.0"]])
def test_readmes_command_keeps_the_torch_that_is_there(tmp_path: Path, there: list[str]) -> None:
    """An index with newer ones; of the project only what it requires of torch, torchvision and timm."""
    index = tmp_path / "index"
    index.mkdir()
    for torch, vision in (("2.11.0", "0.26.0"), ("2.13.0", "0.28.0"), ("2.14.0", "0.29.0")):
        wheel(index, "torch", torch)
        wheel(index, "torchvision", vision, f"torch=={torch}")
    wheel(index, "timm", "1.0.31", "torch", "torchvision")
    ours = [str(r) for r in REQUIRED + OPTIONAL if r.name in ("torch", "torchvision", "timm")]
    wheel(index, "blurtrain", "0.1.0", *ours)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "own")], check=True)
    python = tmp_path / "own" / "bin" / "python"
    command = python.with_name("pip")  # this one's, as a pip of its own would take ten seconds to install
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m pip --python {python} "$@"\n')
    command.chmod(0o755)

    def pip(*arguments: str) -> str:
        environment = {"PATH": f"{python.parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
        environment |= {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index)}
        command = ["bash", "-euo", "pipefail", "-c", *arguments]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    pip(f"pip install {' '.join(there)}")
    keep, install = _readmes_commands()
    pip(keep)
    pip(re.sub(r"'\.\[.*\]'", "blurtrain", install))
    after = pip("pip list --format=freeze").splitlines()
    assert {"torch==2.11.0", "torchvision==0.26.0", "timm==1.0.31", "blurtrain==0.1.0"} <= set(after)


def _readmes_commands() -> tuple[str, str]:
    readme = (ROOT / "README.md").read_text()
    keep, install = re.findall(r"^(pip list .*|pip install -c .*)$", readme, re.MULTILINE)
    return keep.split("  #")[0], install.split("  #")[0]


# --- install.sh -------------------------------------------------------------------------------------------------------


def run_install(tmp_path: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`install.sh` in a copy of the project that has no virtual environment."""
    for name in ("install.sh", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return subprocess.run(
        ["bash", str(tmp_path / "install.sh"), *options], env=environment, capture_output=True, text=True
    )


def pythons(folder: Path, **versions: str) -> str:
    """A PATH whose interpreters say that they are of these versions, and none else is there."""
    folder.mkdir()
    for tool in (
        "bash",
        "dirname",
        "id",
        "cat",
        "sha256sum",
        "cut",
        "find",
        "head",
        "df",
        "awk",
        "grep",
        "env",
        "ldconfig",
    ):
        (folder / tool).symlink_to(shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin") or f"/missing/{tool}")
    for name, version in versions.items():
        supported = 11 <= int(version.split(".")[1]) <= 13
        script = f'case "$*" in *%d*) echo {version} ;; *version_info*) exit {int(not supported)} ;; esac\n'
        (folder / name.replace("_", ".")).write_text(f"#!/usr/bin/env bash\n{script}")
        (folder / name.replace("_", ".")).chmod(0o755)
    return str(folder)


@pytest.mark.parametrize("version", ["3.10.12", "3.14.0"])
def test_a_python_too_old_or_too_new_is_named_with_the_cure(tmp_path: Path, version: str) -> None:
    done = run_install(tmp_path, PATH=pythons(tmp_path / "bin", python3=version))
    assert done.returncode == 1
    assert f"needs Python 3.11, 3.12 or 3.13, and python3 is {version}" in done.stderr
    assert "uv python install 3.13" in done.stderr and "environment.yml" in done.stderr


def test_another_python_that_is_there_is_taken(tmp_path: Path) -> None:
    done = run_install(tmp_path, "--check", PATH=pythons(tmp_path / "bin", python3="3.14.0", python3_12="3.12.3"))
    assert done.returncode == 1
    assert "./install.sh makes it, with python3.12 (3.12.3)" in done.stderr


def test_the_python_that_is_asked_for_is_taken_or_none(tmp_path: Path) -> None:
    path = pythons(tmp_path / "bin", python3="3.11.2", python3_9="3.9.1")
    assert "and python3.9 is 3.9.1" in run_install(tmp_path, PATH=path, PYTHON="python3.9").stderr
    assert "and python7 is missing" in run_install(tmp_path, PATH=path, PYTHON="python7").stderr


def test_check_lists_what_is_missing_and_installs_nothing(tmp_path: Path) -> None:
    done = run_install(tmp_path, "--check", PATH=pythons(tmp_path / "bin", python3="3.11.2"))
    assert done.returncode == 1
    assert re.search(r"missing system packages: .*g\+\+ pkg", done.stderr)
    assert not (tmp_path / ".venv").exists()


def test_an_unknown_option_is_refused(tmp_path: Path) -> None:
    done = run_install(tmp_path, "--chekc", PATH="/usr/bin:/bin")
    assert (done.returncode, done.stdout) == (1, "")
    assert "unknown option --chekc (known: --check)" in done.stderr


def test_every_package_is_installed_with_the_project() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for package in ("blurtrain", "jobs", "analysis")
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert set(declared) == {*there, "blurtrain.configs"}
