#!/usr/bin/env bash
# Makes a Python environment with the newest PyTorch, for compare.sh to measure against.
#
#   setup_peers.sh [--python PATH] [--torch VERSION] DIR
#
# DIR is the environment: a directory outside the project that is new, empty, or an environment
# already, which is then completed. It takes about 4 GB, and more for a moment in TMPDIR.
#
#   --python PATH     the Python to make it of (default: /usr/bin/python3); it needs venv, and
#                     its headers for torch.compile
#   --torch VERSION   that version instead of the newest
#
# PyPI's wheel for x86-64 is the one for CUDA. It computes on the CPU as the other does, but its
# libraries name those of CUDA, so that importing it needs some of them although nothing calls them.
# Only those are installed, beside what PyTorch needs of Python: no Triton, no cuSOLVER.
set -euo pipefail

self=${BASH_SOURCE[0]}
project=$(cd "$(dirname "$self")/../.." && pwd -P)
python=/usr/bin/python3
version=

usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$self"; }

die() {
  printf 'setup_peers.sh: %s\n' "$*" >&2
  exit 1
}

directory=
while (($# > 0)); do
  case $1 in
    -h | --help)
      usage
      exit
      ;;
    --python | --torch)
      if (($# < 2)); then die "$1 needs a value; -h tells more"; fi
      if [[ $1 == --python ]]; then python=$2; else version=$2; fi
      shift
      ;;
    -*) die "no such option: $1; -h tells more" ;;
    *)
      if [[ -n $directory ]]; then die "one directory, please: not $directory and $1"; fi
      directory=$1
      ;;
  esac
  shift
done
if [[ -z $directory ]]; then
  usage >&2
  exit 2
fi

directory=$(realpath --canonicalize-missing -- "$directory")
case $directory/ in
  "$project"/*) die "$directory is inside the project: choose a directory outside $project" ;;
esac
if [[ -e $directory && ! -d $directory ]]; then die "$directory is not a directory"; fi
if [[ -d $directory && ! -e $directory/pyvenv.cfg && -n $(ls -A "$directory") ]]; then
  die "$directory has files in it and is no Python environment: choose a new directory"
fi
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
  die "$python is missing or lacks the module venv (Debian: python3-venv); --python names another"
fi

"$python" -m venv "$directory"
here=$directory/bin/python

pip_install() {
  if (($# > 0)); then
    printf 'installing %s\n' "$*"
    # What pip says of requirements that are left out is known, and meant.
    "$here" -m pip --disable-pip-version-check install --quiet --no-cache-dir \
      --no-warn-conflicts "$@"
  fi
}

pip_install --no-deps --upgrade "torch${version:+==$version}"

# requirements pure: those that have nothing to do with GPUs, one a line.
# requirements missing: those for libraries that torch's own name and the environment lacks. One
#   that the system has does not count: of another version of CUDA, it may lack functions.
# requirements cuda: all of the others but Triton.
requirements() {
  "$here" - "$1" <<'PYTHON'
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement

site = Path(importlib.metadata.distribution("torch").locate_file("")).resolve()
required = [Requirement(text) for text in importlib.metadata.requires("torch") or []]
required = [r for r in required if r.marker is None or r.marker.evaluate({"extra": ""})]


def of_gpus(requirement):
    return re.match(r"nvidia-|cuda-|triton|pytorch-triton", requirement.name) is not None


def text(requirement, extra=None):
    extras = f"[{extra}]" if extra else ""
    return f"{requirement.name}{extras}{requirement.specifier}"


def missing_libraries():
    """Names without "lib" and ".so.N", in lower case."""
    names = set()
    for library in (site / "torch/lib").glob("libtorch_*.so"):
        # Loaded only when something on a GPU is asked for.
        if "linalg" in library.name:
            continue
        output = subprocess.run(["ldd", library], capture_output=True, text=True).stdout
        for name, path in re.findall(r"^\s*lib(\S+?)\.so\S* => (not found|\S+)", output, re.M):
            outside = path == "not found" or not Path(path).resolve().is_relative_to(site)
            if outside and re.match(r"cu|nv|nccl", name, re.I):
                names.add(name.lower())
    return names


by_key = {}
for requirement in filter(of_gpus, required):
    if requirement.extras:
        by_key |= {extra: text(requirement, extra) for extra in requirement.extras}
    else:
        key = re.sub(r"^nvidia-|-cu\d+$", "", requirement.name)
        key = {"cuda-runtime": "cudart"}.get(key, key.removeprefix("cuda-"))
        by_key[key] = text(requirement)

if sys.argv[1] == "pure":
    lines = {text(r) for r in required if not of_gpus(r)} | {"numpy"}
elif sys.argv[1] == "missing":
    lines = set()
    for library in missing_libraries():
        keys = [key for key in by_key if library.startswith(key)]
        if keys:
            lines.add(by_key[max(keys, key=len)])
else:
    lines = {line for key, line in by_key.items() if "triton" not in key}
print(*sorted(lines), sep="\n")
PYTHON
}

# Into the array `lines`, without an empty line where there is nothing.
read_requirements() {
  local output
  output=$(requirements "$1")
  lines=()
  if [[ -n $output ]]; then mapfile -t lines <<<"$output"; fi
}

imports() { (cd / && "$here" -c 'import torch') 2>/dev/null; }

read_requirements pure
pip_install "${lines[@]}"
# A library that was installed may name further ones. A CPU wheel needs none of this.
for _ in 1 2 3; do
  read_requirements missing
  if ((${#lines[@]} == 0)); then break; fi
  pip_install "${lines[@]}"
done
if ! imports; then
  echo 'PyTorch cannot be imported so: installing everything that it requires of CUDA'
  read_requirements cuda
  pip_install "${lines[@]}"
fi

cd /
"$here" - <<'PYTHON'
import torch

print("PyTorch", torch.__version__)
try:
    double = torch.compile(lambda x: torch.nn.functional.gelu(x) * 2)
    double(torch.ones(1000))
    print("torch.compile works on the CPU")
except Exception as error:  # whatever it is, the rest can be measured
    print(f"torch.compile does not work: {type(error).__name__}: {str(error)[:500]}")
PYTHON
printf 'In %s; now: tests/bench/compare.sh --venv %s\n' "$directory" "$directory"
