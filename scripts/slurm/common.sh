# shellcheck shell=bash
# What the job scripts of this directory share. Sourced, never run. Settings, all from the
# environment: CLLM_DIST, CLLM_LAUNCHER, CLLM_TRIES, CLLM_REQUEUE (docs/slurm.md).

slurm_scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# The program's exit code for "stopped and saved; to be continued".
readonly kToBeContinued=75

say() { printf 'job %s: %s\n' "${SLURM_JOB_ID:-?}" "$*"; }

die() {
  printf 'cllm-dist job: %s\n' "$*" >&2
  exit 1
}

# --- What is to run -----------------------------------------------------------------------------

# The program: $CLLM_DIST, or that of the path, or that of the checkout or the installation that
# these scripts are in.
find_program() {
  local candidate
  for candidate in "${CLLM_DIST:-$(command -v cllm-dist)}" \
    "$slurm_scripts/../../build/release/cllm-dist" "$slurm_scripts/../../../bin/cllm-dist"; do
    if [[ -n $candidate && -x $candidate && ! -d $candidate ]]; then
      realpath "$candidate"
      return
    fi
    if [[ -n ${CLLM_DIST:-} ]]; then die "CLLM_DIST is '$CLLM_DIST', which is no program"; fi
  done
  die "cllm-dist is not in PATH: load its module, or set CLLM_DIST to the program's path"
}

# value_of OPTION ARGUMENT...: what the arguments say of it last, as "--option value" or
# "--option=value"; fails where they say nothing.
value_of() {
  local option=$1 value found=1
  shift
  while (($# > 0)); do
    case $1 in
      "$option") value=${2:-} found=0 ;;
      "$option"=*) value=${1#*=} found=0 ;;
    esac
    shift
  done
  if ((found == 0)); then printf '%s\n' "$value"; fi
  return "$found"
}

# --- Who runs it --------------------------------------------------------------------------------

# How many different lines lscpu has for a column: how many of these the node has.
count_of() { lscpu --parse="$1" | grep -v '^#' | sort -u | wc -l; }

# lay_out: a rank for each NUMA domain of each node, or what the job's --ntasks-per-node or --ntasks
# says; to each rank its share of the node's processors, and a thread for each core among them.
# Sets ranks, per_node, processors, threads. All nodes are taken to be like this one.
lay_out() {
  local on_node=${SLURM_CPUS_ON_NODE:-$(nproc)}
  domains=$(count_of NODE)
  if ((domains > on_node)); then domains=$on_node; fi
  per_node=${SLURM_NTASKS_PER_NODE:-}
  if [[ -z $per_node && -n ${SLURM_NTASKS:-} ]]; then
    ranks=$SLURM_NTASKS
    per_node=$(((ranks + SLURM_JOB_NUM_NODES - 1) / SLURM_JOB_NUM_NODES))
  else
    per_node=${per_node:-$domains}
    ranks=$((per_node * SLURM_JOB_NUM_NODES))
  fi
  if ((ranks < SLURM_JOB_NUM_NODES)); then
    die "$ranks ranks for $SLURM_JOB_NUM_NODES nodes: say --ntasks-per-node, or submit it outside of salloc, whose SLURM_NTASKS it took"
  fi
  processors=${SLURM_CPUS_PER_TASK:-$((on_node / per_node))}
  if ((processors < 1)); then processors=1; fi
  threads=$((processors * $(count_of NODE,SOCKET,CORE) / $(count_of CPU)))
  if ((threads < 1)); then threads=1; fi
}

# choose_launcher: srun where Slurm has PMIx, else mpirun; CLLM_LAUNCHER says otherwise.
choose_launcher() {
  launcher=${CLLM_LAUNCHER:-auto}
  if [[ $launcher == auto ]]; then
    launcher=mpirun
    if srun --mpi=list 2>&1 | grep -qw pmix; then launcher=srun; fi
  fi
  case $launcher in
    srun)
      command=(srun --mpi=pmix --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$ranks"
        --ntasks-per-node="$per_node" --cpus-per-task="$processors" --kill-on-bad-exit=1)
      # The other way of starting, "mixed", crashes now and then on several nodes (Slurm 22.05).
      export SLURM_PMIX_FENCE=tree
      ;;
    mpirun)
      command=(mpirun -np "$ranks")
      if ((per_node == domains)); then
        command+=(--map-by ppr:1:numa --bind-to numa)
      else
        command+=(--map-by "ppr:$per_node:node" --bind-to none)
      fi
      # Room for our ranks, also where the job asked for nodes alone.
      export OMPI_MCA_ras_slurm_use_entire_allocation=1
      # A host that is gone ends the job after nine seconds; it would hang.
      export OMPI_MCA_oob_tcp_keepalive_time=3 OMPI_MCA_oob_tcp_keepalive_intvl=2
      export OMPI_MCA_oob_tcp_keepalive_probes=3
      ;;
    *) die "CLLM_LAUNCHER is '$launcher': use srun, mpirun or auto" ;;
  esac
  # A job that was submitted with --export=NONE still hands its own environment on.
  export SLURM_EXPORT_ENV=ALL
}

