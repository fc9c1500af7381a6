"""What is built to be installed is whole: the source package, the wheel made from it, and that in an environment of its
own, away from any clone."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGED = ("analysis", "blurtrain", "configs", "jobs")
OLD_RUNS = ROOT / "tests" / "fixtures" / "old" / "runs"
pytestmark = pytest.mark.slow


def tracked(*folders: str) -> list[str]:
    done = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("needs git and a clone, to know what belongs to the project")
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def build(kind: str, source: Path, out: Path) -> Path:
    """By the project's own build backend, as pip calls it, but with the setuptools that are installed here."""
    out.mkdir()
    script = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(out)!r}))"
    done = subprocess.run([sys.executable, "-c", script], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the project as they lie here, without what was built from them."""
    clone = tmp_path_factory.mktemp("clone")
    for name in tracked():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, clone / name)
    return clone


@pytest.fixture(scope="module")
def source(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source package, unpacked."""
    folder = tmp_path_factory.mktemp("source")
    with tarfile.open(build("sdist", clone, folder / "out")) as file:
        file.extractall(folder, filter="data")
    (unpacked,) = folder.glob("blurtrain-*")
    return unpacked


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    return build("wheel", source, source.parent / "wheel")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `blurtrain` of an environment that has this wheel, and everything else from the one that runs the tests, but
    for the blurtrain in it."""
    place = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    own = place / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    (own / "others.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")  # whose own .pth files are not read
    pip = [sys.executable, "-m", "pip", "--python", str(place / "bin" / "python"), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "-q", "--no-deps", "--no-index", "--no-compile", str(wheel)], check=True)
    return place / "bin" / "blurtrain"


def call(program: Path, where: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(where), "OMP_NUM_THREADS": "1"}
    environment |= {name: os.environ[name] for name in ("NUMBA_CACHE_DIR",) if name in os.environ}
    return subprocess.run([str(program), *words], cwd=where, env=environment, capture_output=True, text=True)


def test_the_wheel_has_every_file_of_the_packages(wheel: Path) -> None:
    """Presets, templates and published numbers too; and nothing else."""
    with zipfile.ZipFile(wheel) as file:
        packed = {name for name in file.namelist() if ".dist-info/" not in name}
    expected = {f"blurtrain/{name}" if name.startswith("configs/") else name for name in tracked(*PACKAGED)}
    assert sorted(expected - packed) == [], "left out"
    assert sorted(packed - expected) == [], "too much"


def test_the_source_package_has_what_its_pages_name(source: Path) -> None:
    there = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    wanted = {*tracked(*PACKAGED, "docs", "containers")}
    wanted |= {"README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "constraints.txt"}
    assert sorted(wanted - there) == []


def test_installed_it_is_its_own(installed: Path, tmp_path: Path) -> None:
    done = call(installed, tmp_path, "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: blurtrain"), done.stderr
    script = "import blurtrain, jobs, analysis; print(blurtrain.__file__, jobs.__file__)"
    where = call(installed.with_name("python"), tmp_path, "-c", script).stdout
    assert where.count(str(installed.parents[1])) == 2


def test_installed_it_plans_the_study_by_name(installed: Path, tmp_path: Path, prepared_study: Path) -> None:
    done = call(installed, tmp_path, "grid", "plan", "paper", "--data", str(prepared_study))
    assert done.returncode == 0, done.stderr
    assert "submitting would take up 15 of 15 runs" in done.stdout


def test_installed_it_reports_beside_published_numbers(installed: Path, tmp_path: Path) -> None:
    done = call(installed, tmp_path, "report", str(OLD_RUNS), "--out", "report")
    assert done.returncode == 0, done.stderr
    assert {"index.html", "results.csv"} <= {path.name for path in (tmp_path / "report").iterdir()}
    assert call(installed, tmp_path, "table", "--list").stdout.count("\n") == len(tracked("configs/tables"))
    script = "import analysis; print(len(analysis.published('b2c_accuracy_vs_sigma')))"
    shown = call(installed.with_name("python"), tmp_path, "-c", script).stdout
    lines = (ROOT / "analysis" / "published" / "b2c_accuracy_vs_sigma.csv").read_text().splitlines()
    assert 0 < int(shown) <= len(lines) - 1


@pytest.fixture(scope="module")
def prepared_study(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datasets of the study's names, of a few small images."""
    from blurtrain.data.preparation import Recipe, prepare

    data = tmp_path_factory.mktemp("study")
    for name in ("faces", "toybox-instance", "toybox-category", "imagenet-12", "imagenet-100"):
        prepare(data, name, Recipe(images=str(tree), resolution=32))
    return data
