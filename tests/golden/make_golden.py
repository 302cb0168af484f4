#!/usr/bin/env python3
"""Writes what PyTorch computes, in float64, for a small model of a family and ten steps of AdamW,
beside itself: FAMILY.json and FAMILY.bin. Needed only to make them anew:

    python3 tests/golden/make_golden.py FAMILY...      (families: torch_models.py)

It needs PyTorch 1.12 or later, and, but for gpt2, transformers 5 or later; FAMILY.json says which
versions made it.

FAMILY.json holds the shape, the hyperparameters, the tokens, learning rate, loss and gradient norm
of each step, and a table of arrays. FAMILY.bin holds the arrays, one after another: little-endian
IEEE 754 doubles, row after row, `offset` counted in doubles. The arrays are, for each tensor of the
model, its initial value ("initial"), its gradient at the initial value for the tokens of the first
step ("gradient"), and its value after all steps ("final"); and "transformers", the logits (B, T, V)
that transformers' own model of the family gives for the tokens of the first step, in float32.

Initial parameters and learning rates are floats, so that a trainer in float starts from the very
same numbers.
"""
import json
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

import torch_models

SEQUENCES = 3
STEPS = 10
ADAMW = dict(beta1=0.9, beta2=0.95, epsilon=1e-8, weight_decay=0.1)
# Such that it bites in some steps and not in others.
CLIP = dict(gpt2=1.9, llama=3.45, qwen3=3.45, nanochat=2.1)
LARGEST_LEARNING_RATE = 5e-3


def as_float(x):
    """x rounded to float32, held in float64."""
    return torch.as_tensor(x, dtype=torch.float64).float().double()


def pretty(document):
    """JSON with one line per entry of the document and of its lists."""
    def lines(value):
        if not isinstance(value, list):
            return json.dumps(value)
        return "[\n  " + ",\n  ".join(json.dumps(item) for item in value) + "\n]"
    return "{\n" + ",\n".join(f'"{key}": {lines(v)}' for key, v in document.items()) + "\n}\n"


def make(family):
    shape = torch_models.FAMILIES[family]["shape"]
    clip, positions = CLIP[family], shape["context"]
    generator = torch.Generator().manual_seed(20)
    parameters = torch_models.initial_parameters(family, generator)
    arrays = {("initial", name): p.detach().clone() for name, p in parameters.items()}
    versions = dict(torch=torch.__version__)

    optimizer = torch.optim.AdamW(
        [dict(params=[p for p in parameters.values() if p.dim() == 2],
              weight_decay=ADAMW["weight_decay"]),
         dict(params=[p for p in parameters.values() if p.dim() == 1], weight_decay=0.0)],
        betas=(ADAMW["beta1"], ADAMW["beta2"]), eps=ADAMW["epsilon"])

    steps = []
    for step in range(STEPS):
        tokens = torch.randint(shape["vocabulary"], (SEQUENCES, positions + 1),
                               generator=generator)
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        # Up in three steps, then down along a cosine.
        along = max(0, step - 2) / STEPS
        lr = LARGEST_LEARNING_RATE * min(1, (step + 1) / 3) * 0.5 * (1 + math.cos(math.pi * along))
        lr = as_float(lr).item()

        optimizer.zero_grad()
        logits = torch_models.logits_of(family, parameters, inputs)
        loss = F.cross_entropy(logits.view(SEQUENCES * positions, -1), targets.reshape(-1))
        loss.backward()
        if step == 0:
            arrays |= {("gradient", name): p.grad.clone() for name, p in parameters.items()}
            if family != "gpt2":
                import transformers
                import transformers_models
                versions["transformers"] = transformers.__version__
                theirs = transformers_models.logits_of(family, parameters, inputs)
                arrays["transformers", "logits"] = theirs
                print(f"{family}: transformers' logits are off by at most "
                      f"{(theirs - logits).abs().max().item():.3g}")
        # Not clip_grad_norm_, which divides by norm + 1e-6: the scale here is exactly clip / norm.
        norm = math.sqrt(sum((p.grad ** 2).sum().item() for p in parameters.values()))
        scale = min(1.0, clip / norm)
        for p in parameters.values():
            p.grad *= scale
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        steps.append(dict(learning_rate=lr, loss=loss.item(), gradient_norm=norm,
                          inputs=inputs.flatten().tolist(), targets=targets.flatten().tolist()))
        print(f"step {step}: loss {loss.item():.6f}, gradient norm {norm:.6f}, scale {scale:.6f}")
    arrays |= {("final", name): p.detach() for name, p in parameters.items()}

    clipped = sum(step["gradient_norm"] > clip for step in steps)
    assert 3 <= clipped <= STEPS - 3, "clipping should bite in some steps and not in others"

    table, offset = [], 0
    folder = Path(__file__).resolve().parent
    with open(folder / f"{family}.bin", "wb") as binary:
        for (kind, name), array in arrays.items():
            table.append(dict(kind=kind, name=name, shape=list(array.shape), offset=offset))
            binary.write(array.contiguous().numpy().astype("<f8").tobytes())
            offset += array.numel()
    document = dict(**versions, family=family, shape=shape,
                    parts=torch_models.FAMILIES[family]["parts"], sequences=SEQUENCES,
                    positions=positions, adamw=ADAMW | dict(clip=clip), steps=steps, arrays=table)
    (folder / f"{family}.json").write_text(pretty(document), encoding="utf-8")


for name in sys.argv[1:]:
    make(name)
