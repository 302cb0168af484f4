#!/usr/bin/env python3
"""Trains a GPT-2 in PyTorch on a text, and prints how its loss on the rest falls: the peer whose
loss cllm-dist is to reach sooner.

    cllm-dist tokenize --data TEXT --tokenizer bpe:2048 --out text.tokens
    torch_loss.py --tokens text.tokens --layers 4 --heads 3 --channels 192 --context 128
        --batch 16 --steps 600 --lr 3e-3
    cllm-dist --data text.tokens ...

The model and the step are torch_gpt.py's. The learning rate grows over a tenth of the steps and
falls along a cosine to a tenth. Sequences are windows at random places. Each line is a JSON object:
step, seconds of training so far (evaluations left out), val_loss.

A token file is cllm-dist's own (docs/data_format.md), and its first 90 % train, as there.
"""
import argparse
import json
import math
import struct
import sys
import time

import numpy
import torch
from torch import nn

import torch_gpt


def read_tokens(path):
    """The tokens of a file, and how many there may be."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:8] != b"CLLMTOK\n":
        sys.exit(f"{path} is no token file of cllm-dist")
    width, count, vocabulary = struct.unpack_from("<IQQ", data, 12)
    kind = {2: numpy.uint16, 4: numpy.uint32}[width]
    tokens = numpy.frombuffer(data[128 : 128 + count * width], dtype=kind)
    return torch.from_numpy(tokens.astype(numpy.int64)), vocabulary


def windows(tokens, starts, context):
    rows = torch.stack([tokens[start : start + context + 1] for start in starts])
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def rate(step, options):
    warmup = options.steps // 10
    if step < warmup:
        return options.lr * (step + 1) / warmup
    done = (step - warmup) / max(1, options.steps - 1 - warmup)
    return options.lr * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))


@torch.no_grad()
def evaluate(model, tokens, options):
    """The mean over windows that follow each other: --eval-sequences of them, evenly spaced."""
    count = (len(tokens) - 1) // options.context
    chosen = min(count, options.eval_sequences or count)
    total = 0.0
    for first in range(0, chosen, options.batch):
        starts = [i * count // chosen * options.context for i in range(first, min(first + options.batch, chosen))]
        inputs, targets = windows(tokens, starts, options.context)
        total += model(inputs, targets).item() * len(starts)
    return total / chosen


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", required=True)
    for name, value in dict(layers=4, heads=4, channels=128, context=64, batch=16, steps=600,
                            eval_every=50, eval_sequences=256, threads=2, seed=1).items():
        parser.add_argument("--" + name.replace("_", "-"), type=int, default=value)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)

    tokens, vocabulary = read_tokens(options.tokens)
    train, validation = tokens[: len(tokens) * 9 // 10], tokens[len(tokens) * 9 // 10 :]
    shape = dict(layers=options.layers, heads=options.heads, channels=options.channels,
                 context=options.context, vocabulary=vocabulary)
    model = torch_gpt.GPT(shape)
    parameters = list(model.parameters())
    optimizer, _ = torch_gpt.make_optimizer(parameters, "auto")
    run = torch.compile(model) if options.compile else model
    seconds = 0.0
    for step in range(options.steps):
        start = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = rate(step, options)
        starts = torch.randint(len(train) - options.context, (options.batch,)).tolist()
        inputs, targets = windows(train, starts, options.context)
        loss = run(inputs, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, torch_gpt.CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        seconds += time.perf_counter() - start
        if (step + 1) % options.eval_every == 0 or step + 1 == options.steps:
            line = dict(step=step + 1, seconds=round(seconds, 2), train_loss=round(loss.item(), 4),
                        val_loss=round(evaluate(model, validation, options), 4))
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
