#!/usr/bin/env python3
"""Compares the ids and the speed of `cllm-dist tokenize` with Hugging Face's `tokenizers` and with SentencePiece:

    check_tokenizers.py --build build/release --texts DIRECTORY [--work DIR] [--megabytes 100] [--vocabulary 32000]
                        [--threads 2] [--only NAME ...]

The text is made of DIRECTORY's *.txt, of source code (this project's and Python's), and of random characters of all
of Unicode, in shuffled pieces of a few bytes to some hundred kilobytes; each is a document. The tokenizers are those of
make_tokenizers.py, for each split pattern, with a larger vocabulary, and a SentencePiece BPE that cllm-dist trains,
which `tokenizers` opens as what `export` makes of it. Every id of every document must be equal, and one changed id must be
noticed; the exit code is 1 where something isn't so.

Speeds are MB (a million bytes) of text a second of wall-clock time on the given number of threads. Ours is the whole
program, with reading the text and writing the token file; theirs is encode_batch, encode_batch_fast (which keeps no
offsets), both on a quarter of the text, and SentencePiece's encode on strings that are in memory. MB a second of CPU time stand in brackets: on a
busy machine they say more.
"""
import argparse
import json
import os
import pathlib
import random
import resource
import subprocess
import sys
import sysconfig
import time

import make_tokenizers

SEPARATOR = "\x1e\x1d\x1e"
PIECES_AT_ONCE = 500
failures = 0


def say(good, what):
    global failures
    failures += not good
    print(f"{'ok  ' if good else 'FAIL'} {what}", flush=True)


def random_text(generator):
    """Characters of one block, of some blocks, or of all of Unicode, with what patterns look at between them."""
    base = generator.randrange(0x110000)
    width = generator.choice([0x40, 0x400, 0x110000])
    text = []
    for _ in range(generator.randrange(2000)):
        code = (base + generator.randrange(width)) % 0x110000
        if code == 0 or 0xD800 <= code < 0xE000 or code in make_tokenizers.NEWEST_NUMBERS:
            continue
        text.append(chr(code) if generator.random() < 0.8 else generator.choice(
            [" ", "  ", "\n", "\r\n", "\t", "'s", "'LL", "\u017f", "12345", "a", "!", "\u00a0", "\u3000", "e\u0301"]))
    return "".join(text)


def mixed_pieces(folder, byte_count):
    generator = random.Random(17)
    project = pathlib.Path(__file__).resolve().parents[2]
    sources = [*(project / "src").rglob("*.cc"), *(project / "include").rglob("*.h"),
               *pathlib.Path(sysconfig.get_paths()["stdlib"]).glob("*.py")]
    prose = [p.read_bytes().decode() for p in sorted(pathlib.Path(folder).glob("*.txt"))]
    code = ["".join(p.read_bytes().decode(errors="ignore") for p in sorted(sources))]
    pieces, total = [], 0
    while total < byte_count:
        kind = generator.random()
        if kind < 0.02:
            piece = random_text(generator)
        else:
            text = generator.choice(prose) if kind < 0.7 else code[0]
            start = generator.randrange(len(text))
            piece = text[start:start + int(10 ** generator.uniform(0.5, 5.3))]
        piece = piece.replace("\0", "").replace(SEPARATOR, "")
        if piece:
            pieces.append(piece)
            total += len(piece.encode())
    return pieces, total


def write_documents(options, name, pieces):
    path = options.work / f"{name}.txt"
    path.write_text(SEPARATOR.join(pieces), encoding="utf-8", newline="")
    return path


def timed(action):
    """What it returned, wall-clock seconds, CPU seconds of this process and its children."""
    def cpu():
        return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    wall, before = time.monotonic(), cpu()
    result = action()
    return result, time.monotonic() - wall, cpu() - before


class Speeds:
    def __init__(self, byte_count):
        self.megabytes, self.said = byte_count / 1e6, []

    def add(self, name, wall, cpu, share=1):
        megabytes = self.megabytes * share
        self.said.append(f"{name} {megabytes / wall:.1f} ({megabytes / cpu:.1f})")


def read_tokens(path):
    """The tokens of a token file (docs/data_format.md)."""
    import numpy
    with open(path, "rb") as file:
        header = file.read(128)
        width, count = int.from_bytes(header[12:16], "little"), int.from_bytes(header[16:24], "little")
        return numpy.frombuffer(file.read(width * count), {2: "<u2", 4: "<u4"}[width])


def ours(options, text, tokenizer, name, speeds):
    out = options.work / f"{name}.tokens"
    out.unlink(missing_ok=True)
    command = [options.build / "cllm-dist", "tokenize", "--data", text, "--document-separator", SEPARATOR,
               "--tokenizer", tokenizer, "--out", out]
    _, wall, cpu = timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
    speeds.add("cllm-dist", wall, cpu)
    return read_tokens(out)


