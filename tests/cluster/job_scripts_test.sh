#!/usr/bin/env bash
# The job scripts with stand-ins for Slurm, MPI and the program, which do as each case says. No root.
# shellcheck disable=SC2016,SC2317 # stand-ins expand what is quoted; cases are called by their names
# shellcheck source=tests/cluster/testing.sh
source "$(dirname "${BASH_SOURCE[0]}")/testing.sh"
scripts=$(cd "$cluster_directory/../../scripts/slurm" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# stand_in NAME SCRIPT: a program of that name, first in PATH.
stand_in() {
  printf '#!/usr/bin/env bash\n%s\n' "$2" >"$case/bin/$1"
  chmod +x "$case/bin/$1"
}

# begin: a job of two nodes with 16 processors each (two for each core, in two NUMA domains) on a
# Slurm with PMIx; whose program is complete at once.
begin() {
  case=$(mktemp -d "$scratch/a case.XXXX")
  mkdir "$case/bin"
  cd "$case"
  export PATH=$case/bin:/usr/bin:/bin
  unset CLLM_DIST CLLM_LAUNCHER CLLM_TRIES CLLM_REQUEUE CLLM_SCRIPTS SLURM_NTASKS
  unset SLURM_NTASKS_PER_NODE SLURM_CPUS_PER_TASK SLURM_ARRAY_JOB_ID
  unset SLURM_ARRAY_TASK_ID
  export SLURM_JOB_ID=11 SLURM_JOB_NUM_NODES=2 SLURM_JOB_NODELIST='n[1-2]' SLURM_CPUS_ON_NODE=16
  stand_in lscpu '
    echo "# comment"
    for cpu in {0..15}; do
      core=$((cpu % 8)) node=$((cpu % 8 / 4))
      case $1 in
        --parse=CPU) echo $cpu ;;
        --parse=NODE) echo $node ;;
        --parse=NODE,SOCKET,CORE) echo $node,$node,$core ;;
      esac
    done'
  stand_in srun '
    if [[ $* == --mpi=list ]]; then echo "MPI plugin types are... pmix pmi2" >&2; exit; fi
    echo "srun $*" >>called; while [[ $1 == -* ]]; do shift; done; "$@"'
  stand_in mpirun 'echo "mpirun $*" >>called; while [[ $1 != */cllm-dist ]]; do shift; done; "$@"'
  stand_in scontrol 'echo "scontrol $*" >>called'
  stand_in squeue 'test "$*" = "-h -j 11 -o %T %r %L" && echo "RUNNING None 1:10:00"'
  stand_in cllm-dist 'printf "cllm-dist"; printf " [%s]" "$@"; echo; echo "9 steps" >run/complete'
}

# job [NAME=VALUE]... -- OPTION...: runs them as a job's script does; sets `said` and `status`.
job() {
  local environment=()
  while [[ $1 != -- ]]; do
    environment+=("$1")
    shift
  done
  status=0
  said=$(env "${environment[@]}" bash -c 'set -euo pipefail; export JOB_SHELL=$$; source "$0/common.sh"; "$@"' \
    "$scripts" "${JOB:-train}" "${@:2}" 2>&1) || status=$?
}

# started_with REGEX: whether a launcher was called so.
started_with() { expect_match "what was called" "$(<called)" "$1"; }

requeued() { grep -q '^scontrol requeue' called; }

test_complete_runs_end() {
  begin
  job -- --out run --steps 9
  expect_equal "the exit code" "$status" 0
  expect_match "what is said" "$said" 'job 11: complete: 9 steps'
  expect_match "the program's options" "$said" \
    '^cllm-dist \[--out\] \[run\] \[--steps\] \[9\] \[--resume\] \[auto\] \[--threads\] \[4\]$'
  if requeued; then fail "a complete run was requeued"; fi
  if [[ -e run/starts ]]; then fail "it left its count"; fi
}

test_options_of_the_user_stand() {
  begin
  job -- --out=run --resume other --threads=3
  expect_match "the options" "$said" '^cllm-dist \[--out=run\] \[--resume\] \[other\] \[--threads=3\]$'
  job -- --steps 9
  expect_equal "the exit code without --out" "$status" 1
  expect_match "what is said" "$said" 'give --out DIR'
}

test_a_rank_for_each_numa_domain() {
  begin
  job -- --out run
  started_with '^srun --mpi=pmix --nodes=2 --ntasks=4 --ntasks-per-node=2 --cpus-per-task=8 --kill-on-bad-exit=1 '
  job CLLM_LAUNCHER=mpirun -- --out run
  started_with '^mpirun -np 4 --map-by ppr:1:numa --bind-to numa /'
}

