#!/usr/bin/env bash
# The rules of the house that a compiler does not know.
#
#   check.sh SUBJECT ROOT    checks the tree at ROOT
#   check.sh refuse SUBJECT  proves that the check refuses bad examples
#
# Subjects: format, includes, length, headers, scripts. Exit: 0 kept, 1 broken (each breach is named
# on a line), 77 skipped because a tool is missing.
set -euo pipefail

readonly kMaxLines=500 kSkip=77
self=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/$(basename "${BASH_SOURCE[0]}")
broken=0

breach() {
  printf '%s\n' "$*"
  broken=1
}

skip() {
  printf 'skipped: %s\n' "$*"
  exit "$kSkip"
}

# find_files DIRECTORY... -- CONDITION...: the regular files in those directories that exist, into
# the array `files`. A check that finds nothing to look at has proved nothing, and is broken.
find_files() {
  local directories=()
  while [[ $1 != -- ]]; do
    if [[ -d $1 ]]; then directories+=("$1"); fi
    shift
  done
  files=()
  if ((${#directories[@]} > 0)); then
    mapfile -d '' files < <(find "${directories[@]}" -type f \( "${@:2}" \) -print0 | sort -z)
  fi
  if ((${#files[@]} == 0)); then breach "found no file to check"; fi
}

find_sources() { find_files src include mpi tests -- -name '*.cc' -o -name '*.h'; }

# Versions of clang-format disagree with each other, so only one can be the judge.
check_format() {
  local tool file
  tool=$(command -v clang-format-14 || command -v clang-format || true)
  if [[ -z $tool || $("$tool" --version) != *'version 14.'* ]]; then
    skip "clang-format 14 is not installed"
  fi
  find_sources
  for file in "${files[@]}"; do
    if ! "$tool" --style=file --dry-run --Werror "$file" >/dev/null 2>&1; then
      breach "$file: not formatted: run $(basename "$tool") -i on it"
    fi
  done
}

# only PLACES HEADERS: no file but those whose path matches PLACES includes what matches HEADERS
# (extended regular expressions of the whole).
only() {
  local file line
  for file in "${files[@]}"; do
    if [[ $file =~ ^($1)$ ]]; then continue; fi
    while IFS= read -r line; do
      breach "$file:$line: only $1 may include this"
    done < <(grep -nE "^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]($2)[>\"]" "$file")
  done
}

check_includes() {
  find_sources
  only '(tests/)?mpi/.*' 'mpi(-ext)?\.h'
  only '(src|tests)/io/.*' '(hdf5/[a-z/]*)?(hdf5(_hl)?|H5[A-Za-z]*)\.h'
  only '(src|tests)/kernels/.*' '(openblas[a-z-]*/)?(cblas|f77blas|openblas_config)\.h'
  only 'src/lattice/.*' '(fplll/.*|fplll)\.h'
  only '.*_(avx2|avx512|x86)\.(cc|h)' '[a-z0-9]*intrin\.h'
  # A path upwards would go round the layers.
  only 'nobody' '([^">]*/)?\.\./[^">]*'
}

check_length() {
  local file lines
  find_sources
  for file in "${files[@]}"; do
    lines=$(wc -l <"$file")
    if ((lines > kMaxLines)); then
      breach "$file: $lines lines, but a file of over $kMaxLines is two files"
    fi
  done
}

# A source includes its own header first, which proves that the header compiles alone.
check_own_headers() {
  local file header first
  find_files src mpi -- -name '*.cc'
  for file in "${files[@]}"; do
    for header in "${file%.cc}.h" "include/cllm/$(sed 's/^src.//; s/cc$/h/' <<<"$file")"; do
      if [[ ! -f $header ]]; then continue; fi
      first=$(grep -m 1 -E '^[[:space:]]*#[[:space:]]*include' "$file" || true)
      if [[ $first != *[\"/]"${header##*/}"\" ]]; then
        breach "$file: $header is to be what it includes first"
      fi
    done
  done
}

check_headers() {
  local file line
  find_files src include mpi tests -- -name '*.h'
  for file in "${files[@]}"; do
    if ! grep -qx '#pragma once' "$file"; then breach "$file: has no #pragma once"; fi
    while IFS= read -r line; do
      breach "$file:$line: a header may not open a namespace for whoever includes it"
    done < <(grep -nE '^[[:space:]]*using[[:space:]]+namespace[[:space:]]' "$file")
  done
  check_own_headers
}

# Scripts are known by their name, or by their first line where the name says nothing.
check_scripts() {
  local file shellcheck
  shellcheck=$(command -v shellcheck || true)
  if [[ -z $shellcheck ]]; then echo "shellcheck is not installed: only the syntax is checked"; fi
  find_files scripts .ci tests -- -name '*.sh' -o -name '*.sbatch' -o ! -name '*.*'
  for file in "${files[@]}"; do
    if [[ $file != *.* ]] && ! head -n 1 "$file" | grep -qE '^#!.*(/| )(ba)?sh( |$)'; then continue; fi
    if ! bash -n "$file"; then breach "$file: bash can't parse it"; fi
    if [[ -n $shellcheck ]] && ! "$shellcheck" --external-sources "$file"; then
      breach "$file: shellcheck objects"
    fi
  done
}

check() {
  case $1 in
    format) check_format ;;
    includes) check_includes ;;
    length) check_length ;;
    headers) check_headers ;;
    scripts) check_scripts ;;
    *) usage ;;
  esac
}

# must_refuse SUBJECT FILE TEXT: a good tree passes, and with FILE in it is refused, and FILE named.
must_refuse() {
  local tree output status=0
  tree=$(mktemp -d)
  mkdir -p "$tree/$(dirname "$2")" "$tree/src/base" "$tree/scripts"
  printf 'BasedOnStyle: Google\nColumnLimit: 100\n' >"$tree/.clang-format"
  printf '#pragma once\n' >"$tree/src/base/good.h"
  printf '#include "good.h"\n' >"$tree/src/base/good.cc"
  printf '#!/bin/sh\ntrue\n' >"$tree/scripts/good.sh"
  output=$(bash "$self" "$1" "$tree" 2>&1) || status=$?
  if ((status == kSkip)); then
    rm -r "$tree"
    skip "${output#skipped: }"
  fi
  if ((status != 0)); then breach "$1 refuses a good tree: $output"; fi
  status=0
  printf '%b' "$3" >"$tree/$2"
  output=$(bash "$self" "$1" "$tree" 2>&1) || status=$?
  rm -r "$tree"
  if ((status != 1)) || [[ $output != *"$2"* ]]; then
    breach "$1 lets this pass as $2 (exit $status): $3"
  fi
}

refuse() {
  local too_long
  case $1 in
    format) must_refuse format 'src/base/a b.cc' 'int  main( ){return 0 ;}\n' ;;
    includes)
      must_refuse includes src/train/a.cc '#include <mpi.h>\n'
      must_refuse includes include/cllm/io/a.h '#include <hdf5.h>\n'
      must_refuse includes src/model/a.cc '# include <H5Fpublic.h>\n'
      must_refuse includes src/model/a.cc '  #include "cblas.h"\n'
      must_refuse includes include/cllm/kernels/a.h '#include <openblas/cblas.h>\n'
      must_refuse includes mpi/a.cc '#include <cblas.h>\n'
      must_refuse includes include/cllm/lattice/a.h '#include <fplll/fplll.h>\n'
      must_refuse includes src/kernels/a.cc '#include <immintrin.h>\n'
      must_refuse includes 'src/kernels/my avx2.h' '#include <emmintrin.h>\n'
      must_refuse includes src/base/a.cc '#include "../kernels/blas.h"\n'
      ;;
    length)
      printf -v too_long '\\n%.0s' $(seq $((kMaxLines + 1)))
      must_refuse length src/base/a.cc "$too_long"
      must_refuse length 'include/cllm/base/a b.h' "$too_long"
      ;;
    headers)
      must_refuse headers include/cllm/base/a.h 'int f();\n'
      must_refuse headers mpi/a.h '// #pragma once\n'
      must_refuse headers src/base/a.h '#pragma once\nusing namespace std;\n'
      must_refuse headers src/base/good.cc '#include <vector>\n#include "good.h"\n'
      must_refuse headers tests/support/a.h '#pragma once\nnamespace a {\n  using namespace std;\n}\n'
      ;;
    scripts)
      must_refuse scripts scripts/a.sh 'if true; then\n'
      must_refuse scripts .ci/run '#!/usr/bin/env bash\nfor\n'
      must_refuse scripts 'scripts/slurm/a b.sbatch' '#!/bin/bash\nwhile\n'
      if command -v shellcheck >/dev/null; then
        # shellcheck disable=SC2016 # the example is not ours to expand
        must_refuse scripts scripts/a.sh '#!/usr/bin/env bash\nrm -r $1\n'
      fi
      ;;
    *) usage ;;
  esac
}

usage() {
  sed -n '2,/^set/{s/^# \{0,1\}//p}' "$self" >&2
  exit 2
}

if (($# != 2)); then usage; fi
if [[ $1 == refuse ]]; then
  refuse "$2"
else
  cd "$2"
  check "$1"
fi
exit "$broken"
