#!/usr/bin/env python3
"""Opens exported models in the real transformers and the real llama.cpp, and compares token ids,
logits and greedy continuations with ours:

    python3 tests/interop/check_exports.py --build build/release [--work DIR] [--family NAME ...]

It needs torch, transformers 5 and llama-cpp-python, and the targets cllm-dist and interop_probe.
Each line of output is one comparison; the exit code is 1 where one failed.

Tolerance of logits: transformers' model in float64 is the reference. Its parameters, moved by a
relative 1e-8 at random, move a row of logits by kappa times that (root mean squares; the worst
of three draws, on all texts in one). A forward pass in floating point of unit roundoff u differs by
2 kappa u sqrt(N), N the lengths of all its sums, and T^2 for the angles of rotary positions
(Note [Tolerance of gradients], tests/support/tolerance.h). u is 2^-24; for llama.cpp's gpt2, whose
GELU is a table of f16, and for its f16 products, 2^-11, of bf16 2^-8.
"""
import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
import transformers

TEXTS = ["The cat sat on the mat.", "Emoji \U0001F600\U0001F680 \U0001F469\u200d\U0001F4BB end",
         "\u4e16\u754c\uff0c\u4f60\u597d\u3002 \u3053\u3093\u306b\u3061\u306f \uc548\ub155",
         "one\ntwo\n\n\nthree\r\nfour\n", "runs   of     spaces  ", "  in front",
         "\x00\x01\x02\x1f\x7f\t\x0b", "Gr\u00fc\u00dfe, \u041f\u0440\u0438\u0432\u0435\u0442! na\u00efve e\u0301",
         "<unk> <s> </s> <0x41> <|endoftext|>", "def f(x):\n    return x**2 + 3.14159  # 1,000,000"]
STEPS = 64
failures = 0


def say(good, what):
    global failures
    failures += not good
    print(f"{'ok  ' if good else 'FAIL'} {what}", flush=True)


def run(*command, data=b""):
    result = subprocess.run([str(c) for c in command], input=data, capture_output=True)
    if result.returncode != 0:
        raise SystemExit(f"{command}: {result.stderr.decode()}")
    return result.stdout


class Ours:
    def __init__(self, probe, model):
        self.probe, self.model = probe, model

    def encode(self, text):
        return [int(t) for t in run(self.probe, self.model, "encode", data=text.encode()).split()]

    def logits(self, tokens):
        data = " ".join(map(str, tokens)).encode()
        raw = run(self.probe, self.model, "logits", data=data)
        return np.frombuffer(raw, "<f4").reshape(len(tokens), -1).astype(np.float64)

    def greedy(self, tokens, count):
        data = " ".join(map(str, tokens)).encode()
        return [int(t) for t in run(self.probe, self.model, "greedy", count, data=data).split()]


def rms(x):
    return np.sqrt((x ** 2).mean(axis=-1))


@torch.no_grad()
def exact_logits(model, tokens):
    """Logits of a model in float64."""
    return model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0].numpy()


@torch.no_grad()
def condition(model, tokens):
    """kappa of a model in float64."""
    logits = exact_logits(model, tokens)
    kept = {n: p.clone() for n, p in model.named_parameters()}
    kappa = 1.0
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        for n, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator, dtype=p.dtype)
            p.copy_(kept[n] * (1 + 1e-8 * noise))
        moved = exact_logits(model, tokens)
        kappa = max(kappa, (rms(moved - logits) / rms(logits)).max() / 1e-8)
    for n, p in model.named_parameters():
        p.copy_(kept[n])
    return kappa


