"""A GPU machine has few packages (README.md): no test there may fail to be collected for want of another."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
AT_HAND = {"PIL", "cloudpickle", "cv2", "hypothesis", "jinja2", "markupsafe", "matplotlib", "numpy", "packaging",
           "pandas", "pyarrow", "pytest", "safetensors", "scipy", "skimage", "tensorboard", "timm", "torch",
           "torchvision", "tqdm", "yaml"}  # fmt: skip
BROUGHT = {"pydantic", "submitit", "kornia"}  # by `make gpu-wheels`
OURS = {"blurtrain", "analysis", "jobs"} | {path.stem for path in TESTS.rglob("*")}


def imported(path: Path) -> Iterator[str]:
    """Packages that a file imports whenever it is imported itself."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module).split(".")[0]
        elif isinstance(node, ast.Assign | ast.Expr) and "importorskip" in ast.unparse(node):
            return  # what follows is not reached without it


def test_a_package_that_a_gpu_machine_lacks_is_imported_by_importorskip_first() -> None:
    known = AT_HAND | BROUGHT | OURS | sys.stdlib_module_names
    files = [path for path in TESTS.rglob("*.py") if path.parent.name != "on_the_path"]  # those are for jobs of SLURM
    wrong = {f"{path.relative_to(TESTS)}: {name}" for path in files for name in imported(path) if name not in known}
    assert sorted(wrong) == []
