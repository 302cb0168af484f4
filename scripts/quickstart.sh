#!/usr/bin/env bash
# Installs what is missing, builds cllm-dist, trains a small model on the built-in corpus with two
# ranks for about a minute, and lets it write.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

if (($# > 0)); then die "takes no arguments, but got '$1'"; fi
cd "$project_root"

install_packages build
# The tests, and warnings that a newer compiler may add, are not the concern of a first run.
build release -D CLLM_TESTS=OFF -D CLLM_WERROR=OFF

allow_mpi_as_root
program=build/release/cllm-dist
run=checkpoints/quickstart-$(date +%Y%m%d-%H%M%S)
# Unbound: mpirun would pin each of two ranks to one core, and its threads with it. Oversubscribed:
# two ranks run on one core too, where whoever waits must give way.
launch=(mpirun -np 2 --bind-to none --oversubscribe)
if (($(nproc) < 2)); then launch+=(--mca mpi_yield_when_idle 1); fi

train=("${launch[@]}" "$program" --out "$run")

say "Training on the built-in corpus, about a minute: ${train[*]}"
"${train[@]}" </dev/null

say "What the model writes after \"The \""
"$program" sample --checkpoint "$run" --prompt "The " --tokens 200

say "What to try next, in $project_root"
if ((EUID == 0)); then
  echo "  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"
fi
cat <<NEXT
  $program sample --checkpoint $run --prompt "It " --tokens 400 --temperature 0.6
      writes more, and more carefully
  ${launch[*]} $program --data YOUR.txt --tokenizer bpe:2000
      trains on your own text
  $program --help
      lists all options and commands
NEXT
