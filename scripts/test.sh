#!/usr/bin/env bash
# Installs what is missing, builds, and runs the tests.
#
#   scripts/test.sh [PRESET] [CTEST OPTION]...
#
# PRESET is release (default), debug, clang, mpich or clang-mpich (release with another compiler or
# MPI), which have all tests, or asan or tsan, the unit tests under sanitizers. What follows goes to
# ctest: scripts/test.sh release -R checkpoint
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
exec </dev/null # nothing here reads the terminal, and mpirun must not

preset=${1:-release} sections=(build test)
case $preset in
  release | debug | tsan) shift $(($# > 0)) ;;
  asan | clang | mpich | clang-mpich)
    if [[ $preset != mpich ]]; then sections+=(clang); fi
    if [[ $preset == *mpich* ]]; then sections+=(mpich); fi
    shift
    ;;
  -h | --help)
    sed -n '2,/^set/{s/^# \{0,1\}//p}' "$0"
    exit
    ;;
  -*) preset=release ;;
  *) die "unknown preset '$preset': use release, debug, clang, mpich, clang-mpich, asan or tsan" ;;
esac

install_packages "${sections[@]}"
build "$preset" -D CLLM_TESTS=ON -D CLLM_WERROR=ON

# Several tests share the cores, and a test may have more ranks or threads than there are cores: let
# ranks share them, bind none to a core, and let nobody wait by spinning.
allow_mpi_as_root
export OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none
export OMPI_MCA_mpi_yield_when_idle=1
export OMP_WAIT_POLICY=passive
# Processes of one host need no munge; where it is installed and stopped, each waits for it 2.5 s.
export PMIX_MCA_psec=native
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_stack_use_after_return=1}
suppressions="suppressions='$project_root/scripts/lsan.supp':print_suppressions=0"
export LSAN_OPTIONS=${LSAN_OPTIONS:-$suppressions}
openmp="suppressions='$project_root/scripts/tsan.supp'"
export TSAN_OPTIONS=${TSAN_OPTIONS:-$openmp}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}

say "Testing build/$preset"
cd "$project_root"
# More than there are processors, because many tests wait: for Slurm, for deadlines, for each other.
ctest --preset "$preset" --parallel "$(($(nproc) + 3))" "$@"
