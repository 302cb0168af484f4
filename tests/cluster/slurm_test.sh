#!/usr/bin/env bash
# The job scripts on three hosts with a real Slurm. Whatever befalls a run, it ends with the weights
# of the run that nobody disturbed.
# shellcheck disable=SC2317 # cases are called by their names
# shellcheck source=tests/cluster/testing.sh
source "$(dirname "${BASH_SOURCE[0]}")/testing.sh"
scripts=$(cd "$cluster_directory/../../scripts/slurm" && pwd)

readonly kSteps=120
# Where a case disturbs the run.
readonly kMiddle=20
options=(--preset tiny --batch 8 --micro-batch 1 --steps "$kSteps" --checkpoint-every 10)

# begin NAME [SEQUENCES]: an idle cluster, and a run of that name which is slow, so that there is time
# to disturb it: evaluations, of so many sequences after each step, don't change weights.
begin() {
  slurm exec scancel --user root --user nobody
  wait_until "the nodes are idle" nodes_are idle
  run=$cluster/runs/$1
  pace=$run.toml
  mkdir -p "$cluster/runs" "$cluster/logs"
  cd "$cluster"
  printf 'eval-every = 1\neval-sequences = "%s"\n' "${2:-1000}" >"$pace"
}

nodes_are() { [[ $(slurm exec sinfo -h -o %T | sort -u) == "$1" ]]; }

# hasten: from its next start the run is fast.
hasten() { printf 'eval-every = 100\neval-sequences = "8"\n' >"$pace"; }

# submit [SBATCH OPTION]...: the run as a job; sets `job` and `log`.
submit() {
  job=$(slurm exec sbatch --parsable --output="$cluster/logs/%j.log" "$@" \
    "$scripts/train.sbatch" --out "$run" "${options[@]}" --config "$pace")
  log=$cluster/logs/$job.log
}

# in_middle [RUN]: waits until it has some of its steps behind it.
in_middle() { wait_until "${1:-$run} is in the middle of its work" has_reached "${1:-$run}" "$kMiddle"; }

in_queue() { [[ -n $(slurm exec squeue -h -j "$1") ]]; }
not_in_queue() { ! in_queue "$1"; }

# ends_as JOB STATE: waits for the job's end.
ends_as() {
  wait_until "job $1 has ended" not_in_queue "$1"
  expect_match "job $1" "$(slurm exec scontrol show job "$1")" "JobState=$2 "
}

# finishes [JOB]: waits for its end, which is that of the run, with the weights it should have.
finishes() {
  ends_as "${1:-$job}" COMPLETED
  expect_match "the log" "$(<"$log")" "complete: $kSteps steps"
  expect_same_weights "$run" "$cluster/reference"
}

# was_saved REASON: in the log.
was_saved() { grep -q "stopped after step .*, saved: $1" "$log"; }

test_finishes_under_srun() {
  begin srun
  hasten
  submit --nodes=3
  finishes
  expect_match "the log" "$(<"$log")" '3 ranks on 3 nodes \(n\[0-2\]\) by srun'
}

test_finishes_under_mpirun() {
  begin mpirun
  hasten
  CLLM_LAUNCHER=mpirun submit --nodes=2 --ntasks-per-node=2
  finishes
  expect_match "the log" "$(<"$log")" '4 ranks on 2 nodes \(n\[0-1\]\) by mpirun'
}

test_finishes_for_an_ordinary_user() {
  begin user
  hasten
  # As edited by its user.
  sed "s|^# export CLLM_DIST=.*|export CLLM_DIST='$CLLM_PROGRAM' CLLM_SCRIPTS='$scripts'|" \
    "$scripts/train.sbatch" >"$run.sbatch"
  chown nobody "$cluster/runs" "$cluster/logs"
  job=$(slurm exec runuser -u nobody -- sbatch --parsable --output="$cluster/logs/%j.log" --export=NONE \
    --nodes=2 "$run.sbatch" --out "$run" "${options[@]}" --config "$pace")
  log=$cluster/logs/$job.log
  finishes
  expect_equal "whose it is" "$(stat -c %U "$run/complete")" nobody
}

# By the program's clock, which asks Slurm; and by the signal to the script, which comes earlier,
# because Slurm looks only now and then.
test_the_time_limit_saves_and_requeues() {
  begin clock 6000 # minutes, also on a fast machine; the clock stops it after 40 s
  submit --nodes=1 --time=1 --signal=B:CONT@1
  local clock=("$run" "$job" "$log")
  run=$cluster/runs/signal
  submit --nodes=1 --time=2 --signal=B:USR1@80
  wait_until "the signal stops the run" was_saved "a signal asked for it"
  log=${clock[2]}
  wait_until "the clock stops the run" was_saved "the time is up"
  hasten
  log=$cluster/logs/$job.log
  finishes
  run=${clock[0]} job=${clock[1]} log=${clock[2]}
  finishes
}

test_preemption_saves_and_requeues() { comes_back_after_preemption main; }

# PreemptMode=CANCEL: Slurm forgets the job.
test_preemption_that_cancels_saves_and_requeues() { comes_back_after_preemption scavenger; }