def first_difference(tokens, pieces, encode, end):
    """The first piece whose ids are others than `tokens` has, which end with `end` behind each piece; None: none."""
    import numpy
    at = 0
    for first in range(0, len(pieces), PIECES_AT_ONCE):
        for i, ids in enumerate(encode(pieces[first:first + PIECES_AT_ONCE]), first):
            expected = numpy.array([*ids, end])
            if not numpy.array_equal(tokens[at:at + len(expected)], expected):
                return i
            at += len(expected)
    return None if at == len(tokens) else len(pieces)


def compare(tokens, pieces, encode, end, name):
    different = first_difference(tokens, pieces, encode, end)
    say(different is None, f"{name}: {len(tokens)} ids of {len(pieces)} documents" +
        ("" if different is None else f"; document {different} is {pieces[min(different, len(pieces) - 1)][:200]!r}"))
    some = pieces[:100]
    few = sum(len(ids) + 1 for ids in encode(some))
    spoiled = tokens[:few].copy()
    say(first_difference(spoiled, some, encode, end) is None, f"{name}: so are {few} ids of some")
    spoiled[few * 2 // 3] += 1
    say(first_difference(spoiled, some, encode, end) is not None, f"{name}: one changed id is noticed")


def check_byte_level(options, text, pieces, byte_count, pattern):
    path = options.work / f"{pattern}-{options.vocabulary}.json"
    if not path.exists():
        sample = random.Random(1).sample(pieces, len(pieces) // 20)
        make_tokenizers.build(pattern, sample, options.vocabulary).save(str(path))
    tokenizer = make_tokenizers.Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True
    speeds = Speeds(byte_count)
    tokens = ours(options, text, path, pattern, speeds)
    quarter = pieces[:len(pieces) // 4]
    share = sum(len(piece.encode()) for piece in quarter) / byte_count
    for name, encode in (("encode_batch", tokenizer.encode_batch), ("encode_batch_fast", tokenizer.encode_batch_fast)):
        speeds.add(name, *timed(lambda: encode(quarter, add_special_tokens=False) and None)[1:], share)
    compare(tokens, pieces, lambda some: [e.ids for e in tokenizer.encode_batch_fast(some, add_special_tokens=False)],
            tokenizer.token_to_id("<|endoftext|>"), pattern)
    print(f"     {pattern}: MB/s {', '.join(speeds.said)}", flush=True)


def check_sentencepiece(options, pieces, byte_count):
    import sentencepiece
    name = "sentencepiece"
    run = options.work / name
    if not (run / "complete").exists():
        sample = options.work / "sample.txt"
        sample.write_text("".join(pieces[::20]), encoding="utf-8", newline="")
        subprocess.run([options.build / "cllm-dist", "--data", sample, "--tokenizer", f"bpe:{options.vocabulary}",
                        "--preset", "tiny", "--channels", "16", "--heads", "1", "--steps", "1", "--batch", "2", "--out", run],
                       check=True, stdout=subprocess.DEVNULL)
        subprocess.run([options.build / "cllm-dist", "export", "--checkpoint", run, "--out", run / "hf"], check=True,
                       stdout=subprocess.DEVNULL)
    model = run / "hf" / "tokenizer.model"
    tokenizer = make_tokenizers.Tokenizer.from_file(str(run / "hf" / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    # U+2581 is what SentencePiece writes for a space: the one character that `tokenizers` reads otherwise.
    pieces = [text for text in (piece.replace("\u2581", "") for piece in pieces) if text]
    text = write_documents(options, name, pieces)
    speeds = Speeds(byte_count)
    tokens = ours(options, text, model, name, speeds)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    lines = [line for piece in pieces for line in piece.split("\n")]
    speeds.add("SentencePiece", *timed(lambda: processor.encode(lines, num_threads=options.threads))[1:])
    quarter = pieces[:len(pieces) // 4]
    speeds.add("encode_batch_fast", *timed(lambda: tokenizer.encode_batch_fast(quarter, add_special_tokens=False) and None)[1:],
               sum(len(piece.encode()) for piece in quarter) / byte_count)
    compare(tokens, pieces, lambda some: [e.ids for e in tokenizer.encode_batch_fast(some, add_special_tokens=False)],
            tokenizer.token_to_id("<|endoftext|>"), name)
    print(f"     {name}: MB/s {', '.join(speeds.said)}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--texts", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("checkpoints/tokenizers"))
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--vocabulary", type=int, default=32000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", action="append", help="gpt2, llama3, qwen2, smollm, sentencepiece")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    os.environ.update(RAYON_NUM_THREADS=str(options.threads), TOKENIZERS_PARALLELISM="true",
                      OMP_NUM_THREADS=str(options.threads))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:options.threads])
    pieces, byte_count = mixed_pieces(options.texts, options.megabytes * 1_000_000)
    text = write_documents(options, "mixed", pieces)
    print(f"     {byte_count} bytes in {len(pieces)} documents", flush=True)
    for name in options.only or ["gpt2", "llama3", "qwen2", "smollm", "sentencepiece"]:
        if name == "sentencepiece":
            check_sentencepiece(options, pieces, byte_count)
        else:
            check_byte_level(options, text, pieces, byte_count, name)
    print(f"{failures} failed")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