# skip_steps N: uses up the numbers of N job steps. A step that could not start, or whose node
# crashed, may leave its socket there, and then no other of its number starts on that node; the
# steps of a job that was requeued begin with 0 again (Slurm 22.05).
skip_steps() {
  local i
  for ((i = 0; i < $1; ++i)); do srun --mpi=none --nodes=1 --ntasks=1 true || true; done
}

# --- How it ends --------------------------------------------------------------------------------

# on_signal: time is nearly up, or somebody wants the nodes. The program saves and ends on SIGUSR1.
on_signal() {
  signalled=$((signalled + 1))
  # Only the first counts, unless Slurm is about to kill this script, saved or not. A bare `return`
  # would hand on the interrupted command's status, and end the script.
  if ((signalled > 1)); then
    if [[ $(state_of_job) == COMPLETING*TimeLimit* ]]; then go_on_later; fi
    return 0
  fi
  forward_signal
  # No fault of the run, also where the node is taken before it has saved; but that a time limit is
  # too short for anything is one.
  if ((starts > 0)) && ! time_is_up; then note_starts $((starts - 1)) || true; fi
}

forward_signal() {
  if [[ -n $running ]]; then kill -USR1 "$running" 2>/dev/null || true; fi
}

# launch COMMAND...: runs it to its end, which is `status`; what it says on standard error is also
# kept in the file `errors`.
launch() {
  local copy interrupted
  errors=$(mktemp)
  trap 'rm -f "$errors"' EXIT
  exec 3> >(
    trap '' TERM INT USR1 USR2
    exec tee "$errors" >&2
  )
  copy=$!
  status=$kToBeContinued
  if ! ((signalled)); then
    "$@" 2>&3 3>&- &
    running=$!
    if ((signalled)); then forward_signal; fi # it came too early for on_signal
    # A signal ends `wait` before the launcher has ended.
    while
      interrupted=$signalled
      status=0
      wait "$running" || status=$?
      ((signalled != interrupted))
    do :; done
  fi
  exec 3>&-
  wait "$copy" || true
}

# What the run's newest checkpoint is; nothing where it has none.
newest() { cat "$out/latest" 2>/dev/null || true; }

# What Slurm calls this job. An array's task by the number of the array and its own: the job number
# of the last one is that of the array, and would mean all of them.
this_job() {
  if [[ -n ${SLURM_ARRAY_JOB_ID:-} ]]; then
    echo "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
  else
    echo "$SLURM_JOB_ID"
  fi
}

# What Slurm does with this job, why, and how much of its time is left.
state_of_job() { squeue -h -j "$(this_job)" -o '%T %r %L' 2>&1 || true; }

# time_is_up: whether what stops the run is its time limit: that is over, or near (15 minutes).
time_is_up() { [[ $(state_of_job) =~ TimeLimit|\ (1[0-4]|0?[0-9]):[0-9]{2}$ ]]; }

# was_preempted: whether another job took the nodes and Slurm forgets this one (PreemptMode=CANCEL);
# of one that Slurm requeues it says nothing like that.
was_preempted() { scontrol show job "$(this_job)" 2>/dev/null | grep -q 'PreemptTime=[0-9]'; }

# note_starts N [REASON]: that N starts in a row of this job have led to no checkpoint after the one
# that is the newest now, the last one because of that. Kept in the run's directory, because a job
# that takes its node down remembers nothing.
note_starts() {
  starts=$1
  printf '%s\n' "$starts $(this_job) $(newest)" "${2:-}" >"$out/starts"
}

# read_starts: how many starts before this one led nowhere, and the `reason` of the last. The first
# of a new job counts anew, for what was wrong may have been mended; a chain counts through its jobs.
read_starts() {
  local job='' checkpoint=''
  starts=0 reason=''
  if [[ -r $out/starts ]]; then
    { read -r starts job checkpoint && read -r reason; } <"$out/starts" || true
  fi
  if [[ ! $starts =~ ^[0-9]+$ || $checkpoint != "$(newest)" ]] ||
    [[ $job != "$(this_job)" && ${CLLM_REQUEUE:-yes} != chain ]]; then
    starts=0
  fi
}

# The last sentence of the program, or what else was said last.
last_words() {
  local words
  words=$(grep '^cllm-dist: ' "$errors" | tail -n 1)
  if [[ -z $words ]]; then words=$(grep '[[:alpha:]]' "$errors" | tail -n 1); fi
  printf '%s\n' "${words:-nothing was said}"
}

give_up() {
  die "gave up after $starts starts that led to no new checkpoint in $out; the last one: $reason"
}