test_the_job_may_say_how_many_ranks() {
  begin
  job SLURM_NTASKS_PER_NODE=4 SLURM_CPUS_PER_TASK=2 -- --out run
  started_with ' --ntasks=8 --ntasks-per-node=4 --cpus-per-task=2 '
  expect_match "threads, one for each core" "$said" '\[--threads\] \[1\]'
  job SLURM_NTASKS=3 -- --out run
  started_with ' --ntasks=3 --ntasks-per-node=2 --cpus-per-task=8 '
  job SLURM_NTASKS_PER_NODE=4 CLLM_LAUNCHER=mpirun -- --out run
  started_with '^mpirun -np 8 --map-by ppr:4:node --bind-to none '
  job SLURM_NTASKS=1 -- --out run # that of a salloc around it
  expect_match "what is said of fewer ranks than nodes" "$said" '1 ranks for 2 nodes'
  job SLURM_CPUS_ON_NODE=1 -- --out run
  started_with ' --ntasks=2 --ntasks-per-node=1 --cpus-per-task=1 '
}

test_srun_where_slurm_has_pmix() {
  begin
  job CLLM_LAUNCHER=srun -- --out run
  started_with '^srun '
  rm called
  stand_in srun 'if [[ $* == --mpi=list ]]; then echo "none pmi2"; fi'
  job -- --out run
  started_with '^mpirun '
  job CLLM_LAUNCHER=ssh -- --out run
  expect_match "what is said" "$said" "CLLM_LAUNCHER is 'ssh'"
}

test_environment_of_launchers() {
  begin
  stand_in cllm-dist 'env; touch run/complete'
  job SLURM_EXPORT_ENV=NONE -- --out run
  expect_match "srun's" "$said" '^SLURM_PMIX_FENCE=tree'
  expect_match "that of jobs submitted without" "$said" '^SLURM_EXPORT_ENV=ALL'
  job CLLM_LAUNCHER=mpirun -- --out run
  expect_match "mpirun's" "$said" '^OMPI_MCA_oob_tcp_keepalive_probes=3'
  expect_match "mpirun's room" "$said" '^OMPI_MCA_ras_slurm_use_entire_allocation=1'
}

test_programs_are_found() {
  begin
  mkdir own
  mv bin/cllm-dist own/cllm-dist
  job CLLM_DIST=own/cllm-dist -- --out run
  expect_equal "the exit code with CLLM_DIST" "$status" 0
  job CLLM_DIST=nowhere -- --out run
  expect_match "what is said of a wrong one" "$said" "CLLM_DIST is 'nowhere', which is no program"
  mkdir -p prefix/bin prefix/share/cllm-dist
  cp -r "$scripts" prefix/share/cllm-dist/slurm
  scripts=$case/prefix/share/cllm-dist/slurm
  job -- --out run
  expect_match "what is said of none" "$said" 'cllm-dist is not in PATH'
  mv own/cllm-dist prefix/bin
  job -- --out run
  expect_equal "the exit code of an installation" "$status" 0
}

test_stopped_runs_are_requeued() {
  begin
  stand_in cllm-dist 'exit 75'
  job -- --out run
  expect_equal "the exit code" "$status" 0
  started_with '^scontrol requeue 11$'
  # The number of an array's last task is that of the array.
  job SLURM_ARRAY_JOB_ID=11 SLURM_ARRAY_TASK_ID=3 -- --out run
  started_with '^scontrol requeue 11_3$'
  stand_in scontrol 'echo "Requested operation is presently disabled" >&2; exit 1'
  job -- --out run
  expect_equal "the exit code where that is forbidden" "$status" 75
  expect_match "what is said" "$said" 'not requeued .*presently disabled'
}

test_a_busy_controller_is_asked_again() {
  begin
  stand_in cllm-dist 'exit 75'
  stand_in scontrol 'echo "scontrol $*" >>called
    if [[ ! -e busy ]]; then touch busy; echo "Socket timed out on send/recv operation"; exit 1; fi'
  job -- --out run
  expect_equal "the exit code" "$status" 0
  expect_equal "how often it was asked" "$(grep -c '^scontrol requeue 11$' called)" 2
}

test_cancelled_jobs_stay_so() {
  begin
  stand_in cllm-dist 'exit 75'
  stand_in squeue 'echo "COMPLETING None 1:10:00"'
  job -- --out run
  expect_equal "the exit code" "$status" 75
  if requeued; then fail "it was requeued"; fi
  # But one goes on that another job took the nodes of, or that ran into its time limit.
  stand_in scontrol 'if [[ $* == "show job 11" ]]; then echo "  PreemptTime=2026-01-01T01:01:01"; fi
    echo "scontrol $*" >>called'
  job -- --out run
  requeued || fail "it was not requeued"
  rm called
  stand_in scontrol 'echo "scontrol $*" >>called'
  stand_in squeue 'echo "COMPLETING TimeLimit 0:00"'
  job -- --out run
  requeued || fail "it was not requeued"
}

