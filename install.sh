#!/usr/bin/env bash
# Sets up everything blurtrain needs in .venv, once: run again, it returns at once; interrupted, it goes on from there.
#   ./install.sh --check              what is missing here, without installing anything
#   PYTHON=python3.12 ./install.sh    choose the interpreter (3.11 to 3.13)
#   TORCH_INDEX=URL ./install.sh      take torch and torchvision from that index: for machines without a GPU the one of
#                                     CPU builds that pytorch.org/get-started names (0.2 GB instead of some 3)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
VENV=.venv

die() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }
say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }

check=
case "${1:-}" in
  --check) check=1 ;;
  "") ;;
  *) die "unknown option $1 (known: --check)" ;;
esac

stamp="$VENV/.installed-$(cat install.sh pyproject.toml constraints.txt | sha256sum | cut -c1-16)"
if [ -e "$stamp" ] && "$VENV/bin/python" -c '' 2>/dev/null; then
  [ -z "$check" ] || say "$VENV is complete; nothing is missing"
  exit 0
fi

root=
[ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || root=1
if [ -n "$root" ] && [ -z "$check" ] && [ -z "$(find /var/lib/apt/lists -name '*Packages*' 2>/dev/null | head -n 1)" ]; then
  apt-get update -qq  # a new machine does not know yet what can be had
fi
offered() { # whether Debian's or Ubuntu's archive, as far as it is known here, has this package
  command -v apt-cache >/dev/null && [ -n "$(apt-cache madison "$1" 2>/dev/null)" ]
}

# --- Python -------------------------------------------------------------------------------------------------------
missing=()
supported() { "$1" -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] <= (3, 13)))' 2>/dev/null; }
version() { "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null; }
python=
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
  if supported "$candidate"; then python=$candidate; break; fi
done
if [ -z "$python" ]; then
  found=${PYTHON:-python3}
  found="$found is $(version "$found" || echo missing)"
  for minor in 13 12 11; do # as on Ubuntu 22.04, whose own python3 is 3.10
    offered "python3.$minor" && [ -z "${PYTHON:-}" ] || continue
    python=python3.$minor
    missing+=("$python" "$python-venv" "$python-dev")
    break
  done
  [ -n "$python" ] || die "needs Python 3.11, 3.12 or 3.13, and $found. One of these brings it:
  uv python install 3.13, then PYTHON=\"\$(uv python find 3.13)\" ./install.sh    (uv: pip install uv; needs no root)
  conda env create -f environment.yml                                           (instead of this script)"
fi

# --- system libraries (FFCV is compiled here; OpenCV's wheel loads libGL and GLib) --------------------------------
need() { # package (or names that it has had, newest first), then a test that succeeds where it is not needed
  local names=$1 name; shift
  "$@" >/dev/null 2>&1 && return
  for name in $names; do offered "$name" && break; done
  missing+=("$name")
}
header() { echo "#include <$1>" | ${CXX:-g++} -I/usr/include/opencv4 -x c++ -fsyntax-only -; }
library() { ldconfig -p | grep -F "$1"; } # not -q: it would end ldconfig by a broken pipe
python_headers() { [ -e "$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')/Python.h" ]; }
export PATH="$PATH:/usr/sbin:/sbin"
if [ ${#missing[@]} -eq 0 ]; then
  # Debian's packages are named after the version, whatever the interpreter is called.
  series=python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  need "$series-venv python3-venv" "$python" -c 'import venv, ensurepip'
  need "$series-dev python3-dev" python_headers
fi
need g++ command -v "${CXX:-g++}"
need "pkg-config pkgconf" command -v pkg-config
need libturbojpeg0-dev header turbojpeg.h
need libopencv-core-dev header opencv2/core/core.hpp
need libopencv-imgproc-dev header opencv2/imgproc/imgproc.hpp
need libgl1 library libGL.so.1
need "libglib2.0-0t64 libglib2.0-0" library libgthread-2.0.so.0

# --- room on the disk ---------------------------------------------------------------------------------------------
gigabytes=10 # the CUDA build of torch with what it needs, unpacked and, for a while, packed
[ -z "${TORCH_INDEX:-}" ] || gigabytes=4
free=$(($(df -Pk . | awk 'NR == 2 {print $4}') / 1000000))

if [ -n "$check" ]; then
  [ ${#missing[@]} -eq 0 ] || say "missing system packages: ${missing[*]}"
  [ "$free" -ge "$gigabytes" ] || say "$free GB are free here; the set-up wants $gigabytes GB"
  say "$VENV is not complete: ./install.sh makes it, with $python$(v=$(version "$python") && echo " ($v)")"
  exit 1
fi
if [ ${#missing[@]} -gt 0 ]; then
  [ -n "$root" ] ||
    die "missing system packages: ${missing[*]}. As root: apt-get install ${missing[*]}. Without root: see environment.yml"
  say "system packages: ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
[ "$free" -ge "$gigabytes" ] || say "only $free GB are free here; $gigabytes GB may be needed"

# --- Python packages ----------------------------------------------------------------------------------------------
if [ -e "$VENV" ]; then
  if [ -n "${PYTHON:-}" ] && [ "$(version "$VENV/bin/python")" != "$(version "$python")" ]; then
    die "$VENV is of Python $(version "$VENV/bin/python" || echo 'that is gone'), not of $PYTHON: remove $VENV first"
  fi
  # Half made, or its interpreter has gone with an upgrade of the system.
  "$VENV/bin/python" -m pip --version >/dev/null 2>&1 || rm -rf "$VENV"
fi
[ -e "$VENV" ] || "$python" -m venv "$VENV"
say "virtual environment in $VENV, Python $(version "$VENV/bin/python") (some minutes the first time)"
# A broken connection is taken up again where it broke; packages that have come stay in pip's cache for the next call.
export PIP_RESUME_RETRIES=20 PIP_RETRIES=10
pip() { "$VENV/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
pip install --constraint constraints.txt --upgrade pip setuptools wheel

# torch first and by its pinned version, so that nothing else chooses another build; torchvision without its
# dependencies, because its own pin of torch may name a build that is not the one just installed.
torch=(--constraint constraints.txt torch)
[ -z "${TORCH_INDEX:-}" ] || torch=(--no-deps --index-url "$TORCH_INDEX" "${torch[@]}")
plan=$(mktemp)
trap 'rm -f "$plan"' EXIT
# fast-deps: an index that does not serve metadata by themselves would have all of it downloaded twice.
pip install --dry-run --use-feature=fast-deps --report "$plan" "${torch[@]}" 2>/dev/null || true
"$VENV/bin/python" - "$plan" <<'PY' || true
"""What pip is about to bring for torch, and how much of it there is, before the long download."""
import json, os, ssl, sys, urllib.request

from pip._vendor import certifi

items = json.load(open(sys.argv[1]))["install"]
torch = next((i["download_info"]["url"] for i in items if i["metadata"]["name"] == "torch"), None)
if torch:
    context = ssl.create_default_context(cafile=os.environ.get("PIP_CERT") or certifi.where())
    total, unknown = 0, 0
    for item in items:
        request = urllib.request.Request(item["download_info"]["url"], method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=20, context=context) as answer:
                total += int(answer.headers["Content-Length"])
        except (OSError, TypeError, ValueError):
            unknown += 1
    build = "a CUDA build" if any(i["metadata"]["name"].startswith("nvidia") for i in items) else "no CUDA"
    size = f"{total / 1e9:.1f} GB to download" + f", and {unknown} files of unknown size" * bool(unknown)
    print(f"   torch: {torch.rsplit('/', 1)[-1].split('#')[0]} ({build}): {size}", file=sys.stderr)
    if build != "no CUDA":
        print("   (without a GPU a tenth of it will do: TORCH_INDEX, see the top of install.sh)", file=sys.stderr)
PY
pip install "${torch[@]}"
vision=(--constraint constraints.txt --no-deps torchvision)
[ -z "${TORCH_INDEX:-}" ] || vision=(--index-url "$TORCH_INDEX" "${vision[@]}")
pip install --constraint constraints.txt pillow numpy
pip install "${vision[@]}"

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
PYTHONWARNINGS=ignore pip install --constraint constraints.txt --editable '.[ffcv,bench,video,timm,segmentation,export,serve,wandb,mlflow,tune,dev]'
"$VENV/bin/python" -m pip check >&2
rm -f "$VENV"/.installed-*
touch "$stamp"
say "ready: $VENV/bin/blurtrain"
