#!/usr/bin/env bash
# What `cmake --install` puts in place is found through its module file, and needs nothing else.
#
#   install_test.sh BUILD_DIRECTORY VERSION
#
# Exit: 0 held, 1 broken, 77 skipped because there are no environment modules.
set -euo pipefail
build=$1 version=$2

fail() {
  printf 'failed: %s\n' "$*"
  exit 1
}

if ! command -v modulecmd >/dev/null; then
  echo "skipped: environment-modules is not installed"
  exit 77
fi
# What the shell function `module` does, which only interactive shells are sure to have.
module() { eval "$(modulecmd bash "$@")"; }
unset LOADEDMODULES _LMFILES_ MODULEPATH

scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT
prefix="$scratch/first place"
cmake --install "$build" --prefix "$prefix" >/dev/null

# The installation is moved: neither program nor module file may remember where it was.
mv "$prefix" "$scratch/place with spaces"
prefix="$scratch/place with spaces"
module use "$prefix/share/modulefiles"
module load cllm-dist
program=$(command -v cllm-dist) || fail "no cllm-dist on PATH after 'module load cllm-dist'"
[[ $program == "$prefix/bin/cllm-dist" ]] || fail "PATH finds $program"
printed=$(cllm-dist --version)
[[ $printed == *"$version"* ]] || fail "cllm-dist --version says '$printed', not $version"
[[ -x $CLLM_DIST_SLURM/train.sbatch ]] || fail "no job script in '$CLLM_DIST_SLURM'"
if command -v man >/dev/null; then
  page=$(man --where cllm-dist-sample 2>/dev/null || true)
  [[ $page == "$prefix/share/man/"* ]] || fail "man finds '$page'"
fi
[[ -s $prefix/share/bash-completion/completions/cllm-dist ]] || fail "no completion in $prefix/share"
[[ -s $prefix/share/doc/cllm-dist/README.md ]] || fail "no documentation in $prefix/share/doc"
help=$(modulecmd bash help cllm-dist 2>&1)
[[ $help == *"$prefix/share/doc/cllm-dist"* ]] || fail "'module help' does not name the documentation"

cd "$scratch"
cllm-dist --preset tiny --batch 4 --steps 2 --threads 1 --out run >/dev/null || fail "a run fails"
[[ -e run/complete ]] || fail "a run leaves no mark that it is complete"

module unload cllm-dist
if [[ $PATH == *"$prefix"* ]]; then fail "unloading leaves PATH=$PATH"; fi
if module load cllm-dist/0.0.0 2>/dev/null && command -v cllm-dist | grep -q "$prefix"; then
  fail "a version that is not installed can be loaded"
fi
echo "held"