test_no_requeue_where_it_is_not_wanted() {
  begin
  stand_in cllm-dist 'exit 75'
  job CLLM_REQUEUE=no -- --out run
  expect_equal "the exit code" "$status" 75
  if requeued; then fail "it was requeued"; fi
}

test_an_exit_code_is_no_completion() {
  begin
  stand_in cllm-dist 'exit 0'
  job -- --out run
  requeued || fail "it was not requeued"
  # Nor is the mark of the shorter run that was there before.
  mkdir -p run
  echo '9 steps' >run/complete
  touch -d yesterday run/complete
  stand_in cllm-dist 'exit 137'
  job -- --out run
  expect_match "what is said" "$said" 'start 2 of 3 led to no new checkpoint: exit code 137'
  # But the mark counts where an exit code was lost.
  stand_in cllm-dist 'sleep 0.1; touch run/complete; exit 143'
  rm called
  job -- --out run
  expect_match "what is said" "$said" 'complete: '
  if requeued; then fail "a complete run was requeued"; fi
}

test_jobs_that_keep_failing_give_up_with_the_reason() {
  begin
  stand_in cllm-dist 'echo "cllm-dist: --data: no such file" >&2; echo "srun: task 0" >&2; exit 1'
  job -- --out run
  expect_match "the first time" "$said" 'start 1 of 3 led to no new checkpoint: .*--data: no such file$'
  job -- --out run
  expect_equal "the exit code of the second" "$status" 0
  expect_equal "steps whose numbers were used up for it" "$(grep -c '^srun --mpi=none ' called)" 1
  rm called
  job -- --out run
  expect_equal "the exit code of the third" "$status" 1
  expect_match "what it says" "$said" \
    'gave up after 3 starts that led to no new checkpoint in run; the last one: exit code 1: cllm-dist: --data: no such file$'
  if requeued; then fail "it was requeued"; fi
  # Submitted anew, it is tried again.
  job SLURM_JOB_ID=12 -- --out run
  expect_match "what it says then" "$said" 'start 1 of 3'
  job SLURM_JOB_ID=13 CLLM_TRIES=1 -- --out run
  expect_match "the only try" "$said" 'gave up after 1 starts'
  stand_in cllm-dist 'printf "%s\n" "it was killed" ------ >&2; exit 1'
  job -- --out run
  expect_match "the reason, in words" "$said" 'it was killed$'
  job CLLM_TRIES=some -- --out run
  expect_match "what is said" "$said" "CLLM_TRIES is 'some'"
}

# Slurm ends the script that asks for the queue, maybe before it has heard the answer.
test_slurms_answer_is_no_reason_for_another_start() {
  begin
  stand_in cllm-dist 'echo "cllm-dist: --data: no such file" >&2; exit 1'
  stand_in scontrol 'echo "scontrol $*" >>called; kill -TERM "$JOB_SHELL"; sleep 0.2'
  job CLLM_TRIES=2 -- --out run
  requeued || fail "it was not requeued"
  expect_equal "the count" "$(head -n 1 run/starts)" '1 11 '
}

# A node that dies takes the script with it.
test_starts_that_leave_no_word_count() {
  begin
  mkdir run
  echo '3 11 ' >run/starts
  job -- --out run
  expect_equal "the exit code" "$status" 1
  expect_match "what is said" "$said" 'ended without a word'
}

# Each saves, but its time was up before it had taken a step.
test_a_time_limit_that_is_too_short_gives_up() {
  begin
  stand_in squeue 'echo "RUNNING None 2:50"'
  stand_in srun 'if [[ $* != --mpi=list ]]; then while [[ $1 == -* ]]; do shift; done; exec "$@"; fi
    echo pmix'
  stand_in cllm-dist 'trap "exit 75" USR1; kill -USR1 $PPID; for ((;;)); do sleep 0.05; done'
  job -- --out run
  requeued || fail "it was not requeued"
  job -- --out run
  expect_match "the second time" "$said" 'start 2 of 3 led to no new checkpoint: .*give more --time'
  stand_in cllm-dist 'exit 75' # by its own clock
  job -- --out run
  expect_equal "the exit code of the third" "$status" 1
  expect_match "what it says" "$said" 'gave up after 3 starts .*: its time was up before .*give more --time'
  # A step is progress.
  stand_in cllm-dist 'echo step-00000001.h5 >run/latest; exit 75'
  job SLURM_JOB_ID=12 -- --out run
  expect_equal "the count" "$(<run/starts)" '0 12 step-00000001.h5'
}

