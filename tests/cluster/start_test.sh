#!/usr/bin/env bash
# Mistakes that are made where there are several hosts: each is found and said before a run begins.
# shellcheck disable=SC2317 # cases are called by their names
# shellcheck source=tests/cluster/testing.sh
source "$(dirname "${BASH_SOURCE[0]}")/testing.sh"

readonly kSentence='^cllm-dist: '
options=(--preset tiny --batch 4 --threads 1 --eval-sequences 8 --steps 5)

# start NAME: a copy of the program, which a host may have another one in place of.
start() {
  cd "$cluster"
  run=runs/$1
  mkdir -p runs
  cp "$CLLM_PROGRAM" program
}

# on_both ARGUMENT...: the program as one job of two hosts.
on_both() { mpirun_from n0 --host n0,n1 -np 2 ./program "$@"; }

# Slurm's steps of two tasks, which are to be one job.
by_srun() { slurm exec srun --nodes=2 --ntasks=2 "$@"; }

expect_once() {
  expect_match "what is said" "$1" "$2"
  expect_equal "the number of sentences" "$(grep -cE "$kSentence" <<<"$1")" 1
}

test_the_doctor_sees_both_hosts() {
  local said
  start doctor
  said=$(on_both doctor --preset tiny --threads 1)
  expect_match "the table" "$said" ' n0 and n1 +1 +1 '
  expect_match "products" "$said" ' n0: .* GFLOP/s'
  expect_match "products" "$said" ' n1: .* GFLOP/s'
  expect_match "sums" "$said" ' 4 KiB .* GB/s'
  said=$(by_srun --mpi=pmix ./program doctor --preset tiny --threads 1)
  expect_match "the table" "$said" ' n0 and n1 +1 +1 '
}

# A sum of the gradient (26 MB) takes over two seconds at this rate, and the computation less.
test_the_doctor_sees_a_slow_network() {
  local said
  start network
  hosts shape 100mbit
  said=$(on_both doctor --preset tiny --channels 512 --layers 2 --batch 4 --threads 1)
  hosts shape off
  expect_match "what is to be mended" "$said" 'computation waits for sums of gradients ([3-9][0-9]|100) % of the time'
  if grep -qE ' 32 MiB ' <<<"$said"; then fail "it measured a sum that takes seconds"; fi
}

test_another_build_on_one_host_is_refused() {
  start build
  { cat program; echo; } >other
  chmod +x other
  on n1 mount --bind other program
  expect_once "$(expect_failure on_both "${options[@]}" --out "$run")" \
    'another build of cllm-dist .* on rank 1 \(host n1\) than on rank 0 \(host n0\)'
  on n1 umount program
  on_both "${options[@]}" --out "$run" >/dev/null
}

test_a_directory_of_one_host_is_refused() {
  start directory
  mkdir -p apart
  on n1 mount -t tmpfs none apart
  expect_once "$(expect_failure on_both "${options[@]}" --out apart/run)" \
    '--out apart/run: rank 1 \(host n1\) does not see what rank 0 \(host n0\) writes there'
  expect_match "the doctor" "$(expect_failure on_both doctor --preset tiny --out apart/run)" \
    '1\. a run would be refused: --out apart/run: rank 1 \(host n1\)'
  expect_equal "what is left" "$(ls apart)" ""
  on n1 umount apart
}

test_ranks_that_are_not_one_job_are_refused() {
  start worlds
  expect_once "$(expect_failure by_srun --mpi=none ./program "${options[@]}" --out "$run")" \
    '2 ranks were started \(SLURM_STEP_NUM_TASKS=2\), and each finds itself alone.*srun --mpi=pmix'
  # Where the MPI library can't speak pmi2, it says so itself.
  expect_failure by_srun --mpi=pmi2 ./program "${options[@]}" --out "$run" >/dev/null
  if [[ -e $run ]]; then fail "there is a run of ranks that don't know each other"; fi
}

test_one_rank_runs_anywhere_in_a_job_of_two_nodes() {
  start one
  slurm exec salloc --nodes=2 --quiet ./program "${options[@]}" --out "$run-allocation" >/dev/null
  slurm exec srun --ntasks=1 --mpi=none ./program "${options[@]}" --out "$run-step" >/dev/null
  expect_same_weights "$run-allocation" "$run-step"
}

cluster_up 2 slurm
run_cases "$@"
