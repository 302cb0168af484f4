#!/usr/bin/env python3
"""Draws the rows of a trace.json that `cllm-dist --trace A:B` wrote: plot_trace.py TRACE PNG."""
import json
import sys

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

COLOURS = {
    "forward": "#9ecae1",
    "head": "#fdae6b",
    "backward": "#3182bd",
    "allreduce": "#31a354",
    "update": "#756bb1",
    "wait": "#e0e0e0",
}


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1]) as file:
        events = json.load(file)["traceEvents"]
    rows = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    places = {row: place for place, row in enumerate(sorted(rows, reverse=True))}
    figure, axes = pyplot.subplots(figsize=(11, 0.8 + 0.55 * len(rows)))
    for event in sorted((e for e in events if e["ph"] == "X"), key=lambda e: -e["dur"]):
        kind = event["name"].split()[0]
        if kind in COLOURS:
            axes.broken_barh(
                [(event["ts"] / 1e6, event["dur"] / 1e6)],
                (places[event["pid"], event["tid"]] - 0.4, 0.8),
                facecolors=COLOURS[kind],
                edgecolor="white",
                linewidth=0.3,
            )
    axes.set_yticks(list(places.values()))
    axes.set_yticklabels([f"rank {pid}: {rows[pid, tid]}" for pid, tid in places])
    axes.set_xlabel("seconds")
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=colour) for colour in COLOURS.values()]
    axes.legend(handles, COLOURS, ncol=len(COLOURS), loc="upper center", bbox_to_anchor=(0.5, 1.25))
    figure.savefig(sys.argv[2], dpi=110, bbox_inches="tight")


if __name__ == "__main__":
    main()
