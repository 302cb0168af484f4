#!/usr/bin/env bash
# Ranks on several hosts: each way to add up their gradients gives the bits of one rank.
# shellcheck disable=SC2317 # cases are called by their names
# shellcheck source=tests/cluster/testing.sh
source "$(dirname "${BASH_SOURCE[0]}")/testing.sh"

# A run of seconds, of 13 sequences a step, which none of the splits divides.
options=(--preset tiny --layers 2 --channels 32 --heads 2 --context 32 --batch 13 --micro-batch 1
  --steps 20 --threads 1 --eval-every 0 --eval-sequences 8)

# train NAME HOSTS OPTION...: the run NAME by ranks on HOSTS (n0:2,n1:2); what it says.
train() {
  local ranks
  ranks=$(tr ',' '\n' <<<"$2" | awk -F : '{ sum += $2 } END { print sum }')
  mpirun_from n0 --host "$2" -np "$ranks" --map-by slot "$CLLM_PROGRAM" "${options[@]}" \
    --out "$cluster/$1" "${@:3}" 2>&1
}

# expect_bits_of_one_rank NAME HOSTS OPTION...
expect_bits_of_one_rank() {
  local said
  said=$(train "$@")
  if [[ $said == *'cannot share'* ]]; then fail "$1 warns: $said"; fi
  expect_same_weights "$cluster/$1" "$cluster/alone"
}

test_two_ranks_on_each_of_two_hosts() {
  local method
  for method in ring halving flat mpi; do
    expect_bits_of_one_rank "even-$method" n0:2,n1:2 --allreduce "$method"
  done
}

test_hosts_with_different_numbers_of_ranks() {
  expect_bits_of_one_rank uneven n0:1,n1:3,n2:2 --allreduce ring
}

test_one_rank_on_each_of_three_hosts() { expect_bits_of_one_rank single n0:1,n1:1,n2:1; }

test_a_host_without_shared_memory_is_told_of_once() {
  local said
  on n1 mount -o remount,size=64k /dev/shm
  said=$(train unshared n0:2,n1:2 --allreduce ring)
  on n1 mount -o remount,size=50% /dev/shm
  expect_match "what is said" "$said" '^warning: rank 2 .*: the ranks of host n1 cannot share'
  expect_equal "how often" "$(grep -c 'cannot share' <<<"$said")" 1
  expect_same_weights "$cluster/unshared" "$cluster/alone"
}

# Were float sums the same bits too, the cases above would show nothing.
test_float_sums_have_other_bits() {
  train float-alone n0:1 --reduce fp32 >/dev/null
  train float n0:2,n1:2 --allreduce ring --reduce fp32 >/dev/null
  expect_match "what is said of it" "$(expect_failure expect_same_weights "$cluster/float" \
    "$cluster/float-alone")" 'weights differ'
}

cluster_up 3
"$CLLM_PROGRAM" "${options[@]}" --out "$cluster/alone" >/dev/null
run_cases "$@"
