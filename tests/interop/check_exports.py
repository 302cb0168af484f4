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
(Note [Tolerance of gradients], tests/support/tolerance.h). u is 2^-24.

llama.cpp adds in float32 too, but rounds more: the rows that it multiplies with matrices of f16 or
bf16 are rounded to that type (vec_dot_type in ggml-cpu.c), and its GELU is a table with f16 on
either side (ggml_vec_gelu_f32 in vec.h). How far these few roundings move the logits is seen in the
reference: there each such number is off by a random part of the type's u, at most, in eight draws.
Twice the worst of them is allowed on top. That this is narrow enough to find a fault is shown: with
eight times the roundings, the reference itself must fail.
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


def distance(logits, expected):
    """The worst row's; a token that was never trained may have logits of zero, and then must have them."""
    return (rms(logits - expected) / np.maximum(rms(expected), 1e-30)).max()


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
        kappa = max(kappa, distance(moved, logits) / 1e-8)
    for n, p in model.named_parameters():
        p.copy_(kept[n])
    return kappa


def sums(config, positions):
    c = config.hidden_size
    inner = getattr(config, "intermediate_size", None) or config.n_inner
    heads = config.num_attention_heads
    layer = 4 * c + c + 2 * (c // heads) * 2 + 2 * positions + c + c + inner
    return config.num_hidden_layers * layer + 3 * c + positions ** 2


def float32_bound(kappa, config, positions):
    return 2 * kappa * 2 ** -24 * np.sqrt(sums(config, positions))


def compare_logits(what, logits, expected, bound):
    worst = distance(logits, expected)
    say(worst <= bound, f"{what}: logits off by {worst:.2g} of their size, allowed {bound:.2g}")


def rounded_logits(model, tokens, rounding, seed):
    """Logits where what goes into products, and into and out of the GELU, is off by relative random
    numbers of at most rounding["product"] and rounding["gelu"]."""
    generator = torch.Generator().manual_seed(seed)

    def off(x, unit):
        return x * (1 + unit * (2 * torch.rand(x.shape, generator=generator, dtype=x.dtype) - 1))

    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, (torch.nn.Linear, transformers.pytorch_utils.Conv1D)):
            hooks.append(module.register_forward_pre_hook(
                lambda _, inputs: (off(inputs[0], rounding["product"]),)))
        if name.endswith("mlp.act"):
            hooks.append(module.register_forward_pre_hook(
                lambda _, inputs: (off(inputs[0], rounding["gelu"]),)))
            hooks.append(module.register_forward_hook(
                lambda _, inputs, output: off(output, rounding["gelu"])))
    logits = exact_logits(model, tokens)
    for hook in hooks:
        hook.remove()
    return logits


def rounding_bound(model, tokens, logits, rounding):
    draws = [rounded_logits(model, tokens, rounding, seed) for seed in range(8)]
    return 2 * max(distance(draw, logits) for draw in draws)


def check_transformers(ours, folder, name, dtype):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    say(str(model.dtype) == f"torch.{dtype}", f"{name}: opened as {type(model).__name__} of {dtype}")
    exact = model.double().eval()
    context = tokenizer.model_max_length
    kappa = condition(exact, ours.encode("".join(TEXTS))[:context])
    for i, text in enumerate(TEXTS):
        # Text never becomes a special token here; there it does, unless this is said.
        ids = ours.encode(text)
        theirs = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        say(ids == theirs, f"{name}: ids of text {i}" + ("" if ids == theirs else f": {ids} {theirs}"))
        say(tokenizer.decode(theirs, clean_up_tokenization_spaces=False) == text,
            f"{name}: text {i} decoded")
        logits = exact_logits(exact, ids[:context])
        compare_logits(f"{name}: text {i}", ours.logits(ids[:context]), logits,
                       float32_bound(kappa, model.config, len(logits)))
    ids = ours.encode(TEXTS[0])[:8]
    count = min(STEPS, context - len(ids))
    theirs = model.float().generate(torch.tensor([ids]), max_new_tokens=count, min_new_tokens=count,
                                    do_sample=False)[0].tolist()[len(ids):]
    say(theirs == ours.greedy(ids, count), f"{name}: greedy continuation of {count} tokens")


def open_llama(path, **options):
    import llama_cpp
    return llama_cpp.Llama(str(path), n_ctx=0, logits_all=True, verbose=False, n_threads=1, type_k=0,
                           type_v=0, **options)


def check_llama_cpp(ours, path, folder, name, type_, family):
    """`folder`: the same weights for transformers, which are the reference; None: ids alone."""
    llama = open_llama(path)
    context = int(llama.metadata[llama.metadata["general.architecture"] + ".context_length"])
    exact = None
    if folder:
        exact = transformers.AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation="eager").double().eval()
        kappa = condition(exact, ours.encode("".join(TEXTS))[:context])
        rounding = {"product": PRODUCT_UNITS.get(type_, 0), "gelu": 2 ** -11 if family == "gpt2" else 0}
        coarse = {what: 8 * unit for what, unit in rounding.items()}
    noticed = False
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
        bound = (float32_bound(kappa, exact.config, len(logits)) +
                 rounding_bound(exact, ids[:context], logits, rounding))
        compare_logits(f"{name}: text {i}", theirs, logits, bound)
        noticed |= distance(rounded_logits(exact, ids[:context], coarse, 100), logits) > bound
    if exact is not None and any(rounding.values()):
        say(noticed, f"{name}: eight times the roundings are noticed")
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
    say(same == count or type_ not in DTYPES, f"{name}: greedy continuation, first {same} of {count} the same")


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
TYPES = ["f32", "f16", "bf16", "q8_0", "q4_0"]
PRODUCT_UNITS = {"f16": 2 ** -11, "bf16": 2 ** -8}
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
        types = options.type or TYPES if tokenizer == "bpe:512" else ["f32"]
        for type_ in [t for t in types if t in DTYPES]:
            folder = export(source, "hf", type_, work / f"{source.name}-hf-{type_}",
                            *(["--shard-size", "1"] if type_ == "f32" else []))
            check_transformers(Ours(probe, folder), folder, folder.name, DTYPES[type_])
        if family == "nanochat" or tokenizer.startswith("unigram"):
            continue
        for type_ in types:
            path = export(source, "gguf", type_, work / f"{source.name}-{type_}.gguf")
            folder = work / f"{source.name}-hf-{type_}" if type_ in DTYPES else None
            check_llama_cpp(Ours(probe, path), path, folder, path.name, type_, family)
print(f"{failures} failed")
sys.exit(failures > 0)
