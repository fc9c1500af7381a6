"""Fetch what a GPU machine without a network lacks into .whl/, where `make gpu` finds it: `make gpu-wheels`.

Versions are those of constraints.txt; only wheels, without what they depend on. The machine is taken to have torch and
what comes with it (README.md beside this file says which).
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("pydantic", "pydantic_core", "annotated-types", "typing-inspection", "submitit", "kornia", "kornia_rs")
PLATFORMS = ("manylinux_2_28_{0}", "manylinux_2_17_{0}", "manylinux2014_{0}")


def pins(text: str) -> dict[str, str]:
    """The version of each package, by its name with dashes only, in a file of lines `name==version`."""
    found = re.findall(r"^([\w.-]+)==([^\s;#]+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def main() -> int:
    parser = argparse.ArgumentParser(description="Fetch the wheels that `make gpu` wants into .whl/.")
    parser.add_argument("--python", default="3.12", help="version of the GPU machine's Python (3.12)")
    parser.add_argument("--machine", default="x86_64", help="its processor, as `uname -m` says (x86_64)")
    options = parser.parse_args()
    versions = pins((ROOT / "constraints.txt").read_text())
    wanted = [f"{name}=={versions[name.replace('_', '-')]}" for name in NAMES]
    platforms = [f"--platform={platform.format(options.machine)}" for platform in PLATFORMS]
    where = ["--implementation=cp", f"--python-version={options.python}", *platforms, "--dest", str(ROOT / ".whl")]
    (ROOT / ".whl").mkdir(exist_ok=True)
    for old in (ROOT / ".whl").glob("*.whl"):
        old.unlink()
    arguments = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", *where, *wanted]
    return subprocess.run([sys.executable, *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
