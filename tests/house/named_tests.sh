#!/usr/bin/env bash
# Fails where a name that stands for tests of a GoogleTest program stands for none.
#
#   named_tests.sh PROGRAM NAME...
set -euo pipefail
program=$1 missing=0
shift
for name in "$@"; do
  tests=$("$program" --gtest_list_tests --gtest_filter="$name")
  if ! grep -q '^  ' <<<"$tests"; then
    echo "$program has no test $name: take the name out of its CMakeLists.txt, or mend it" >&2
    missing=1
  fi
done
exit "$missing"
