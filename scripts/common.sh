# shellcheck shell=bash
# What the scripts of this directory share. Sourced, never run.

project_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() {
  if [[ -t 1 ]]; then printf '\n\033[1m==> %s\033[0m\n' "$*"; else printf '\n==> %s\n' "$*"; fi
}

die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# packages_of SECTION: its lines of packages-debian.txt, "name # reason".
packages_of() {
  local section='' line
  while IFS= read -r line; do
    case $line in
      '' | '#'*) ;;
      '['*']') section=${line:1:-1} ;;
      *) if [[ $section == "$1" ]]; then printf '%s\n' "$line"; fi ;;
    esac
  done <"$project_root/scripts/packages-debian.txt"
}

is_installed() {
  dpkg-query --show --showformat='${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed
}

explain_needs() {
  cat <<'NEEDS'
cllm-dist needs these packages or modules, with their development files:
  a C++20 compiler with OpenMP (GCC 12 or newer), CMake 3.25 or newer, make or Ninja, pkg-config,
  MPI (Open MPI 4.1), OpenBLAS built with OpenMP, HDF5 (serial, C API), CLI11, toml++, fmt,
  nlohmann-json, xxHash, SentencePiece, utf8proc, zlib, zstd; for the tests also GoogleTest with GoogleMock.
Going on: CMake stops and names the first one that it can't find.
NEEDS
}

apt_get() {
  local command=(env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@")
  if ((EUID != 0)); then command=(sudo "${command[@]}"); fi
  "${command[@]}"
}

# install_packages SECTION...: installs what is missing of these sections, and calls apt only then.
# Where it can't, it says what is needed and leaves it to CMake to find it.
install_packages() {
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    say "No apt on this system: nothing is installed"
    explain_needs
    return
  fi
  local section line package missing=() reasons=()
  for section in "$@"; do
    while IFS= read -r line; do
      package=${line%%[ #]*}
      if is_installed "$package"; then continue; fi
      missing+=("$package")
      reasons+=("$line")
    done < <(packages_of "$section")
  done
  if ((${#missing[@]} == 0)); then
    say "All packages that are needed are installed"
    return
  fi
  say "Missing packages:"
  printf '  %s\n' "${reasons[@]}"
  if ((EUID != 0)) && ! command -v sudo >/dev/null; then
    say "Not root, and no sudo: nothing is installed"
    explain_needs
    return
  fi
  say "Installing them with apt-get"
  local install=(install -y --no-install-recommends "${missing[@]}")
  # A fresh system has no package index, and an old index names packages that are gone.
  if apt-get --simulate "${install[@]}" >/dev/null 2>&1 && apt_get "${install[@]}"; then return; fi
  if apt_get update && apt_get "${install[@]}"; then return; fi
  say "apt-get could not install them"
  explain_needs
}

# build PRESET [CMAKE OPTION]...: configures and builds build/PRESET.
build() {
  local preset=$1 jobs
  jobs=$(nproc)
  shift
  if ! command -v cmake >/dev/null; then die "cmake is missing: install CMake 3.25 or newer"; fi
  # Only a new build directory takes its generator from here; an old one keeps its own.
  if command -v ninja >/dev/null; then export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja}; fi
  say "Configuring build/$preset"
  (cd "$project_root" && cmake --preset "$preset" "$@")
  say "Building build/$preset, $jobs at a time"
  (cd "$project_root" && cmake --build --preset "$preset" --parallel "$jobs")
}

# Open MPI refuses to run as root until it is told twice. Containers and CI are root.
allow_mpi_as_root() {
  if ((EUID == 0)); then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  fi
}
