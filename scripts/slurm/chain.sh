#!/usr/bin/env bash
# Submits jobs that go on from each other, one after the other, where requeueing is forbidden. Those
# that are left when the run is complete end at once.
#
#   chain.sh JOBS [SBATCH OPTION]... train.sbatch --out DIR [CLLM-DIST OPTION]...
#
# Prints the jobs' numbers.
set -euo pipefail
# shellcheck source=scripts/slurm/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
  sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" >&2
  exit 2
}

if [[ ! ${1:-} =~ ^[1-9][0-9]*$ ]] || (($# < 2)); then usage; fi
jobs=$1
shift
out=$(value_of --out "$@") || die "give --out DIR, so that each job finds what the last one saved"
if value_of --dependency "$@" >/dev/null; then die "take --dependency away: each job waits for the one before"; fi

# Whatever was wrong before may have been mended.
rm -f "$out/starts"
export CLLM_REQUEUE=chain
after=()
for ((i = 0; i < jobs; ++i)); do
  # Whichever way the last one ended: a crash of its node is what this is for.
  job=$(sbatch --parsable --no-requeue "${after[@]}" "$@")
  job=${job%%;*}
  echo "$job"
  after=(--dependency="afterany:$job")
done
