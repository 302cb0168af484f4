"""Writes conversations as ChatML's usual Jinja template does, and says which tokens `tokenizers` makes of them.

    make_chat.py

Reads the tokenizers in tests/golden/tokenizers, and writes tests/golden/chat.json.
"""
import json
import pathlib

import jinja2
from tokenizers import Tokenizer

TEMPLATE = ("{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
            "{{ '<|im_start|>assistant\n' }}")

# A system's message, or none, then questions and answers in turn.
CONVERSATIONS = [
    ["", "Hello"],
    ["Be brief.", "It's 1234 \u00e9", "So it is.", "And?"],
    ["  Two\n\nlines ", " a\tb ", "\U0001F600 \u65e5\u672c\u8a9e", "x", "def f():\n    return 1\n", "\u0421\u044a?"],
]


def messages(system, *turns):
    roles = ["user", "assistant"] * len(turns)
    return [{"role": "system", "content": system}] * bool(system) + [
        {"role": role, "content": turn} for role, turn in zip(roles, turns)]


def main():
    golden = pathlib.Path(__file__).resolve().parent.parent / "golden"
    template = jinja2.Template(TEMPLATE, keep_trailing_newline=True)
    result = {"conversations": CONVERSATIONS, "ids": {}}
    for name in ("gpt2", "llama3", "qwen2", "smollm"):
        tokenizer = Tokenizer.from_file(str(golden / "tokenizers" / f"{name}.json"))
        tokenizer.encode_special_tokens = False
        result["ids"][name] = [
            tokenizer.encode(template.render(messages=messages(*c)), add_special_tokens=False).ids for c in CONVERSATIONS]
    (golden / "chat.json").write_text(json.dumps(result, separators=(",", ":")))


main()
