import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from blurtrain.errors import SettingsError
from blurtrain.parts import import_part, is_part_name, look_beside, source_files, source_folder, source_hash

PACKAGE = {
    "mine/__init__.py": "",
    "mine/nets.py": "from mine.layers import Layer\nimport json\nclass Net(Layer):\n    pass\nsize = 3\n",
    "mine/layers.py": "from . import sizes\nclass Layer:\n    wide = sizes.WIDE\n",
    "mine/sizes.py": "WIDE = 8\n",
    "mine/unused.py": "raise RuntimeError('nobody asked for this')\n",
}


def write(folder: Path, files: dict[str, str]) -> None:
    for place, text in files.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder of a user, with a package in it; what is imported from it is forgotten after the test."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    write(tmp_path, PACKAGE)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def names(name: str) -> set[str]:
    return {str(file.relative_to(source_folder(name))) for file in source_files(name)}


@pytest.mark.parametrize(
    "text", ["mine.nets:Net", "nets:Net", "nets.py:Net", "parts/nets.py:Net", "my-parts/v1.0/nets.py:Net"]
)
def test_names_of_parts(text: str) -> None:
    assert is_part_name(text)


@pytest.mark.parametrize(
    "text",
    ["resnet-18", "timm/resnet18", "nets.py", "mine.nets", "mine.nets:", "../nets.py:Net", "/home/me/nets.py:Net",
     "a/../nets.py:Net", "./nets.py:Net", "my-nets:Net", "my-nets.py:Net", "mine.nets:Net()", "mine.nets:Net\n", ""],
)  # fmt: skip
def test_other_names(text: str) -> None:
    assert not is_part_name(text)
    with pytest.raises(SettingsError, match="must be package"):
        import_part(text, "network")


def test_from_a_package_in_the_working_folder(folder: Path) -> None:
    net = import_part("mine.nets:Net", "network")
    assert net.wide == 8 and net.__module__ == "mine.nets"
    assert import_part("mine.nets:Net", "network") is net
    assert pickle.loads(pickle.dumps(net)) is net


def test_from_a_file_and_its_neighbours(folder: Path) -> None:
    write(
        folder,
        {"parts/wide.py": "from helper import WIDE\nclass Net:\n    wide = WIDE\n", "parts/helper.py": "WIDE = 5"},
    )
    net = import_part("parts/wide.py:Net", "network")
    assert net.wide == 5 and pickle.loads(pickle.dumps(net)) is net
    assert names("parts/wide.py:Net") == {"parts/wide.py", "parts/helper.py"}


