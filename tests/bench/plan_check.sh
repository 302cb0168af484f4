#!/usr/bin/env bash
# What `plan` says of 1, 2, 3 and 4 virtual hosts of this machine, against what steps take there. Needs
# root, python3, and a machine that does nothing else. Prints a line for each number of hosts and rate.
#
#   plan_check.sh BUILD_DIRECTORY [RATE...]
#
# Rates of links are those of tests/cluster/hosts (1gbit 200mbit 100mbit, if none is given). Each host
# has one thread. What is measured before: the network by doctor on two hosts, and computation by doctor
# on one host without network, with as many ranks as there will be hosts, since all share the cores of
# this machine. CLLM_MODEL, CLLM_HOST_BATCH, CLLM_MICRO_BATCH and CLLM_REPEAT say of which model, in what
# batches, and how often steps are measured.
# shellcheck source=tests/cluster/testing.sh
source "$(dirname "${BASH_SOURCE[0]}")/../cluster/testing.sh"

usage() {
  sed -n '2,/^# shellcheck/{/^# shellcheck/d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

[[ ${1:-} && $1 != -* ]] || usage
CLLM_PROGRAM=$(realpath "$1")/cllm-dist
[[ -x $CLLM_PROGRAM ]] || fail "no $CLLM_PROGRAM: build it"
need_programs python3
shift
rates=("$@")
if ((${#rates[@]} == 0)); then rates=(1gbit 200mbit 100mbit); fi
read -ra model <<<"${CLLM_MODEL:---preset medium --family gpt2 --optimizer adamw --vocabulary 4096}"
host_batch=${CLLM_HOST_BATCH:-4}
micro_batch=${CLLM_MICRO_BATCH:-2}
repeat=${CLLM_REPEAT:-3}

# names HOSTS: "n0:1,n1:1,…".
names() {
  local i
  for ((i = 0; i < $1; ++i)); do printf '%sn%d:1' "$([[ $i == 0 ]] || echo ,)" "$i"; done
}

# on_hosts HOSTS COMMAND...: the program there, a rank on each.
on_hosts() {
  mpirun_from n0 --host "$(names "$1")" -np "$1" --map-by slot "$CLLM_PROGRAM" "${@:2}"
}

# step COMMAND RANKS: its options for steps of so many ranks.
step() {
  printf '%s\n' "$1" "${model[@]}" --threads 1 --batch $(($2 * host_batch)) \
    --micro-batch "$micro_batch"
}

# field FILE EXPRESSION: of the JSON in the file, which is called `all`.
field() {
  python3 -c 'import json, sys; all = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$@"
}

# measure_network RATE, measure_computation RANKS: figures in a file, with what doctor says beside it.
measure_network() {
  mapfile -t options < <(step doctor 2)
  on_hosts 2 "${options[@]}" --out "$cluster/run" --figures "$cluster/network-$1.json" \
    >"$cluster/network-$1.txt"
}
measure_computation() {
  rm -f "$cluster/compute-$1.json"
  mapfile -t options < <(step doctor "$1")
  on n0 mpirun -np "$1" "$CLLM_PROGRAM" "${options[@]}" --out "$cluster/run" \
    --figures "$cluster/compute-$1.json" >"$cluster/compute-$1.txt"
}

# predict RATE HOSTS: seconds of a step.
predict() {
  local update
  update=$(field "$cluster/compute-$2.json" "all['figures']['update-gbyte'] / $2")
  "$CLLM_PROGRAM" plan "${model[@]}" --hosts "$2" --host-batch "$host_batch" \
    --micro-batch "$micro_batch" --token-frequencies uniform --ranks-per-host 1 \
    --figures "$cluster/network-$1.json" --figures "$cluster/compute-$2.json" \
    --cores 1 --update-gbyte "$update" --json >"$cluster/plan.json"
  field "$cluster/plan.json" "all['plan'][0]['step_seconds']"
}

# measure HOSTS: the same, the median of some runs' medians.
measure() {
  local i
  mapfile -t options < <(step bench "$1")
  for ((i = 0; i < repeat; ++i)); do
    on_hosts "$1" "${options[@]}" --steps 5 --json | tail -n 1 >"$cluster/bench.json"
    field "$cluster/bench.json" "all['step_seconds']"
  done | sort -g | sed -n "$((repeat / 2 + 1))p"
}

cluster_up 4
printf '%8s %5s %12s %12s %6s\n' rate hosts measured predicted ratio
for rate in "${rates[@]}"; do
  hosts shape "$rate"
  measure_network "$rate"
  for count in 1 2 3 4; do
    # Beside each other, because what else runs on the machine changes.
    measure_computation "$count"
    measured=$(measure "$count")
    predicted=$(predict "$rate" "$count")
    awk -v rate="$rate" -v hosts="$count" -v m="$measured" -v p="$predicted" \
      'BEGIN { printf "%8s %5d %10.3f s %10.3f s %6.3f\n", rate, hosts, m, p, p / m }'
  done
done
if [[ ${CLLM_KEEP:-} ]]; then cp "$cluster"/*.json "$cluster"/*.txt "$CLLM_KEEP"; fi
