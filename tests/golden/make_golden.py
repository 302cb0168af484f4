#!/usr/bin/env python3
"""Writes golden.json and golden.bin beside itself: what PyTorch computes, in float64, for a small
GPT-2 and ten steps of AdamW. Needed only to make them anew:

    python3 tests/golden/make_golden.py        (needs PyTorch 1.12 or later)

golden.json holds the shape, the hyperparameters, the tokens, learning rate, loss and gradient norm
of each step, and a table of arrays. golden.bin holds the arrays, one after another: little-endian
IEEE 754 doubles, row after row, `offset` counted in doubles. The arrays are, for each tensor of the
model, its initial value ("initial"), its gradient at the initial value for the tokens of the first
step ("gradient"), and its value after all steps ("final").

Initial parameters and learning rates are floats, so that a trainer in float starts from the very
same numbers.
"""
import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F

SHAPE = dict(layers=2, heads=2, channels=16, context=8, vocabulary=29)
SEQUENCES, POSITIONS = 3, 8
STEPS = 10
ADAMW = dict(beta1=0.9, beta2=0.95, epsilon=1e-8, weight_decay=0.1, clip=1.9)
LARGEST_LEARNING_RATE = 5e-3


def as_float(x):
    """x rounded to float32, held in float64."""
    return torch.as_tensor(x, dtype=torch.float64).float().double()


def tensor_shapes():
    L, C, T, V = (SHAPE[name] for name in ("layers", "channels", "context", "vocabulary"))
    shapes = {"wte.weight": (V, C), "wpe.weight": (T, C)}
    for l in range(L):
        shapes |= {
            f"h.{l}.ln_1.weight": (C,), f"h.{l}.ln_1.bias": (C,),
            f"h.{l}.attn.c_attn.weight": (3 * C, C), f"h.{l}.attn.c_attn.bias": (3 * C,),
            f"h.{l}.attn.c_proj.weight": (C, C), f"h.{l}.attn.c_proj.bias": (C,),
            f"h.{l}.ln_2.weight": (C,), f"h.{l}.ln_2.bias": (C,),
            f"h.{l}.mlp.c_fc.weight": (4 * C, C), f"h.{l}.mlp.c_fc.bias": (4 * C,),
            f"h.{l}.mlp.c_proj.weight": (C, 4 * C), f"h.{l}.mlp.c_proj.bias": (C,),
        }
    return shapes | {"ln_f.weight": (C,), "ln_f.bias": (C,)}


def initial_parameters(generator):
    """Far from where training starts, so that GELU and softmax bend and every bias counts."""
    parameters = {}
    for name, shape in tensor_shapes().items():
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        if len(shape) == 2:
            value = noise / math.sqrt(shape[1])
        else:
            value = 0.3 * noise + (1 if ".ln_" in f".{name}" and name.endswith("weight") else 0)
        parameters[name] = as_float(value).requires_grad_()
    return parameters


def loss_of(p, inputs, targets):
    C, H = SHAPE["channels"], SHAPE["heads"]
    B, T = inputs.shape

    def norm(name, x):
        return F.layer_norm(x, (C,), p[f"{name}.weight"], p[f"{name}.bias"], eps=1e-5)

    def linear(name, x):
        return F.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])

    x = F.embedding(inputs, p["wte.weight"]) + p["wpe.weight"][:T]
    future = torch.ones(T, T, dtype=torch.bool).triu(1)
    for l in range(SHAPE["layers"]):
        qkv = linear(f"h.{l}.attn.c_attn", norm(f"h.{l}.ln_1", x))
        q, k, v = (part.view(B, T, H, C // H).transpose(1, 2) for part in qkv.split(C, dim=2))
        scores = (q @ k.transpose(2, 3) / math.sqrt(C // H)).masked_fill(future, -math.inf)
        attended = (scores.softmax(dim=3) @ v).transpose(1, 2).reshape(B, T, C)
        x = x + linear(f"h.{l}.attn.c_proj", attended)
        fc = linear(f"h.{l}.mlp.c_fc", norm(f"h.{l}.ln_2", x))
        x = x + linear(f"h.{l}.mlp.c_proj", F.gelu(fc, approximate="tanh"))
    logits = F.linear(norm("ln_f", x), p["wte.weight"])
    return F.cross_entropy(logits.view(B * T, -1), targets.reshape(-1))


def pretty(document):
    """JSON with one line per entry of the document and of its lists."""
    def lines(value):
        if not isinstance(value, list):
            return json.dumps(value)
        return "[\n  " + ",\n  ".join(json.dumps(item) for item in value) + "\n]"
    return "{\n" + ",\n".join(f'"{key}": {lines(v)}' for key, v in document.items()) + "\n}\n"


def main():
    generator = torch.Generator().manual_seed(20)
    parameters = initial_parameters(generator)
    arrays = {("initial", name): p.detach().clone() for name, p in parameters.items()}

    optimizer = torch.optim.AdamW(
        [dict(params=[p for p in parameters.values() if p.dim() == 2],
              weight_decay=ADAMW["weight_decay"]),
         dict(params=[p for p in parameters.values() if p.dim() == 1], weight_decay=0.0)],
        betas=(ADAMW["beta1"], ADAMW["beta2"]), eps=ADAMW["epsilon"])

    steps = []
    for step in range(STEPS):
        tokens = torch.randint(SHAPE["vocabulary"], (SEQUENCES, POSITIONS + 1), generator=generator)
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        # Up in three steps, then down along a cosine.
        along = max(0, step - 2) / STEPS
        lr = LARGEST_LEARNING_RATE * min(1, (step + 1) / 3) * 0.5 * (1 + math.cos(math.pi * along))
        lr = as_float(lr).item()

        optimizer.zero_grad()
        loss = loss_of(parameters, inputs, targets)
        loss.backward()
        if step == 0:
            arrays |= {("gradient", name): p.grad.clone() for name, p in parameters.items()}
        # Not clip_grad_norm_, which divides by norm + 1e-6: the scale here is exactly clip / norm.
        norm = math.sqrt(sum((p.grad ** 2).sum().item() for p in parameters.values()))
        scale = min(1.0, ADAMW["clip"] / norm)
        for p in parameters.values():
            p.grad *= scale
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        steps.append(dict(learning_rate=lr, loss=loss.item(), gradient_norm=norm,
                          inputs=inputs.flatten().tolist(), targets=targets.flatten().tolist()))
        print(f"step {step}: loss {loss.item():.6f}, gradient norm {norm:.6f}, scale {scale:.6f}")
    arrays |= {("final", name): p.detach() for name, p in parameters.items()}

    clipped = sum(step["gradient_norm"] > ADAMW["clip"] for step in steps)
    assert 3 <= clipped <= STEPS - 3, "clipping should bite in some steps and not in others"

    table, offset = [], 0
    folder = Path(__file__).resolve().parent
    with open(folder / "golden.bin", "wb") as binary:
        for (kind, name), array in arrays.items():
            table.append(dict(kind=kind, name=name, shape=list(array.shape), offset=offset))
            binary.write(array.contiguous().numpy().astype("<f8").tobytes())
            offset += array.numel()
    document = dict(torch=torch.__version__, shape=SHAPE, sequences=SEQUENCES,
                    positions=POSITIONS, adamw=ADAMW, steps=steps, arrays=table)
    (folder / "golden.json").write_text(pretty(document), encoding="utf-8")


main()