def test_a_file_beside_the_settings(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = tmp_path_factory.mktemp("elsewhere") / "train.yaml"
    write(settings.parent, {"beside.py": "class Net:\n    pass\n"})
    with pytest.raises(SettingsError, match=re.escape(f"network beside.py:Net: no file beside.py in {folder}")):
        import_part("beside.py:Net", "network")
    look_beside(settings)
    assert import_part("beside.py:Net", "network").__module__ == "beside"


def test_a_snapshot_comes_before_the_working_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """As in a job, where the working folder may have been edited since."""
    snapshot = tmp_path_factory.mktemp("snapshot")
    edited = {**PACKAGE, "mine/sizes.py": "WIDE = 9\n", "single.py": "size = 'edited'\n"}
    write(snapshot, {**PACKAGE, "single.py": "size = 'as it was'\n"})
    write(folder, edited)
    code = (
        "from blurtrain.parts import import_part, source_folder\n"
        "print(import_part('mine.nets:Net', 'network').wide, import_part('single.py:size', 'network'))\n"
        "print(source_folder('mine.nets:Net'), source_folder('single.py:size'))"
    )
    root = str(Path(__file__).parents[1])
    environment = {"PYTHONPATH": f"{snapshot}:{root}", "PYTHONSAFEPATH": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, text=True)
    assert done.stdout == f"8 as it was\n{snapshot} {snapshot}\n", done.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("yours.nets:Net", "no module 'yours' found; run in the folder that holds it, or put that folder on PYTHON"),
        ("mine.net:Net", "mine has no module 'net'; did you mean 'nets'? (known: layers, nets, sizes, unused)"),
        ("mine.nets.deep:Net", "mine.nets has no module 'deep'; (known: none)"),
        ("mine.nets:Ned", "nets.py has no 'Ned'; did you mean 'Net'? (known: Layer, Net, json, size)"),
        ("mine.unused:Net", "importing it raised RuntimeError: nobody asked for this ("),
        ("mine.unused:Net", "mine/unused.py, line 1)"),
        ("broken:Net", "importing it raised SyntaxError: expected ':' ("),
        ("broken.py:Net", "broken.py, line 2)"),
        ("needs:Net", "importing it raised ModuleNotFoundError: No module named 'not_there' ("),
        ("leaves:Net", "importing it raised SystemExit: 3 ("),
        ("json.py:Net", "a module of the name 'json' is there already ("),
        ("__main__:Net", "no other process could import it; put it into a file of its own"),
        ("mine.nets:Layer", "is no class derived from collections.abc.Sized"),
        ("mine.nets:size", "is no class derived from collections.abc.Sized"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(folder: Path, name: str, message: str) -> None:
    write(
        folder,
        {
            "broken.py": "\nclass Net\n",
            "needs.py": "import not_there\n",
            "leaves.py": "exit(3)\n",
            "json.py": "Net = 1\n",
        },
    )
    from collections.abc import Sized

    with pytest.raises(SettingsError) as raised:
        import_part(name, "network", base=Sized)
    said = str(raised.value)
    assert said.startswith(f"network {name}: ") and "\n" not in said
    assert message in said


def test_source_is_what_the_module_imports_and_no_more(folder: Path) -> None:
    write(
        folder, {"helper.py": "import yaml, torch\n", "alone.py": "def f():\n    import helper\nclass Net:\n    pass\n"}
    )
    assert names("mine.nets:Net") == {"mine/__init__.py", "mine/nets.py", "mine/layers.py", "mine/sizes.py"}
    assert names("alone:Net") == names("alone.py:Net") == {"alone.py", "helper.py"}
    assert not {"mine", "mine.nets", "alone", "helper"} & set(sys.modules)


def test_source_of_relative_imports_in_subpackages(folder: Path) -> None:
    write(
        folder,
        {
            "deep/__init__.py": "from .top import x\n",
            "deep/top.py": "x = 1\n",
            "deep/er/net.py": "from ..other import y\nfrom . import near\nfrom .near import z as w\nNet = 1\n",
            "deep/er/near.py": "z = 1\n",
            "deep/other/__init__.py": "y = 2\n",
            "deep/not_used.py": "",
        },
    )
    used = {"deep/__init__.py", "deep/top.py", "deep/er/net.py", "deep/er/near.py", "deep/other/__init__.py"}
    assert names("deep.er.net:Net") == used
    assert import_part("deep.er.net:Net", "network") == 1


def test_source_leaves_out_what_is_installed_and_ours(folder: Path) -> None:
    write(folder, {"uses.py": "import numpy, pydantic\nfrom blurtrain.schema import Section\nclass Net: ...\n"})
    assert names("uses:Net") == {"uses.py"}
    assert source_files("json.decoder:JSONDecoder") == source_files("numpy:array") == []


def test_the_hash_is_of_that_source_wherever_it_lies(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    before = source_hash("mine.nets:Net")
    assert re.fullmatch("[0-9a-f]{64}", before)
    write(folder, {"mine/unused.py": "pass\n"})
    assert source_hash("mine.nets:Net") == before
    write(folder, {"mine/sizes.py": "WIDE = 9\n"})
    assert source_hash("mine.nets:Net") != before
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write(elsewhere, PACKAGE)
    root = str(Path(__file__).parents[1])
    code = "from blurtrain.parts import source_hash as h; print(h('mine.nets:Net'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": root}, cwd=elsewhere, capture_output=True, text=True
    )
    assert done.stdout == before + "\n", done.stderr


def test_the_hash_of_an_installed_package_is_of_its_version() -> None:
    assert source_hash("numpy:array") == source_hash("numpy:zeros") != source_hash("yaml:load")


def test_source_that_is_not_there_or_no_python(folder: Path) -> None:
    write(folder, {"broken.py": "\nclass Net\n"})
    with pytest.raises(SettingsError, match=r"broken\.py, line 2: not valid Python: "):
        source_hash("broken:Net")
    with pytest.raises(SettingsError, match=r"part mine.net:Net: mine has no module 'net'; did you mean 'nets'"):
        source_files("mine.net:Net")
    with pytest.raises(SettingsError, match="part yours:Net: no module 'yours' found"):
        source_files("yours:Net")