# comes_back_after_preemption PARTITION
comes_back_after_preemption() {
  begin "preempted-$1"
  submit --nodes=2 --partition="$1"
  in_middle
  hasten
  local urgent
  urgent=$(slurm exec sbatch --parsable --output=/dev/null --partition=urgent --nodes=3 --exclusive \
    --wrap='sleep 1')
  ends_as "$urgent" COMPLETED
  finishes
  was_saved "a signal asked for it" || fail "it was not saved: $(<"$log")"
}

test_requeueing_from_outside_saves() {
  begin requeued
  submit --nodes=2
  in_middle
  hasten
  slurm exec scontrol requeue "$job"
  finishes
  was_saved "a signal asked for it" || fail "it was not saved: $(<"$log")"
}

test_cancelled_jobs_are_saved_and_stay_so() {
  begin cancelled
  submit --nodes=2
  in_middle
  slurm exec scancel "$job"
  ends_as "$job" CANCELLED
  was_saved "a signal asked for it" || fail "it was not saved: $(<"$log")"
  hasten
  submit --nodes=1
  finishes
}

# The host with the batch script and rank 0; what goes on has one host less.
test_a_crash_of_the_first_host_restarts_on_another() {
  begin crash
  submit --nodes=1-2 --exclude=n0
  in_middle
  hasten
  hosts crash n1
  finishes
  expect_match "the log" "$(<"$log")" '2 ranks on 2 nodes \(n\[1-2\]\)'
  expect_match "the log" "$(<"$log")" '1 ranks on 1 nodes \(n2\)'
  boot_again n1
}

test_a_crash_of_another_host_restarts_on_others() {
  begin crash-mpirun
  CLLM_LAUNCHER=mpirun submit --nodes=2
  in_middle
  hasten
  hosts crash n1
  finishes
  expect_match "the log" "$(<"$log")" '2 ranks on 2 nodes \(n\[0,2\]\)'
  boot_again n1
}

boot_again() {
  hosts boot "$1"
  slurm node "$1"
}

# Of an array only the task that stopped is requeued, also the one whose number is the array's.
test_sweeps() {
  begin sweep
  hasten
  local seed task
  for seed in 1 2 3 4; do echo "--seed $seed"; done >"$run.table"
  # The last one is slow.
  echo "--seed 5 --eval-every 1 --eval-sequences 64" >>"$run.table"
  sed -i 4d "$run.table"
  job=$(slurm exec sbatch --parsable --output="$cluster/logs/%A_%a.log" --array=1-4 \
    "$scripts/sweep.sbatch" "$run.table" "$run" "${options[@]}")
  in_middle "$run/4"
  touch "$run/4/STOP"
  log=$cluster/logs/${job}_4.log
  wait_until "the run stops" was_saved "$run/4/STOP asked for it"
  ends_as "$job" COMPLETED
  for task in 1 2 3 4; do
    seed=$task
    if ((task == 4)); then seed=5; fi
    "$CLLM_PROGRAM" "${options[@]}" --seed "$seed" --eval-sequences 8 --out "$run/alone-$task" >/dev/null
    expect_same_weights "$run/$task" "$run/alone-$task"
    expect_equal "starts of task $task" "$(grep -c ' by srun$' "$cluster/logs/${job}_$task.log")" \
      $((1 + (task == 4)))
  done
}

test_chains() {
  begin chain
  local jobs
  mapfile -t jobs < <(slurm exec "$scripts/chain.sh" 3 --output="$cluster/logs/%j.log" --nodes=2 \
    "$scripts/train.sbatch" --out "$run" "${options[@]}" --config "$pace")
  in_middle
  hasten
  touch "$run/STOP"
  ends_as "${jobs[0]}" FAILED
  log=$cluster/logs/${jobs[1]}.log
  finishes "${jobs[1]}"
  log=$cluster/logs/${jobs[2]}.log
  finishes "${jobs[2]}"
  expect_match "the last one's log" "$(<"$log")" "nothing to do"
}

test_a_job_that_keeps_failing_stops() {
  begin failing
  options+=(--data "$cluster/missing.txt")
  CLLM_TRIES=2 submit --nodes=2
  ends_as "$job" FAILED
  expect_match "the log" "$(<"$log")" 'start 1 of 2 led to no new checkpoint'
  expect_match "the log" "$(<"$log")" \
    "gave up after 2 starts .* exit code 1: cllm-dist: .*$cluster/missing.txt"
  # A task of an array counts its starts too, also the one whose number is the array's.
  echo "--seed 1" >"$run.table"
  job=$(CLLM_TRIES=2 slurm exec sbatch --parsable --output="$cluster/logs/%j.log" --array=1 \
    "$scripts/sweep.sbatch" "$run.table" "$run" "${options[@]}")
  ends_as "$job" FAILED
  expect_match "the array's log" "$(<"$cluster/logs/$job.log")" 'gave up after 2 starts'
  expect_equal "the array's starts" "$(grep -c ' by srun$' "$cluster/logs/$job.log")" 2
}

test_other_weights_are_told_apart() {
  begin other
  "$CLLM_PROGRAM" "${options[@]}" --config "$pace" --seed 2 --steps 5 --out "$run" >/dev/null
  expect_match "what is said" "$(expect_failure expect_same_weights "$run" "$cluster/reference")" \
    "failed: weights differ"
}

cluster_up 3 slurm
export CLLM_DIST=$CLLM_PROGRAM
"$CLLM_PROGRAM" "${options[@]}" --eval-sequences 8 --out "$cluster/reference" >/dev/null
run_cases "$@"
