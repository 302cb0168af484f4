"""Compares the tokens that `cllm-dist tokenize` makes of JSON lines with those of Hugging Face's `tokenizers`.

    check_documents.py PROGRAM TOKENIZER.json [--lines N]

Writes N random lines of each form (text, prompt and completion, messages), and exits with 1 where a token differs.
Special tokens are put in by hand, since documents may spell them; `tokenizers` encodes what stands between.
"""
import argparse
import json
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

import numpy
from tokenizers import Tokenizer

PARTS = ["a", "the ", "\u00e9", "\u65e5\u672c", "\U0001F600", "\n", "\r\n", "  ", "<|im_end|>", "<|endoftext|>", "1234",
         "'s", " x", "\t", "\u2028"]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("program")
    arguments.add_argument("tokenizer", type=pathlib.Path)
    arguments.add_argument("--lines", type=int, default=1000)
    given = arguments.parse_args()
    random.seed(7)

    description = json.loads(given.tokenizer.read_text())
    specials = {token["content"]: token["id"] for token in description["added_tokens"] if token["special"]}
    description["added_tokens"] = [token for token in description["added_tokens"] if not token["special"]]
    tokenizer = Tokenizer.from_str(json.dumps(description))

    def text(least, most):
        return "".join(random.choice(PARTS) for _ in range(random.randint(least, most)))

    def plain(words):
        return tokenizer.encode(words, add_special_tokens=False).ids

    lines, expected = [], []
    for _ in range(given.lines):
        document = text(1, 60)
        prompt, completion = text(1, 20), text(1, 20)
        messages = [{"role": role, "content": text(0, 20)} for role in ("system", "user", "assistant")]
        lines += [{"text": document}, {"prompt": prompt, "completion": completion}, {"messages": messages}]
        expected += plain(document) + [specials["<|endoftext|>"]]
        expected += plain(prompt + completion) + [specials["<|endoftext|>"]]
        for message in messages:
            expected.append(specials["<|im_start|>"])
            expected += plain(message["role"] + "\n" + message["content"])
            expected += [specials["<|im_end|>"]] + plain("\n")
        expected.append(specials["<|endoftext|>"])

    with tempfile.TemporaryDirectory() as directory:
        source, out = pathlib.Path(directory, "a.jsonl"), pathlib.Path(directory, "a.tokens")
        with source.open("w", encoding="utf-8") as file:
            for i, line in enumerate(lines):  # escaped and as it is
                file.write(json.dumps(line, ensure_ascii=i % 2 == 0) + "\n")
        subprocess.run([given.program, "tokenize", "--data", source, "--tokenizer", given.tokenizer, "--out", out],
                       check=True)
        _, width, count, _ = struct.unpack_from("<IIQQ", out.read_bytes()[:128], 8)
        found = numpy.fromfile(out, f"<u{width}", count, offset=128).tolist()
    print(f"{len(found)} tokens, {len(expected)} expected: {'equal' if found == expected else 'NOT equal'}")
    return 0 if found == expected else 1


if __name__ == "__main__":
    sys.exit(main())
