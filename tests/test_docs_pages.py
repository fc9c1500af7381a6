"""The blocks of README.md and docs/ that doc_pages.py says are run here: each page from its top, as it stands, in a
folder where what it names is there. Trainings are cut to an epoch of small images."""

import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import yaml
from doc_folder import RESOLUTION, furnish, given
from doc_pages import BLOCKS, PAGES, READ, ROOT, RUN, claims

from blurtrain.cli import main
from blurtrain.settings import Settings

SHORT = (
    "optimisation.epochs=1",
    "optimisation.warmup_epochs=0",
    "optimisation.batch_size=8",
)
FIRST = {"README.md", "docs/grids.md", "docs/segmentation.md", "docs/detector.md"}
"""Pages that begin with nothing prepared and nothing trained."""
SIDES = {"docs/detector.md": 72}
"""Of the network's input, where it is not RESOLUTION: a mosaic is of nine tiles."""
INSTEAD = {
    "docs/datasets/imagenet-12.md": {"prepare photos": "prepare twelve"},
    "docs/datasets/README.md": {"~/photos": "~/flat"},
    "docs/deblurring.md": {"learn-patches": "learn-patches --components 4 --patches 2000 --iterations 3"},
    "docs/detector.md": {"--resolution 288": "--resolution 72"},
    "docs/methods.md": {"least_resolution: 64": "least_resolution: 32"},
    "docs/segmentation.md": {
        "fcn_resnet50, pretrained: {published: torchvision/resnet50}": "lraspp_mobilenet_v3_large",
    },
    "docs/extending.md": {"prepare photos": "prepare flat"},
    "docs/grids.md": {"submit GRID.yaml": "submit GRID.yaml --wait"},
    "docs/gallery.md": {"alexnet-": "small-"},
}
"""Two pages may call different things alike; what a line only begins is waited for; what takes minutes is made less."""


def page_named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=page_named)
def test_every_block_is_claimed(page: Path) -> None:
    """Where this fails: add the block to doc_pages.py."""
    name = page_named(page)
    for _, _, entry in claims(name):
        if entry.startswith("tests/") and (file := ROOT / entry) and file.stem != "test_docs_blocks":
            assert page.name in file.read_text(), f"{entry} does not speak of {name}"
        for test in re.findall(r"tests/[\w/]+|\w+\.(?:py|sh)", entry):
            assert list(ROOT.glob(f"{test}*")) or list(ROOT.glob(f"tests/**/{test}")), f"{name}: there is no {test}"


def test_no_page_is_claimed_that_is_not_there() -> None:
    assert set(BLOCKS) <= set(map(page_named, PAGES))
    text = "".join(page.read_text() for page in PAGES)
    assert [word for word in READ if word not in text] == []


# --- run ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tree: Path, tiny: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("docs")
    furnish(place, tree, tiny)
    return place


@pytest.fixture
def here(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a page's own, which shares with others what pages only read."""
    for path in home.iterdir():
        if path.name in ("data", "runs"):
            shutil.copytree(path, tmp_path / path.name)
        else:
            (tmp_path / path.name).symlink_to(path)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", [name for name, entries in BLOCKS.items() if entries == RUN or RUN in tuple(entries)])
def test_blocks_do_what_they_show(name: str, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if name in FIRST:
        shutil.rmtree(here / "runs")
        shutil.rmtree(here / "data")
    names, short = given(), (*SHORT, f"data.resolution={SIDES.get(name, RESOLUTION)}")
    for kind, text, entry in claims(name):
        if entry != RUN:
            continue
        for old, new in INSTEAD.get(name, {}).items():
            text = text.replace(old, new)
        if kind == "python":
            exec(text, names)
        elif kind == "yaml":
            train_in_short(text, short, capfd)
        else:
            for line in lines_of(text):
                run(line, short, capfd)


def train_in_short(text: str, short: Sequence[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert {"dataset", "regime"} <= set(yaml.safe_load(text)), "settings of a run"
    Path("own.yaml").write_text(text)
    run("blurtrain train own.yaml", short, capfd)


def lines_of(text: str) -> Iterator[str]:
    """The commands of a block; files that it writes by `cat > FILE <<WORD` are written."""
    for file, _, document in re.findall(r"^cat > (\S+) <<(\w+)\n(.*?)^\2$", text, re.M | re.S):
        (here := Path(file)).unlink(missing_ok=True)
        here.write_text(document)
    commands = re.sub(r"^cat > \S+ <<(\w+)\n.*?^\1$", "", text, flags=re.M | re.S).replace("\\\n", " ")
    for line in commands.replace(".venv/bin/", "").splitlines():
        if line.strip() and not any(word in line for word in READ):
            yield line


def run(line: str, short: Sequence[str], capfd: pytest.CaptureFixture[str]) -> None:
    line = re.sub(r"((?:\w+/)?runs/[\w-]+-)\.\.\.", lambda m: str(min(Path().glob(f"{m[1]}*"))), line)
    for placeholder, which in {"runs/RUN": 0, "RUN_A": 0, "RUN_B": 1, "RUN_256": 0, "RUN_512": 1}.items():
        if placeholder in line:
            line = re.sub(rf"{placeholder}\b", str(sorted(Path("runs").glob("birds-*"))[which]), line)
    program, *words = shlex.split(re.sub(r"(?<=\s)~/", str(Path.home()) + "/", line), comments=True)
    assert program == "blurtrain", f"no line for this: {line}"
    if words[0] == "train":
        words[2:2] = short
    elif words[:2] == ["data", "prepare"] and "--name" in words:  # each of several ways is the first
        shutil.rmtree(Path("data") / words[words.index("--name") + 1], ignore_errors=True)
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert not ended.value.code, f"{line}: {capfd.readouterr().err}"
