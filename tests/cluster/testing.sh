# shellcheck shell=bash
# What the tests of this directory share. Sourced, never run.
#
# A test is a script that sources this file, defines a function test_NAME for each case, and ends
# with `run_cases "$@"`: all of them, or those that are named. Each runs in a shell of its own, which
# the first command that fails ends, or `fail`.
set -euo pipefail

cluster_directory=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly cluster_directory
# The program; by hand, that of the usual build.
CLLM_PROGRAM=$(realpath -m "${CLLM_PROGRAM:-$cluster_directory/../../build/release/cllm-dist}")
readonly kSkip=77
# Seconds that anything may take on a busy machine before it counts as a hang.
kPatience=${CLLM_PATIENCE:-120}

skip() {
  printf 'skipped: %s\n' "$*"
  exit "$kSkip"
}

fail() {
  printf 'failed: %s\n' "$*" >&2
  exit 1
}

# need_programs PROGRAM...: skips the test where one is missing.
need_programs() {
  local program
  for program in "$@"; do
    command -v "$program" >/dev/null || skip "$program is not installed (scripts/packages-debian.txt)"
  done
}

# --- A cluster ----------------------------------------------------------------------------------

# cluster_up N [slurm]: N hosts, with Slurm on them if asked for, and a directory $cluster that they
# share, which any user may read. All of it is gone when the test ends, however it does. Skips the
# test where it can't be.
cluster_up() {
  local why
  need_programs ip tc unshare nsenter pgrep mpirun
  if [[ ${2:-} == slurm ]]; then need_programs slurmctld slurmd munged sbatch; fi
  ((EUID == 0)) || skip "only root can make virtual hosts"
  why=$(unshare --fork --pid --mount-proc --mount --net --uts --ipc true 2>&1) ||
    skip "this system lets nobody make namespaces: $why"
  cluster=$(mktemp -d "${TMPDIR:-/tmp}/cllm-cluster.XXXX")
  chmod 755 "$cluster"
  export CLUSTER_STATE=$cluster
  trap cluster_down EXIT
  trap 'exit 143' TERM INT HUP
  # ctest kills a test that takes too long, which then can't clean up.
  # shellcheck disable=SC2016 # the guard's own arguments
  setsid --fork bash -c 'while kill -0 "$1"; do sleep 2; done; "$2/hosts" down; rm -rf "$3"' \
    guard $$ "$cluster_directory" "$cluster" </dev/null >/dev/null 2>&1
  hosts up "$1"
  if [[ ${2:-} == slurm ]]; then slurm up; fi
  # Ranks share few cores with other tests, and root is who starts them.
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
  export OMPI_MCA_mpi_yield_when_idle=1 OMP_WAIT_POLICY=passive PMIX_MCA_psec=native
}

cluster_down() {
  hosts down
  rm -rf "$cluster"
}

hosts() { "$cluster_directory/hosts" "$@"; }
slurm() { "$cluster_directory/slurm" "$@"; }

# on HOST CMD...: runs it there.
on() { hosts exec "$@"; }

# nothing_runs_on HOST: no process at all.
nothing_runs_on() { ! hosts pids "$1"; }

# is_running PROCESS: whether it is there and has not ended.
is_running() { [[ $(ps -o stat= -p "$1") == [^Z]* ]]; }

# mpirun_from HOST ARGUMENTS...: mpirun on HOST, which reaches the others without ssh. TCP only, as
# between real hosts.
mpirun_from() {
  on "$1" mpirun --mca plm_rsh_agent "$cluster_directory/rsh-agent" --mca pml ob1 \
    --mca btl tcp,self --mca btl_tcp_if_include eth0 --mca oob_tcp_if_include eth0 "${@:2}"
}

# --- What is expected ---------------------------------------------------------------------------

# expect_equal WHAT ACTUAL EXPECTED
expect_equal() {
  [[ $2 == "$3" ]] || fail "$1 is '$2' and should be '$3'"
}

# expect_match WHAT TEXT REGEX: extended, anywhere in the text.
expect_match() {
  grep -qE -- "$3" <<<"$2" || fail "$1 has nothing like '$3': $2"
}

# expect_failure CMD...: it has to end with an error; prints what it says.
expect_failure() {
  local said
  if said=$("$@" 2>&1); then fail "succeeded: $*: $said"; fi
  printf '%s\n' "$said"
}

# wait_until WHAT CMD...: until CMD succeeds; a failure of the test where it doesn't.
wait_until() {
  local what=$1 end=$((SECONDS + kPatience))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || fail "not after $kPatience s: $what"
    sleep 0.1
  done
}

# --- Runs of the program ------------------------------------------------------------------------

# digests RUN: "name digest" of all weights and moments in its newest checkpoint.
digests() {
  local found
  found=$("$CLLM_PROGRAM" inspect --tensors "$1" | awk '/^ *\/(params|adam)\// { print $1, $NF }')
  (($(wc -l <<<"$found") > 3)) || fail "$1 has no checkpoint with weights"
  printf '%s\n' "$found"
}

# expect_same_weights RUN REFERENCE: the same bits, all of them.
expect_same_weights() {
  local weights reference
  weights=$(digests "$1")
  reference=$(digests "$2")
  [[ $weights == "$reference" ]] || fail "weights differ: $1 and $2"
}

# has_reached RUN STEP: whether it logged that step.
has_reached() {
  local step
  step=$(tail -n 1 "$1/metrics.jsonl" | grep -oE '"step":[0-9]+' | cut -d: -f2)
  ((step >= $2))
}

# --- Cases --------------------------------------------------------------------------------------

run_cases() {
  local names name start broken=0
  names=("$@")
  if (($# == 0)); then mapfile -t names < <(compgen -A function test_ | sed 's/^test_//'); fi
  for name in "${names[@]}"; do
    declare -F "test_$name" >/dev/null || fail "there is no case '$name'"
    start=$SECONDS
    # In the background, because a shell that is part of a condition goes on after an error.
    ("test_$name") &
    if wait $!; then
      echo "ok: $name ($((SECONDS - start)) s)"
    else
      echo "not ok: $name ($((SECONDS - start)) s)"
      broken=1
    fi
  done
  exit "$broken"
}