def sums(config, positions):
    c = config.hidden_size
    inner = getattr(config, "intermediate_size", None) or config.n_inner
    heads = config.num_attention_heads
    layer = 4 * c + c + 2 * (c // heads) * 2 + 2 * positions + c + c + inner
    return config.num_hidden_layers * layer + 3 * c + positions ** 2


def compare_logits(what, logits, expected, kappa, config, unit):
    bound = 2 * kappa * unit * np.sqrt(sums(config, len(expected)))
    worst = (rms(logits - expected) / rms(expected)).max()
    say(worst <= bound, f"{what}: logits off by {worst:.2g} of their size, allowed {bound:.2g}")


def check_transformers(ours, folder, name, dtype):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    say(str(model.dtype) == f"torch.{dtype}", f"{name}: opened as {type(model).__name__} of {dtype}")
    exact = model.double().eval()
    context = tokenizer.model_max_length
    kappa = condition(exact, ours.encode("".join(TEXTS))[:context])
    for i, text in enumerate(TEXTS):
        ids, theirs = ours.encode(text), tokenizer(text, add_special_tokens=False)["input_ids"]
        say(ids == theirs, f"{name}: ids of text {i}" + ("" if ids == theirs else f": {ids} {theirs}"))
        say(tokenizer.decode(theirs, clean_up_tokenization_spaces=False) == text,
            f"{name}: text {i} decoded")
        logits = exact_logits(exact, ids[:context])
        compare_logits(f"{name}: text {i}", ours.logits(ids[:context]), logits, kappa, model.config,
                       2 ** -24)
    ids = ours.encode(TEXTS[0])[:8]
    count = min(STEPS, context - len(ids))
    theirs = model.float().generate(torch.tensor([ids]), max_new_tokens=count, min_new_tokens=count,
                                    do_sample=False)[0].tolist()[len(ids):]
    say(theirs == ours.greedy(ids, count), f"{name}: greedy continuation of {count} tokens")


def open_llama(path, **options):
    import llama_cpp
    return llama_cpp.Llama(str(path), n_ctx=0, logits_all=True, verbose=False, n_threads=1, type_k=0,
                           type_v=0, **options)


def check_llama_cpp(ours, path, folder, name, unit):
    """`folder`: the same weights for transformers, which are the reference; None: ids alone."""
    llama = open_llama(path)
    context = int(llama.metadata[llama.metadata["general.architecture"] + ".context_length"])
    exact = None
    if folder:
        exact = transformers.AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation="eager").double().eval()
        kappa = condition(exact, ours.encode("".join(TEXTS))[:context])
    for i, text in enumerate(TEXTS):
        ids = ours.encode(text)
        theirs = llama.tokenize(text.encode(), add_bos=False, special=False)
        say(ids == theirs, f"{name}: ids of text {i}" + ("" if ids == theirs else f": {ids} {theirs}"))
        if exact is None:
            continue
        logits = exact_logits(exact, ids[:context])
        llama.reset()
        llama.eval(ids[:context])
        theirs = np.array(llama.scores[:len(logits)], dtype=np.float64)
        compare_logits(f"{name}: text {i}", theirs, logits, kappa, exact.config, unit)
    ids = ours.encode(TEXTS[0])[:8]
    count = min(STEPS, context - len(ids))
    llama.reset()
    continuation = []
    for token in llama.generate(ids, temp=0, top_k=1, repeat_penalty=1.0):
        continuation.append(token)
        if len(continuation) == count:
            break
    mine = ours.greedy(ids, count)
    same = next((i for i, (a, b) in enumerate(zip(mine, continuation)) if a != b), count)
    # A quantised product rounds what it multiplies with too, so near ties may fall otherwise.
    say(same == count or unit > 2 ** -8, f"{name}: greedy continuation, first {same} of {count} the same")


parser = argparse.ArgumentParser()
parser.add_argument("--build", type=Path, required=True)
parser.add_argument("--work", type=Path, default=Path("checkpoints/interop"))
parser.add_argument("--family", action="append")
parser.add_argument("--tokenizer", action="append")
parser.add_argument("--type", action="append", help="of bpe:512; others are checked as f32")
options = parser.parse_args()
torch.set_num_threads(1)
transformers.utils.logging.disable_progress_bar()
program, probe = options.build / "cllm-dist", options.build / "tests/interop/interop_probe"
work = options.work
work.mkdir(parents=True, exist_ok=True)
UNITS = {"f32": 2 ** -24, "f16": 2 ** -11, "bf16": 2 ** -8, "q8_0": 1, "q4_0": 1}
DTYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}


def export(source, format_, type_, out, *more):
    if not out.exists():
        run(program, "export", "--checkpoint", source, "--format", format_, "--type", type_, "--out",
            out, *more)
    return out


for tokenizer in options.tokenizer or ["bpe:512", "unigram:512", "bytes"]:
    for family in options.family or ["gpt2", "llama", "qwen3", "nanochat"]:
        source = work / f"{family}-{tokenizer.replace(':', '')}"
        if not (source / "complete").exists():
            run(program, "--family", family, "--tokenizer", tokenizer, "--preset", "tiny", "--channels",
                "64", "--heads", "4", "--context", "128", "--steps", "60", "--batch", "8", "--lr",
                "3e-3", "--threads", "1", "--out", source)
        types = options.type or list(UNITS) if tokenizer == "bpe:512" else ["f32"]
        for type_ in [t for t in types if t in DTYPES]:
            folder = export(source, "hf", type_, work / f"{source.name}-hf-{type_}",
                            *(["--shard-size", "1"] if type_ == "f32" else []))
            check_transformers(Ours(probe, folder), folder, folder.name, DTYPES[type_])
        if family == "nanochat" or tokenizer.startswith("unigram"):
            continue
        for type_ in types:
            path = export(source, "gguf", type_, work / f"{source.name}-{type_}.gguf")
            unit = max(UNITS[type_], 2 ** -11 if family == "gpt2" else 0)
            folder = work / f"{source.name}-hf-{type_}" if type_ in DTYPES else None
            check_llama_cpp(Ours(probe, path), path, folder, path.name, unit)
print(f"{failures} failed")
sys.exit(failures > 0)