test_progress_begins_the_count_anew() {
  begin
  mkdir run
  echo 'step-00000005.h5' >run/latest
  echo '2 11 step-00000001.h5' >run/starts
  stand_in cllm-dist 'exit 1'
  job -- --out run
  expect_match "a start after a new checkpoint" "$said" 'start 1 of 3'
  stand_in cllm-dist 'echo step-00000007.h5 >run/latest; exit 1'
  job -- --out run
  expect_equal "the count" "$(<run/starts)" '0 11 step-00000007.h5'
  requeued || fail "it was not requeued"
}

test_chains_go_on_counting() {
  begin
  mkdir run
  echo '2 10 ' >run/starts
  stand_in cllm-dist 'exit 1'
  job CLLM_REQUEUE=chain -- --out run
  expect_match "the third job of a chain" "$said" 'gave up after 3 starts .*: exit code 1: '
  job CLLM_REQUEUE=chain SLURM_JOB_ID=12 -- --out run
  expect_match "the fourth" "$said" 'gave up after 3 starts .*: exit code 1: '
}

test_signals_reach_the_program_and_are_no_failure() {
  begin
  stand_in srun 'if [[ $* != --mpi=list ]]; then while [[ $1 == -* ]]; do shift; done; exec "$@"; fi
    echo pmix'
  stand_in cllm-dist 'trap "echo saved; exit 75" USR1; kill -$CASE $PPID; for ((;;)); do sleep 0.05; done'
  for signal in USR1 TERM; do
    job CASE="$signal" -- --out run
    expect_match "what is said after $signal" "$said" '^saved$'
    requeued || fail "it was not requeued"
  done
  # Nor where another comes while it saves.
  stand_in cllm-dist 'trap "sleep 0.3; kill -TERM $PPID; sleep 0.3; echo saved; exit 75" USR1
    kill -USR1 $PPID; for ((;;)); do sleep 0.05; done'
  rm -f called
  job -- --out run
  expect_match "what is said after two" "$said" '^saved$'
  requeued || fail "it was not requeued"
  # Nor where one comes before the program is started.
  mv bin/lscpu bin/lscpu-then
  stand_in lscpu 'if [[ ! -e early ]]; then touch early; kill -USR1 "$JOB_SHELL"; fi; exec lscpu-then "$@"'
  rm -f called
  job -- --out run
  requeued || fail "it was not requeued"
  if grep srun called; then fail "the program was started"; fi
  job signalled=1 -- --out run # as from the script's own trap
  if grep srun called; then fail "the program was started"; fi
  mv bin/lscpu-then bin/lscpu
  # Nor where it saves for so long that the time limit is reached.
  stand_in cllm-dist 'trap "kill -TERM $PPID; sleep 2; touch saved; exit 75" USR1
    kill -USR1 $PPID; for ((;;)); do sleep 0.05; done'
  stand_in squeue 'echo "COMPLETING TimeLimit 0:00"'
  stand_in scontrol 'if [[ ! -e saved ]]; then echo "scontrol $*" >>called; fi'
  rm -f called
  job -- --out run
  requeued || fail "it was not requeued before it had saved"
  stand_in squeue 'echo "RUNNING None 1:10:00"'
  stand_in scontrol 'echo "scontrol $*" >>called'
  expect_match "the count" "$(<run/starts)" '^1 11 ' # a time limit is one
  rm run/starts
  # Nor where it ends before it could save.
  stand_in cllm-dist 'kill -USR1 $PPID; for ((;;)); do sleep 0.05; done'
  job -- --out run
  expect_equal "the exit code" "$status" 0
  expect_equal "the count" "$(<run/starts)" '0 11 '
}

test_signals_are_heard_from_the_first_line() {
  begin
  stand_in scontrol 'if [[ $1 != show ]]; then echo "scontrol $*" >>called; exit; fi
    kill -USR1 "$(ps -o ppid= -p $PPID | xargs)"; echo "   Command=$SCRIPTS/train.sbatch --out run"'
  SCRIPTS=$scripts bash "$scripts/train.sbatch" --out run >/dev/null || fail "it ends the script"
  requeued || fail "it was not requeued"
}

