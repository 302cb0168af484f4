#!/usr/bin/env python3
"""Fine-tunes a Llama with cllm-dist and with PyTorch and PEFT, all weights and by LoRA, on the same batches:

    python3 tests/bench/compare_tuning.py --program build/release/cllm-dist [--shape 15m|42m|135m] [--steps 20]

It needs torch, transformers 5 and peft. A random model of the shape is what both begin with; adapters begin with
the same A, which is read from an export of cllm-dist. Both take AdamW steps in float32 at a constant rate, clipped
to 1, with as many threads. Printed are the largest difference of two losses over the steps (the exit code is 1
above 1e-3), tokens/s from the third step on, and the peak of resident memory.
"""
import argparse
import json
import pickle
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SHAPES = {  # layers, heads, heads of keys, channels, MLP, vocabulary
    "15m": (6, 6, 6, 288, 768, 8192),
    "42m": (8, 8, 8, 512, 1376, 16384),
    "135m": (30, 9, 3, 576, 1536, 49152),
}
RATES = {"full": 2e-5, "lora": 2e-3}
SEED, RANK, ALPHA = 1, 8, 16
MASK32, MASK64 = (1 << 32) - 1, (1 << 64) - 1


# --- the order of sequences, as src/data/sampler.cc has it -------------------------------------------------------
def philox(c, k):
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = (p1 >> 32 ^ c[1] ^ k[0], p1 & MASK32, p0 >> 32 ^ c[3] ^ k[1], p0 & MASK32)
        k = ((k[0] + 0x9E3779B9) & MASK32, (k[1] + 0xBB67AE85) & MASK32)
    return c


def stream(seed, number):
    """The first 64 bits of a stream of random numbers."""
    words = philox((0, 0, number & MASK32, number >> 32), (seed & MASK32, seed >> 32))
    return words[0] << 32 | words[1]


def starts(tokens, context, count):
    """Where the first `count` sequences begin; in one epoch, of windows that leave no offset."""
    key = stream(SEED, 0x73616D706C657273)
    windows = (tokens - context) // context
    assert windows >= count
    offsets = min(context, tokens - windows * context)
    offset = stream(key, 0) % offsets
    half = ((windows - 1).bit_length() + 1) // 2
    result = []
    for index in range(count):
        while True:
            left, right = index >> half, index & (1 << half) - 1
            for number in range(1, 13):
                random = philox((right, number, 0, 0), (key & MASK32, key >> 32))
                left, right = right, left ^ random[0] & (1 << half) - 1
            index = left << half | right
            if index < windows:
                break
        result.append(offset + index * context)
    return result


# --- PyTorch -----------------------------------------------------------------------------------------------------
def peer(options):
    import peft
    import torch
    import transformers
    torch.set_num_threads(options.threads)
    model = transformers.AutoModelForCausalLM.from_pretrained(options.work / "base", dtype=torch.float32)
    if options.peer == "lora":
        model = peft.PeftModel.from_pretrained(model, options.work / "start", is_trainable=True)
        with torch.no_grad():
            for name, p in model.named_parameters():
                if "lora_B" in name:
                    p.zero_()
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [dict(params=[p for p in trained if p.dim() > 1], weight_decay=0.1),
         dict(params=[p for p in trained if p.dim() == 1], weight_decay=0.0)],
        lr=RATES[options.peer], betas=(0.9, 0.95), eps=1e-8, fused=True)
    tokens = torch.from_numpy(np.fromfile(options.work / "train.bin", dtype=np.uint16).astype(np.int64))
    first = starts(len(tokens), options.context, options.batch * options.steps)
    losses, seconds = [], []
    for step in range(options.steps):
        begin = time.perf_counter()
        rows = torch.stack([tokens[s:s + options.context + 1]
                            for s in first[step * options.batch:(step + 1) * options.batch]])
        total = 0.0
        for part in rows.split(options.micro_batch):
            logits = model(input_ids=part[:, :-1], use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten())
            loss = loss * (len(part) / options.batch)
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(total)
        seconds.append(time.perf_counter() - begin)
    speed = options.batch * options.context / statistics.median(seconds[2:])
    print(json.dumps(dict(losses=losses, speed=speed,
                          memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)))


