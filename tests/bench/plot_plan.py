#!/usr/bin/env python3
"""Draws what `cllm-dist plan --json` says: plot_plan.py PNG NAME=JSON..., a line for each file."""
import json
import sys

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot


def main():
    if len(sys.argv) < 3 or any("=" not in each for each in sys.argv[2:]):
        sys.exit(__doc__)
    figure, (efficiency, time) = pyplot.subplots(1, 2, figsize=(11, 4))
    for each in sys.argv[2:]:
        name, path = each.split("=", 1)
        with open(path) as file:
            rows = json.load(file)["plan"]
        hosts = [row["hosts"] for row in rows]
        efficiency.plot(hosts, [100 * row["efficiency"] for row in rows], marker="o", label=name)
        time.plot(hosts, [row["hours"] for row in rows], marker="o", label=name)
    for axes in (efficiency, time):
        axes.set_xscale("log", base=2)
        axes.set_xlabel("hosts")
        axes.grid(alpha=0.3)
    efficiency.axhline(90, color="grey", linewidth=0.8, linestyle="--")
    efficiency.set_ylabel("weak-scaling efficiency, %")
    efficiency.legend()
    time.set_yscale("log")
    time.set_ylabel("hours to the run's tokens")
    figure.tight_layout()
    figure.savefig(sys.argv[1], dpi=110)


if __name__ == "__main__":
    main()
