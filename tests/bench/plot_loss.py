#!/usr/bin/env python3
"""Draws validation loss against training time of runs: plot_loss.py PNG NAME=RUN[@SECONDS] ...

Time is the sum of the steps' own seconds in RUN/metrics.jsonl, without evaluations; with SECONDS, each
step took as long, as where runs to be compared did not have the machine for themselves."""
import json
import os
import sys

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot


def curve(run, seconds_per_step):
    """Times in minutes and losses of the run's evaluations."""
    times, losses, elapsed = [], [], 0.0
    with open(os.path.join(run, "metrics.jsonl")) as file:
        for line in file:
            entry = json.loads(line)
            if "loss" in entry:
                spent = entry["seconds"]
                elapsed += seconds_per_step or sum(
                    spent[phase] for phase in ("compute", "communication", "update")
                )
            elif "val_loss" in entry:
                times.append(elapsed / 60)
                losses.append(entry["val_loss"])
    return times, losses


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    figure, axes = pyplot.subplots(figsize=(8, 5))
    for argument in sys.argv[2:]:
        name, _, run = argument.rpartition("=")
        run, _, seconds = run.partition("@")
        axes.plot(*curve(run, float(seconds or 0)), marker=".", label=name)
    axes.set_xlabel("minutes of training")
    axes.set_ylabel("validation loss")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(sys.argv[1], dpi=110, bbox_inches="tight")


if __name__ == "__main__":
    main()
