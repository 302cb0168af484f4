#!/usr/bin/env bash
# What becomes of a job on two hosts when something happens to one of them: words, an exit code, no
# process left, and how long that took. docs/faults.md has the table.
#
# shellcheck disable=SC2317 # cases are called by their names
#
# The disk of a case has to be there before the hosts are, so that all of them see it.
if ((EUID == 0)) && [[ ! -v CLLM_SMALL_DISK ]] && unshare --mount true 2>/dev/null; then
  CLLM_SMALL_DISK=$(mktemp -d)
  export CLLM_SMALL_DISK
  # shellcheck disable=SC2016 # the inner shell expands it
  unshare --mount bash -c 'mount -t tmpfs -o size=2m none "$CLLM_SMALL_DISK" && exec bash "$@"' \
    bash "$0" "$@" && status=0 || status=$?
  rmdir "$CLLM_SMALL_DISK"
  exit "$status"
fi
# shellcheck source=tests/cluster/testing.sh
source "$(dirname "${BASH_SOURCE[0]}")/testing.sh"

readonly kWatchdog=(--watchdog 15s)
readonly kEndless=10000000
silence_of_rank_1='rank 0 \(host n0\), in .* at step [0-9]+: nothing was heard of rank 1 \(host n1\) for'

# What job scripts set, so that a host that is gone is noticed.
keepalive() {
  export OMPI_MCA_oob_tcp_keepalive_time=3 OMPI_MCA_oob_tcp_keepalive_intvl=2
  export OMPI_MCA_oob_tcp_keepalive_probes=3
}

# start RUN STEPS [-0 SETTING | -1 SETTING]... [OPTION]...: a job in the background, with rank 0 on n0
# and rank 1 on n1. A SETTING is for the environment of that rank alone.
start() {
  local zero=() one=() options=(--preset tiny --batch 4 --micro-batch 1 --threads 1)
  run=$1
  options+=(--eval-every 0 --eval-sequences 8 --out "$run" --steps "$2")
  shift 2
  while [[ ${1:-} == -[01] ]]; do
    if [[ $1 == -0 ]]; then zero+=("$2"); else one+=("$2"); fi
    shift 2
  done
  options+=("$@")
  mpirun_from n0 --host n0 -np 1 env "${zero[@]}" "$CLLM_PROGRAM" "${options[@]}" : \
    --host n1 -np 1 env "${one[@]}" "$CLLM_PROGRAM" "${options[@]}" >"$run.log" 2>&1 &
  job=$!
}

is_over() { ! is_running "$job"; }

# start_training RUN ARGUMENT...: an endless job that has taken some steps.
start_training() {
  start "$1" "$kEndless" "${@:2}"
  wait_until "steps of $1" has_reached "$1" 20
  began=$SECONDS
}

# The cable of n1, which is whole again when the case ends.
pull_cable() {
  trap plug_in EXIT
  hosts link n1 down
}

plug_in() {
  hosts link n1 up
  wait_until "n1 reaches n0 again" reaches_n0
}

# Nobody listens there, and its kernel says so.
reaches_n0() { [[ $(on n1 timeout 5 bash -c 'exec 3<>/dev/tcp/n0/9' 2>&1) == *refused* ]]; }

# end CODE REGEX: the job ends so and says that, and no rank is left.
end() {
  local code=0
  wait_until "the end of the job" is_over
  local seconds=$((SECONDS - began))
  wait "$job" || code=$?
  echo "  exit code $code after $seconds s"
  grep -E '^(cllm-dist: |note)|^mpirun noticed|lost communication|Remote daemon' "$run.log" | sed 's/^/  /' || true
  expect_match "what is said" "$(<"$run.log")" "$2"
  expect_match "the exit code" "$code" "^($1)\$"
  no_rank_is_left
}

no_rank_is_left() {
  local host
  for host in n0 n1; do
    wait_until "no rank runs on $host" no_rank_on "$host"
  done
}

no_rank_on() { ! hosts pids "$1" -x cllm-dist; }

# The launcher's own helpers end with the job where the network is there.
nothing_is_left() {
  wait_until "nothing runs on n0" nothing_runs_on n0
  wait_until "nothing runs on n1" nothing_runs_on n1
}

test_rank_killed() {
  start_training "$cluster/killed"
  hosts kill n1 -KILL -x cllm-dist
  end 137 'process rank 1 .*on node n1 exited on signal 9'
  nothing_is_left
}

test_launcher_killed() {
  start_training "$cluster/launcher"
  hosts kill n0 -KILL -x mpirun
  end 137 ''
  nothing_is_left
}

test_link_down_for_seconds() {
  local step
  keepalive
  start_training "$cluster/seconds" "${kWatchdog[@]}"
  pull_cable
  sleep 3
  hosts link n1 up
  step=$(wc -l <"$run/metrics.jsonl")
  wait_until "more steps" has_reached "$run" $((step + 50))
  touch "$run/STOP"
  end 75 'stopped after step'
  nothing_is_left
}

test_link_down() {
  keepalive
  start_training "$cluster/link"
  pull_cable
  end 205 'lost communication with a remote daemon'
  expect_match "which host" "$(<"$run.log")" 'on node n1'
  nothing_is_left
}

# Without the keep-alive mpirun and its helper on the other host wait until TCP gives up. The ranks
# don't.
test_link_down_without_keepalive() {
  start_training "$cluster/silent" "${kWatchdog[@]}"
  pull_cable
  wait_until "rank 0 speaks" grep -E "^cllm-dist: $silence_of_rank_1" "$run.log"
  echo "  said after $((SECONDS - began)) s"
  no_rank_is_left
  echo "  ranks ended after $((SECONDS - began)) s"
  hosts kill n0 -KILL -x mpirun || true
  hosts kill n1 -KILL -x orted || true
  wait "$job" || true
}

test_rank_stopped() {
  start_training "$cluster/stopped" "${kWatchdog[@]}"
  hosts kill n1 -STOP -x cllm-dist
  end 76 "^cllm-dist: $silence_of_rank_1"
  nothing_is_left
}

test_error_of_one_rank() {
  start "$cluster/error" "$kEndless" -1 CLLM_FAIL_POINT=step.begins:20:error
  began=$SECONDS
  end 1 '^cllm-dist: rank 1 \(host n1\): the fail point step.begins was reached'
  nothing_is_left
}

test_out_of_memory() {
  start "$cluster/memory" "$kEndless" -1 CLLM_FAIL_POINT=micro-batch.begins:20:memory
  began=$SECONDS
  end 1 '^cllm-dist: rank 1 \(host n1\): out of memory; use a smaller model'
  nothing_is_left
}

# The checkpoint has 1.5 MB: the first finds room, and the next does not.
test_full_disk() {
  start "$CLLM_SMALL_DISK/run" 200 --checkpoint-every 100
  began=$SECONDS
  end 1 '^cllm-dist: .*step-00000200\.h5.*No space left on device'
  nothing_is_left
  expect_equal "what is there" "$(cd "$run" && echo step-*)" "step-00000100.h5"
}

test_clocks_differ() {
  local offset
  start "$cluster/right" 100
  began=$SECONDS
  end 0 'done: 100 steps'
  for offset in 90000 -90000; do
    start "$cluster/wrong$offset" 100 -1 "LD_PRELOAD=$CLLM_OTHER_CLOCK" \
      -1 "CLLM_CLOCK_OFFSET=$offset" --max-time 1h --checkpoint-every 1h
    began=$SECONDS
    end 0 'done: 100 steps'
    expect_same_weights "$run" "$cluster/right"
    nothing_is_left
  done
}

cluster_up 2
run_cases "$@"
