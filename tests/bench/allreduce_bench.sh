#!/usr/bin/env bash
# Sums over hosts against what their links allow, on virtual hosts of this machine. Needs root. Prints
# a line for each case; tests/mpi/allreduce_bench.cc says what is in it.
#
#   allreduce_bench.sh BUILD_DIRECTORY [CASE...]
#
# A case is HOSTS,RANKS,RATE[+MS],METHOD[,OPTION...]: hosts, ranks on each, the rate of links
# (1gbit, 100mbit) and how many milliseconds a message takes, the method, and options of
# allreduce_bench. Without one: those of docs/performance.md.
# shellcheck source=tests/cluster/testing.sh
source "$(dirname "${BASH_SOURCE[0]}")/../cluster/testing.sh"

usage() {
  sed -n '2,/^# shellcheck/{/^# shellcheck/d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

# gbit RATE: as a number of Gbit/s.
gbit() {
  case $1 in
    *gbit) echo "${1%gbit}" ;;
    *mbit) awk -v rate="${1%mbit}" 'BEGIN { print rate / 1000 }' ;;
    *) usage ;;
  esac
}

# run_case CASE
run_case() {
  local count ranks rate delay method options names i
  IFS=, read -r count ranks rate method options <<<"$1"
  names=$(for ((i = 0; i < count; ++i)); do printf 'n%d:%d,' "$i" "$ranks"; done)
  if [[ $options != *--mib* ]]; then options+=,--mib,64; fi
  if [[ $options != *--repeat* ]]; then options+=,--repeat,7; fi
  delay=0
  if [[ $rate == *+* ]]; then delay=${rate#*+} rate=${rate%+*}; fi
  hosts shape "$rate" "$delay"
  # As mpirun_from, but MPI's own sums may use shared memory, too.
  # shellcheck disable=SC2086 # options are several words
  on n0 mpirun --host "${names%,}" -np $((count * ranks)) --map-by slot \
    --mca plm_rsh_agent "$cluster_directory/rsh-agent" --mca pml ob1 --mca btl vader,tcp,self \
    --mca btl_tcp_if_include eth0 --mca oob_tcp_if_include eth0 \
    "$bench" ${options//,/ } --gbit "$(gbit "$rate")" --latency-ms "$delay" \
    --method "$method" | sed "s/^/$rate $delay /"
}

[[ ${1:-} && $1 != -* ]] || usage
bench=$(realpath "$1")/tests/mpi/allreduce_bench
[[ -x $bench ]] || fail "no $bench: build with -D CLLM_BENCH=ON"
export CLLM_DELAY_LINE=${bench%mpi/*}cluster/delay_line
shift
cases=("$@")
if ((${#cases[@]} == 0)); then
  for rate in 1gbit 100mbit; do
    for count in 2 3 4; do cases+=("$count,1,$rate,ring"); done
    for count in 2 3; do
      for method in mpi flat ring ring,--lanes,1; do cases+=("$count,2,$rate,$method"); done
    done
  done
fi

most=0
for each in "${cases[@]}"; do most=$((${each%%,*} > most ? ${each%%,*} : most)); done
cluster_up "$most"
for each in "${cases[@]}"; do run_case "$each"; done