test_sweeps_take_a_line_each() {
  begin
  export JOB=sweep
  stand_in cllm-dist 'printf "cllm-dist"; printf " [%s]" "$@"; echo; touch "$2/complete"'
  printf '%s\n' '# a table' '--seed 1' '' "  --seed 2 --data 'my text.txt'" '--seed "3' >table
  job SLURM_ARRAY_TASK_ID=2 -- table 'all runs' --steps 9
  expect_match "the options" "$said" \
    '^cllm-dist \[--out\] \[all runs/2\] \[--seed\] \[2\] \[--data\] \[my text.txt\] \[--steps\] \[9\]'
  job SLURM_ARRAY_TASK_ID=3 -- table runs
  expect_match "what is said of a bad line" "$said" 'run 3 of table: a quote has no other'
  job SLURM_ARRAY_TASK_ID=4 -- table runs
  expect_match "what is said of too large an array" "$said" 'table has no run 4'
  for words in '--out elsewhere' '--out=elsewhere'; do
    # shellcheck disable=SC2086 # words
    job SLURM_ARRAY_TASK_ID=1 -- table runs $words
    expect_match "what is said of another place" "$said" 'take --out away, its directory is runs/1'
  done
  job SLURM_ARRAY_TASK_ID=0 -- table runs
  expect_match "what is said of an array from 0" "$said" 'submit it with --array=1-N'
  : >empty
  job SLURM_ARRAY_TASK_ID=1 -- empty runs
  expect_match "what is said of an empty table" "$said" 'empty has no run 1'
  job -- table runs
  expect_match "what is said without an array" "$said" 'submit it with --array=1-N'
  job SLURM_ARRAY_TASK_ID=1 -- missing runs
  expect_match "what is said without a table" "$said" "can't read the table 'missing'"
  job SLURM_ARRAY_TASK_ID=1 -- table --steps 9
  expect_match "what is said without a directory" "$said" 'say where the runs are to be'
}

test_chains_are_submitted() {
  begin
  stand_in sbatch 'echo "$CLLM_REQUEUE $*" >>called; echo "$((40 + $(wc -l <called)));virtual"'
  mkdir run
  touch run/starts
  expect_equal "the jobs" "$("$scripts/chain.sh" 3 -N 2 train.sbatch --out run | xargs)" "41 42 43"
  expect_equal "the submissions" "$(<called)" "chain --parsable --no-requeue -N 2 train.sbatch --out run
chain --parsable --no-requeue --dependency=afterany:41 -N 2 train.sbatch --out run
chain --parsable --no-requeue --dependency=afterany:42 -N 2 train.sbatch --out run"
  if [[ -e run/starts ]]; then fail "it goes on counting from earlier failures"; fi
  expect_match "what is said without --out" "$(expect_failure "$scripts/chain.sh" 2 train.sbatch)" \
    'give --out DIR'
  expect_match "what is said of --dependency" \
    "$(expect_failure "$scripts/chain.sh" 2 --dependency=after:1 train.sbatch --out run)" 'take --dependency away'
  expect_match "what is said without a number" "$(expect_failure "$scripts/chain.sh" train.sbatch)" \
    '^  chain.sh JOBS'
}

test_scripts_say_where_they_look_for_what_they_share() {
  begin
  stand_in scontrol "echo '   Command=(null)'"
  expect_match "what is said" "$(expect_failure bash "$scripts/train.sbatch" --out run)" 'set CLLM_SCRIPTS'
}

test_arrays_are_for_sweeps() {
  begin
  stand_in scontrol "echo '   Command=$scripts/train.sbatch --out run'"
  expect_match "what is said" \
    "$(SLURM_ARRAY_TASK_ID=1 expect_failure bash "$scripts/train.sbatch" --out run)" 'use sweep.sbatch'
}

test_a_count_that_cannot_be_kept_ends_the_job() {
  begin
  mkdir -p run/starts
  job -- --out run
  expect_equal "the exit code" "$status" 1
  expect_match "what is said" "$said" "can't write in run$"
}

# Slurm runs a copy of the script, from another directory.
test_copies_find_what_they_share() {
  begin
  local script
  printf '%s\n' '--seed 1' >table
  stand_in cllm-dist 'touch run/1/complete run/complete 2>/dev/null; true'
  for script in "train --out run" "sweep table run"; do
    # shellcheck disable=SC2086 # words
    set -- $script
    stand_in scontrol "echo '   Command=$scripts/$*' | sed 's/ \(--out\|table\)/.sbatch \1/'"
    sed "s|$1|&|" "$scripts/$1.sbatch" >job_script
    if [[ $1 == sweep ]]; then export SLURM_ARRAY_TASK_ID=1; fi
    bash job_script "${@:2}" >/dev/null || fail "$1.sbatch fails as a copy"
  done
}

run_cases "$@"
