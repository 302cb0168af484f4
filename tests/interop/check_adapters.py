#!/usr/bin/env python3
"""Trains adapters with cllm-dist, opens them in the real PEFT, and compares logits and the merged model:

    python3 tests/interop/check_adapters.py --build build/release [--work DIR]

It needs torch, transformers 5 and peft, and the targets cllm-dist and interop_probe. For each family: a random
model of transformers, some steps with --lora-rank, `export` of the adapters alone and merged. Logits of PEFT on
the base must be ours, and those of the merged model theirs, to a relative 1e-5 (root mean squares): a hundred
roundings of float32. Each line of output is one comparison; the exit code is 1 where one failed.
"""
import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import peft
import torch
import transformers

V, T = 256, 32
failures = 0


def run(*command, data=b""):
    result = subprocess.run([str(c) for c in command], input=data, capture_output=True)
    if result.returncode != 0:
        raise SystemExit(f"{command}: {result.stderr.decode()}")
    return result.stdout


def make(family):
    torch.manual_seed(7)
    shape = dict(vocab_size=V, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                 num_key_value_heads=2, max_position_embeddings=T, bos_token_id=None, eos_token_id=None,
                 pad_token_id=None)
    if family == "gpt2":
        return transformers.GPT2LMHeadModel(transformers.GPT2Config(
            vocab_size=V, n_positions=T, n_embd=64, n_layer=2, n_head=4, bos_token_id=None, eos_token_id=None))
    kind = {"llama": (transformers.LlamaForCausalLM, transformers.LlamaConfig),
            "qwen3": (transformers.Qwen3ForCausalLM, transformers.Qwen3Config),
            "nanochat": (transformers.NanoChatForCausalLM, transformers.NanoChatConfig)}[family]
    more = dict(head_dim=16) if family == "qwen3" else {}
    return kind[0](kind[1](**shape, **more))


@torch.no_grad()
def logits_of(model, tokens):
    return model.double().eval()(input_ids=torch.tensor([tokens]), use_cache=False).logits[0].numpy()


def say(good, what):
    global failures
    failures += not good
    print(f"{'ok  ' if good else 'FAIL'} {what}", flush=True)


def check(what, ours, theirs, tolerance):
    error = np.sqrt(((ours - theirs) ** 2).mean()) / np.sqrt((theirs ** 2).mean())
    say(error < tolerance, f"{what}: relative error {error:.2e}, allowed {tolerance:.0e}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp())
    program, probe = options.build / "cllm-dist", options.build / "tests/interop/interop_probe"
    rng = np.random.default_rng(3)
    work.mkdir(parents=True, exist_ok=True)
    text = work / "text.txt"
    text.write_bytes(bytes(rng.integers(32, 127, 20000, dtype=np.uint8)))
    for family, targets in (("gpt2", "all"), ("llama", "all"), ("llama", "q_proj,v_proj"), ("qwen3", "attention"),
                            ("nanochat", "all")):
        folder = work / f"{family}-{targets.replace(',', '-')}"
        base = folder / "base"
        make(family).save_pretrained(base)
        # A tokenizer of bytes, which ours is.
        run(program, "--family", family, "--preset", "tiny", "--steps", "1", "--data", text, "--out", folder / "any",
            "--tokenizer", "bytes", "--threads", "1")
        run(program, "export", "--checkpoint", folder / "any", "--out", folder / "any_hf")
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (base / name).write_bytes((folder / "any_hf" / name).read_bytes())
        run(program, "--init-from", base, "--data", text, "--out", folder / "run", "--lora-rank", "4", "--lora-targets",
            targets, "--lr", "0.02", "--steps", "20", "--batch", "4", "--threads", "1")
        run(program, "export", "--checkpoint", folder / "run", "--out", folder / "adapter")
        run(program, "export", "--checkpoint", folder / "run", "--merge", "--out", folder / "merged")
        tokens = rng.integers(0, V, T // 2).tolist()
        step = sorted((folder / "run").glob("step-*.h5"))[-1]
        raw = run(probe, step, "logits", data=" ".join(map(str, tokens)).encode())
        ours = np.frombuffer(raw, "<f4").reshape(len(tokens), -1).astype(np.float64)
        load = transformers.AutoModelForCausalLM.from_pretrained
        plain = logits_of(load(base, dtype=torch.float32), tokens)
        adapted = peft.PeftModel.from_pretrained(load(base, dtype=torch.float32), folder / "adapter")
        theirs = logits_of(adapted, tokens)
        name = f"{family} {targets}"
        moved = np.abs(theirs - plain).max()
        say(moved > 1e-3, f"{name}: adapters move logits by {moved:.3f}")
        check(f"{name}: ours with adapters, and PEFT's", ours, theirs, 1e-5)
        check(f"{name}: merged by export, and PEFT's", logits_of(load(folder / "merged", dtype=torch.float32), tokens),
              theirs, 1e-5)
        check(f"{name}: merged by PEFT", logits_of(adapted.merge_and_unload(), tokens), theirs, 1e-5)
    sys.exit(failures > 0)


main()
