"""Reads a run's event files with TensorBoard's own reader, and compares every number with metrics.jsonl.

    python3 tests/interop/check_tensorboard.py RUN

Needs `pip install tensorboard`. Ends with 1 where they differ, or a step is there twice.
"""
import collections
import itertools
import json
import math
import pathlib
import sys

import numpy
from tensorboard.backend.event_processing import event_accumulator

TAGS = {"loss": "loss/train", "val_loss": "loss/validation", "lr": "rate/learning",
        "grad_norm": "norm/gradient", "tokens_per_s": "speed/tokens_per_s", "tokens": "progress/tokens"}


def wanted(path):
    """tag -> steps and numbers in the order of metrics.jsonl."""
    numbers = collections.defaultdict(list)
    for line in map(json.loads, open(path)):
        for key, tag in TAGS.items():
            if key in line and not (key == "tokens" and "val_loss" in line):
                numbers[tag].append((line["step"], line[key]))
        for phase, seconds in line.get("seconds", {}).items():
            kind = "checkpoint/seconds_" if "checkpoint" in line else "seconds/"
            numbers[kind + phase].append((line["step"], seconds))
    return numbers


run = pathlib.Path(sys.argv[1])
events = event_accumulator.EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
events.Reload()
compared = differ = 0
for tag, lines in wanted(run / "metrics.jsonl").items():
    shown = [(event.step, event.value) for event in events.Scalars(tag)]
    compared += len(lines)
    for line, event in itertools.zip_longest(lines, shown):
        number = math.nan if line is None or line[1] is None else numpy.float32(line[1])
        same = event and line and (event[1] == number or math.isnan(event[1]) and math.isnan(number))
        if not same or event[0] != line[0]:
            print(f"{tag}: {event} for {line}")
            differ += 1
for tag in events.Tags()["tensors"]:
    print(f"text {tag}: {len(events.Tensors(tag))} times")
print(f"{compared} numbers compared, {differ} differ")
sys.exit(differ > 0)