# --- cllm-dist ---------------------------------------------------------------------------------------------------
def run(command):
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if result.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: {result.stderr}")
    return result.stdout


def ours(options, kind, out, rate, steps):
    adapters = ["--lora-rank", RANK, "--lora-alpha", ALPHA] if kind == "lora" else []
    text = run([options.program, "--init-from", options.work / "base", "--data", options.work / "train.bin",
                "--validation-data", options.work / "rest.bin", "--eval-sequences", 1, "--eval-every", options.steps,
                "--context", options.context, "--batch", options.batch, "--micro-batch", options.micro_batch, "--steps",
                steps, "--optimizer", "adamw", "--lr", rate, "--schedule", "constant", "--warmup", 0, "--threads",
                options.threads, "--seed", SEED, "--checkpoint-write", "blocking", "--out", out, *adapters])
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    taken = [line for line in lines if "loss" in line]
    peak = next(line for line in text.splitlines() if line.startswith("peak"))
    return dict(losses=[line["loss"] for line in taken],
                speed=statistics.median(line["tokens_per_s"] for line in taken[2:] or taken),
                memory=float(peak.split()[1]))


def make(options):
    import torch
    import transformers
    torch.manual_seed(5)
    layers, heads, kv_heads, channels, width, vocabulary = SHAPES[options.shape]
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=vocabulary, hidden_size=channels, intermediate_size=width, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, max_position_embeddings=options.context,
        tie_word_embeddings=True, bos_token_id=None, eos_token_id=None, pad_token_id=None))
    model.save_pretrained(options.work / "base")
    # Tokens that follow from the one before, mostly, so that there is something to learn.
    rng = np.random.default_rng(2)
    count = (options.batch * options.steps + 1) * options.context
    following = rng.integers(0, vocabulary, vocabulary)
    tokens = rng.integers(0, vocabulary, count)
    for i in range(1, count):
        if rng.random() < 0.7:
            tokens[i] = following[tokens[i - 1]]
    tokens.astype(np.uint16).tofile(options.work / "train.bin")
    tokens[:2 * options.context].astype(np.uint16).tofile(options.work / "rest.bin")
    (options.work / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": vocabulary}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="15m")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--peer", choices=RATES)
    for name, value in dict(steps=20, batch=8, micro_batch=2, context=128, threads=2).items():
        parser.add_argument("--" + name.replace("_", "-"), type=int, default=value)
    options = parser.parse_args()
    if options.peer:
        return peer(options)
    options.work = options.work or Path(tempfile.mkdtemp())
    make(options)
    worst = 0.0
    print(f"{options.shape}: {options.batch} x {options.context} tokens a step, {options.threads} threads")
    for kind, rate in RATES.items():
        if kind == "lora":
            ours(options, kind, options.work / "first", 1e-30, 1)
            run([options.program, "export", "--checkpoint", options.work / "first", "--out", options.work / "start"])
        here = ours(options, kind, options.work / kind, rate, options.steps)
        arguments = [f"--{n}={getattr(options, n.replace('-', '_'))}"
                     for n in ("work", "steps", "batch", "micro-batch", "context", "threads")]
        there = json.loads(run([sys.executable, __file__, "--peer", kind, *arguments]).splitlines()[-1])
        difference = max(abs(a - b) for a, b in zip(here["losses"], there["losses"], strict=True))
        worst = max(worst, difference)
        for name, one in (("cllm-dist", here), ("PyTorch", there)):
            print(f"{kind:<5} {name:<10} {one['speed']:8.0f} tokens/s {one['memory']:6.2f} GB   loss "
                  f"{one['losses'][0]:.5f} to {one['losses'][-1]:.5f}")
        print(f"{kind:<5} losses differ by at most {difference:.2e}", flush=True)
    sys.exit(worst > 1e-3)


main()
