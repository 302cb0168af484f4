#!/usr/bin/env python3
"""Times training steps of a GPT-2 in PyTorch on the CPU: the peer that cllm-dist is compared with.

    torch_gpt.py --preset gpt2-124m --batch 4 --context 64 --steps 10 --threads 2 --json

The model is the GPT-2 that nanoGPT made common, without dropout: learned positions, layer norm
before attention and before the MLP, biases everywhere, tanh GELU, the head tied to the token table.
A step is what a trainer does: forward, backward, clipping to norm 1, AdamW, zero_grad, in float32.
All steps take the same random tokens, so that the loss falls and the model is seen to train.

Each part is the fastest that the PyTorch at hand has: fused attention (PyTorch 2.0), fused AdamW on
the CPU (2.4), and torch.compile where --compile asks for it. It runs in PyTorch 1.13 and later.

--json prints one JSON object. With --matmul N it times products of N x N matrices instead.
"""
import argparse
import json
import math
import os
import platform
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

PRESETS = {
    "gpt2-124m": dict(layers=12, heads=12, channels=768, context=1024, vocabulary=50257),
    "medium": dict(layers=6, heads=6, channels=384, context=256, vocabulary=4096),
    "mini": dict(layers=4, heads=4, channels=128, context=64, vocabulary=256),
}
HAS_FUSED_ATTENTION = hasattr(F, "scaled_dot_product_attention")
LEARNING_RATE, BETAS, WEIGHT_DECAY, CLIP = 6e-4, (0.9, 0.95), 0.1, 1.0
STANDARD_DEVIATION = 0.02


