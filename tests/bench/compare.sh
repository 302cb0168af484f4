#!/usr/bin/env bash
# Compares training steps of cllm-dist with PyTorch's; -h tells how. All of it is in compare.py.
exec python3 "$(dirname "${BASH_SOURCE[0]}")/compare.py" "$@"