# requeue: puts this job back into the queue. Not where Slurm ended it before its time: then it was
# cancelled, which this would undo, or Slurm requeues it.
requeue() {
  local job state words pause
  job=$(this_job)
  state=$(state_of_job)
  if [[ $state == COMPLETING* && $state != *TimeLimit* ]] && ! was_preempted; then
    say "cancelled, or requeued by Slurm"
    exit "$kToBeContinued"
  fi
  # From here on Slurm's signal is its answer: to on_signal it would be somebody who wants the nodes,
  # and a start that led nowhere would not count.
  trap '' TERM USR1 USR2
  # A busy controller may not answer at once; what it refuses, it refuses for good.
  for pause in 2 5 10 20 0; do
    if words=$(scontrol requeue "$job" 2>&1); then
      say "back in the queue"
      exit 0
    fi
    if [[ $words != *[Tt]'imed out'* && $words != *'Unable to contact'* ]]; then break; fi
    sleep "$pause"
  done
  say "not requeued (${words:-scontrol failed}); submit it again to go on"
  exit "$kToBeContinued"
}

# go_on_later: ends the script of a run that is not complete.
go_on_later() {
  if [[ ${CLLM_REQUEUE:-yes} == yes ]]; then requeue; fi
  say "to be continued"
  exit "$kToBeContinued"
}

# --- All of it ----------------------------------------------------------------------------------

# train OPTION...: runs cllm-dist with these on all nodes of the job, from the newest checkpoint if
# there is one, and requeues the job until the run is complete. Ends the script: 0 when it is
# complete or requeued, 75 when another job is to go on, 1 when it gave up.
train() {
  local program tries=${CLLM_TRIES:-3} options=("$@") before reason
  signalled=${signalled:-0} running='' starts=0 # the job script may have heard a signal already
  trap on_signal USR1 USR2 TERM
  out=$(value_of --out "$@") || die "give --out DIR, so that the run can be found again"
  value_of --resume "$@" >/dev/null || options+=(--resume auto)
  [[ $tries =~ ^[1-9][0-9]*$ ]] || die "CLLM_TRIES is '$tries': use a number from 1"
  program=$(find_program) || exit 1
  mkdir -p "$out" || die "can't make $out"

  lay_out
  value_of --threads "$@" >/dev/null || options+=(--threads "$threads")
  choose_launcher
  say "$ranks ranks on $SLURM_JOB_NUM_NODES nodes ($SLURM_JOB_NODELIST) by $launcher"

  read_starts
  if ((starts >= tries)); then
    reason=${reason:-it ended without a word; did it take its node down, or need more --time?}
    give_up
  fi
  if [[ $launcher == srun ]]; then skip_steps "$starts"; fi
  # Without its count a job on a full disk would come back for ever.
  note_starts $((starts + 1)) || die "can't write in $out"
  before=$(newest)
  launch "${command[@]}" "$program" "${options[@]}"

  # The mark counts, not the exit code: launchers and crashing nodes can lose that. One that was
  # there before, of a run that is to be longer, does not.
  if [[ -e $out/complete && ($status -eq 0 || $out/complete -nt $out/starts) ]]; then
    rm -f "$out/starts"
    say "complete: $(<"$out/complete")"
    exit 0
  fi
  reason="exit code $status: $(last_words)"
  if [[ $(newest) != "$before" ]] || { ((status == kToBeContinued)) && ! time_is_up; }; then
    note_starts 0 || true
  elif ((status == kToBeContinued)); then
    reason="its time was up before it had taken a step; give more --time"
  elif ((signalled)); then
    go_on_later
  fi
  if ((starts > 0)); then
    note_starts "$starts" "$reason" || true
    if ((starts >= tries)); then give_up; fi
    say "start $starts of $tries led to no new checkpoint: $reason"
  fi
  go_on_later
}

# sweep TABLE DIR OPTION...: trains the run of this task of the array.
sweep() {
  local table=${1:-} directory=${2:-} task=${SLURM_ARRAY_TASK_ID:-} line words
  [[ $task =~ ^[1-9][0-9]*$ ]] || die "submit it with --array=1-N, for the N runs of the table"
  [[ -r $table ]] || die "can't read the table '$table'"
  [[ -n $directory && $directory != -* ]] || die "say where the runs are to be, after the table"
  line=$(grep -vE '^[[:space:]]*(#|$)' "$table" | sed -n "${task}p") || line=''
  [[ -n $line ]] || die "$table has no run $task: submit it with --array=1-N, for its N runs"
  words=$(xargs printf '%s\n' <<<"$line") || die "run $task of $table: a quote has no other"
  mapfile -t words <<<"$words"
  if value_of --out "${words[@]}" "${@:3}" >/dev/null; then
    die "run $task of $table: take --out away, its directory is $directory/$task"
  fi
  train --out "$directory/$task" "${words[@]}" "${@:3}"
}