class Attention(nn.Module):
    def __init__(self, shape):
        super().__init__()
        channels, context = shape["channels"], shape["context"]
        self.heads = shape["heads"]
        self.c_attn = nn.Linear(channels, 3 * channels)
        self.c_proj = nn.Linear(channels, channels)
        if not HAS_FUSED_ATTENTION:
            future = torch.ones(context, context, dtype=torch.bool).triu(1)
            self.register_buffer("future", future, persistent=False)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = (
            part.view(B, T, self.heads, C // self.heads).transpose(1, 2)
            for part in self.c_attn(x).split(C, dim=2)
        )
        if HAS_FUSED_ATTENTION:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = (q @ k.transpose(2, 3)) * (1 / math.sqrt(C // self.heads))
            scores = scores.masked_fill(self.future[:T, :T], -math.inf)
            y = scores.softmax(dim=-1) @ v
        return self.c_proj(y.transpose(1, 2).reshape(B, T, C))


class MLP(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.c_fc = nn.Linear(channels, 4 * channels)
        self.c_proj = nn.Linear(4 * channels, channels)

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.ln_1 = nn.LayerNorm(shape["channels"])
        self.attn = Attention(shape)
        self.ln_2 = nn.LayerNorm(shape["channels"])
        self.mlp = MLP(shape["channels"])

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.wte = nn.Embedding(shape["vocabulary"], shape["channels"])
        self.wpe = nn.Embedding(shape["context"], shape["channels"])
        self.h = nn.ModuleList(Block(shape) for _ in range(shape["layers"]))
        self.ln_f = nn.LayerNorm(shape["channels"])
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.dim() == 2:
                depth = 2 * shape["layers"] if name.endswith("c_proj.weight") else 1
                nn.init.normal_(parameter, std=STANDARD_DEVIATION / math.sqrt(depth))

    def forward(self, inputs, targets):
        x = self.wte(inputs) + self.wpe(torch.arange(inputs.shape[1]))
        for block in self.h:
            x = block(x)
        logits = F.linear(self.ln_f(x), self.wte.weight)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


def make_optimizer(parameters, kind):
    """AdamW, and which kind it is: fused where there is one for the CPU."""
    groups = [
        dict(params=[p for p in parameters if p.dim() >= 2], weight_decay=WEIGHT_DECAY),
        dict(params=[p for p in parameters if p.dim() < 2], weight_decay=0.0),
    ]
    if kind == "auto":
        trial = nn.Parameter(torch.ones(2))
        trial.grad = torch.ones(2)
        try:
            torch.optim.AdamW([trial], fused=True).step()
            kind = "fused"
        except (TypeError, RuntimeError):
            kind = "loop"
    choice = {"fused": dict(fused=True), "foreach": dict(foreach=True), "loop": dict(foreach=False)}
    return torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS, **choice[kind]), kind


def blas():
    """What torch.__config__.show() says of the libraries for matrix products."""
    words = ("MKL", "oneAPI", "OpenBLAS", "BLAS_INFO", "CPU capability")
    found = []
    for line in torch.__config__.show().splitlines():
        if "Build settings" in line:
            found += [part.strip() for part in line.split(",") if "BLAS_INFO" in part]
        elif any(word in line for word in words):
            found.append(line.strip(" -"))
    return [part.split("Build settings: ")[-1] for part in found]


def machine():
    return dict(
        torch=torch.__version__,
        python=platform.python_version(),
        threads=torch.get_num_threads(),
        blas=blas(),
        environment={
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "DNNL_"))
        },
    )


def train(options):
    shape = {name: getattr(options, name) for name in PRESETS["mini"]}
    torch.manual_seed(1)
    model = GPT(shape)
    parameters = list(model.parameters())
    optimizer, adamw = make_optimizer(parameters, options.adamw)
    tokens = torch.randint(shape["vocabulary"], (options.batch, shape["context"] + 1))
    inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    run = torch.compile(model) if options.compile else model

    losses, seconds = [], []
    for _ in range(options.warmup_steps + options.steps):
        start = time.perf_counter()
        loss = run(inputs, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
    warmup, seconds = seconds[: options.warmup_steps], seconds[options.warmup_steps :]
    step_seconds = statistics.median(seconds)
    return dict(
        shape=shape,
        batch=options.batch,
        parameters=sum(p.numel() for p in parameters),
        steps=options.steps,
        step_seconds=step_seconds,
        fastest_step_seconds=min(seconds),
        warmup_seconds=sum(warmup),
        tokens_per_s=inputs.numel() / step_seconds,
        fused_attention=HAS_FUSED_ATTENTION,
        adamw=adamw,
        compiled=options.compile,
        first_loss=losses[0],
        last_loss=losses[-1],
        uniform_loss=math.log(shape["vocabulary"]),
    )


def multiply(size, repeats=10):
    torch.manual_seed(1)
    a, b = torch.randn(size, size), torch.randn(size, size)
    product = a @ b
    exact = a[:16].double() @ b.double()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        torch.mm(a, b, out=product)
        seconds.append(time.perf_counter() - start)
    error = (product[:16].double() - exact).abs().max() / exact.abs().max()
    return dict(
        matmul=size,
        gflops=2e-9 * size**3 / statistics.median(seconds),
        best_gflops=2e-9 * size**3 / min(seconds),
        relative_error=error.item(),
    )


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def parse(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--preset", choices=PRESETS, default="mini", help="default: mini")
    for name in PRESETS["mini"]:
        add(f"--{name}", type=positive, metavar="N", help="instead of the preset's")
    add("--batch", type=positive, default=4, metavar="N", help="sequences of a step (default: 4)")
    add("--steps", type=positive, default=10, metavar="N", help="steps timed (default: 10)")
    add("--warmup-steps", type=int, default=2, metavar="N", help="steps before (default: 2)")
    add("--threads", type=positive, default=os.cpu_count(), metavar="N", help="default: all")
    add("--compile", action="store_true", help="by torch.compile")
    add("--adamw", choices=("auto", "fused", "foreach", "loop"), default="auto",
        help="default: fused where this PyTorch can, a loop over tensors elsewhere")
    add("--matmul", type=positive, metavar="N", help="time N x N matrix products, no training")
    add("--json", action="store_true", help="print one JSON object instead of lines")
    options = parser.parse_args(arguments)
    for name, value in PRESETS[options.preset].items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.channels % options.heads:
        parser.error(f"--channels {options.channels} must be a multiple of --heads {options.heads}")
    if options.warmup_steps < 0:
        parser.error("--warmup-steps must not be negative")
    if options.compile and not hasattr(torch, "compile"):
        parser.error(f"PyTorch {torch.__version__} has no torch.compile")
    return options


def main():
    options = parse(sys.argv[1:])
    torch.set_num_threads(options.threads)
    result = machine() | (multiply(options.matmul) if options.matmul else train(options))
    if options.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:>22}  {value}")


if __name__ == "__main__":
    main()
