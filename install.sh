#!/usr/bin/env bash
# Sets up everything blurtrain needs in .venv, once: run again, it returns at once.
#   PYTHON=python3.12 ./install.sh     choose the interpreter (3.11 or 3.12)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
VENV=.venv

die() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }
say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }

stamp="$VENV/.installed-$(cat install.sh pyproject.toml constraints.txt | sha256sum | cut -c1-16)"
[ -e "$stamp" ] && exit 0

# --- Python -------------------------------------------------------------------------------------------------------
usable() { "$1" -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] <= (3, 12)))' 2>/dev/null; }
for candidate in ${PYTHON:-python3 python3.11 python3.12}; do
  if usable "$candidate"; then python=$candidate; break; fi
done
[ -n "${python:-}" ] || die "needs Python 3.11 or 3.12 (looked for: ${PYTHON:-python3 python3.11 python3.12}). Debian 12: apt-get install python3 python3-venv python3-dev. Others: conda env create -f environment.yml"

# --- system libraries (FFCV is compiled here; OpenCV's wheel loads libGL and GLib) --------------------------------
missing=()
need() { # package, then a test that succeeds where it is not needed
  local package=$1; shift
  "$@" >/dev/null 2>&1 || missing+=("$package")
}
header() { echo "#include <$1>" | ${CXX:-g++} -I/usr/include/opencv4 -x c++ -fsyntax-only -; }
library() { ldconfig -p | grep -q "$1"; }
python_headers() { [ -e "$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')/Python.h" ]; }
export PATH="$PATH:/usr/sbin:/sbin"
need g++ command -v "${CXX:-g++}"
need pkg-config command -v pkg-config
need python3-venv "$python" -c 'import venv, ensurepip'
need python3-dev python_headers
need libturbojpeg0-dev header turbojpeg.h
need libopencv-core-dev header opencv2/core/core.hpp
need libopencv-imgproc-dev header opencv2/imgproc/imgproc.hpp
need libgl1 library libGL.so.1
need libglib2.0-0 library libgthread-2.0.so.0
if [ ${#missing[@]} -gt 0 ]; then
  command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] ||
    die "missing system packages: ${missing[*]}. As root: apt-get install ${missing[*]}. Without root: see environment.yml"
  say "system packages: ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# --- Python packages ----------------------------------------------------------------------------------------------
say "virtual environment in $VENV (some minutes the first time)"
[ -x "$VENV/bin/python" ] || "$python" -m venv "$VENV"
pip() { "$VENV/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
pip install --constraint constraints.txt setuptools wheel
# torch first and by its pinned version, so that nothing else chooses another build; torchvision without its
# dependencies, because its own pin of torch may name a build that is not the one just installed.
pip install --constraint constraints.txt torch
pip install --constraint constraints.txt pillow numpy
pip install --constraint constraints.txt --no-deps torchvision

# FFCV asks pkg-config for "opencv4" and includes opencv2/opencv.hpp. Two small OpenCV libraries are all it uses;
# Debian's full libopencv-dev would pull 194 packages, so the missing pieces are written here.
shim=$PWD/$VENV/ffcv-build
mkdir -p "$shim/opencv2"
cat > "$shim/opencv4.pc" <<PC
Name: opencv4
Description: the parts of OpenCV that FFCV uses
Version: 4
Libs: -lopencv_imgproc -lopencv_core
Cflags: -I$shim -I/usr/include/opencv4
PC
printf '#define HAVE_OPENCV_CORE\n#define HAVE_OPENCV_IMGPROC\n' > "$shim/opencv2/opencv_modules.hpp"
PKG_CONFIG_PATH=$shim:${PKG_CONFIG_PATH:-} \
  pip install --constraint constraints.txt --no-build-isolation 'ffcv>=1.0.2'
pip install --constraint constraints.txt --editable '.[ffcv,bench,timm,dev]'
"$VENV/bin/python" -m pip check >&2
rm -f "$VENV"/.installed-*
touch "$stamp"
say "ready: $VENV/bin/blurtrain"
