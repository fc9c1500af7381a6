"""Ask the package index whether it has a wheel of every pin for every supported Python and machine.

Asks for metadata only and installs nothing. What has none by nature (pure Python or FFCV, which is compiled) is named.
"""

import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = ("x86_64", "aarch64")
BUILT_HERE = {"ffcv", "fastargs", "terminaltables", "assertpy", "pytorch-pfn-extras"}
PLATFORMS = [f"manylinux_2_{minor}" for minor in (36, 35, 34, 31, 28, 27, 26, 24, 17, 12, 5)]
PLATFORMS += ["manylinux2014", "manylinux2010", "manylinux1"]  # which Debian 12 and later can load
CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"


def lacking(pins: Path, python: str, machine: str) -> str:
    """What pip says is missing; "" if nothing is."""
    platforms = [f"--platform={name}_{machine}" for name in PLATFORMS]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"]
    command += ["--only-binary=:all:", f"--python-version={python}", "--implementation=cp", *platforms]
    with tempfile.TemporaryDirectory() as nowhere:
        done = subprocess.run([*command, "--target", nowhere, "-r", str(pins)], capture_output=True, text=True)
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


def main() -> int:
    pins = [pin for pin in CONSTRAINTS.read_text().splitlines() if pin.split("==")[0] not in BUILT_HERE]
    failed = False
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(pins))
        file.flush()
        for python, machine in itertools.product(PYTHONS, MACHINES):
            problem = lacking(Path(file.name), python, machine)
            failed |= bool(problem)
            print(f"Python {python}, {machine}: {problem or f'wheels of all {len(pins)} pins'}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
