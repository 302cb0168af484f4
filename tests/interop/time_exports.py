#!/usr/bin/env python3
"""How fast models come in and go out, beside `dd` of as many bytes with conv=fsync, as exports are synced too:

    time_exports.py --build build/release [--work DIR] [--runs 3]

The model is a llama of 135 M parameters (SmolLM's shape) with random weights, as transformers saves it. Each line has the
median of the runs in seconds and MB (a million bytes) a second; runs of all kinds take turns. Times of `export` are those
of the whole program: the model is read from its directory (in the page cache), and written.
"""
import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import time


def make_model(folder):
    import torch
    import transformers
    torch.manual_seed(1)
    config = transformers.LlamaConfig(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
                                      num_key_value_heads=3, vocab_size=49152, max_position_embeddings=2048,
                                      tie_word_embeddings=True)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)


def seconds(command):
    start = time.monotonic()
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - start


def size_of(path):
    return sum(f.stat().st_size for f in path.rglob("*")) if path.is_dir() else path.stat().st_size


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("checkpoints/exports"))
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    model, out = options.work / "model", options.work / "out"
    if not model.exists():
        make_model(model)
    program = options.build / "cllm-dist"
    export = [program, "export", "--checkpoint", model, "--out", out]
    kinds = {"read all (inspect)": [program, "inspect", model]}
    kinds |= {f"hf {t}": [*export, "--format", "hf", "--type", t] for t in ("f32", "bf16")}
    kinds |= {f"gguf {t}": [*export, "--format", "gguf", "--type", t] for t in ("f32", "f16", "q8_0", "q4_0")}
    times, sizes = {}, {}
    for _ in range(options.runs):
        for kind, command in kinds.items():
            times.setdefault(kind, []).append(seconds(command))
            sizes[kind] = size_of(out if out.exists() else model)
            copies = [["dd", f"if={model / 'model.safetensors'}", f"of={out}.dd", "bs=1M", "conv=fsync",
                       "iflag=count_bytes", f"count={sizes[kind]}"]] if out.exists() else []
            for path in (out,):
                shutil.rmtree(path) if path.is_dir() else path.exists() and path.unlink()
            for copy in copies:
                times.setdefault(f"dd of {kind}", []).append(seconds(copy))
                sizes[f"dd of {kind}"] = sizes[kind]
                os.unlink(f"{out}.dd")
    for kind, runs in times.items():
        median = statistics.median(runs)
        print(f"{kind:24} {sizes[kind] / 1e6:8.1f} MB {median:6.2f} s {sizes[kind] / 1e6 / median:8.0f} MB/s")


main()
