"""Trains small byte-level BPE tokenizers with Hugging Face's `tokenizers`, and says which tokens they make.

    make_tokenizers.py TEXT... --out DIRECTORY [--vocabulary N]

Writes PATTERN.json (a tokenizer.json) for each split pattern, bpe.model and unigram.model (SentencePiece's, which
normalise some characters), and ids.json: for each tokenizer the ids of tricky
texts, and the XXH3-128 of the ids (32-bit, little-endian) of texts that a test can make itself or that are large.
`tests/golden/tokenizers` was made from udhr.txt, tinyshakespeare.txt and wikitext2_valid.txt.
"""
import argparse
import json
import pathlib
import tempfile

import numpy
import sentencepiece
import xxhash
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

TRICKY = [
    "", " ", "  ", "\n", "\n\n", " \n ", "\t\t x", "a", " a", "  a", "a  b", "a \n\n  b\r\n\r\nc", "x\n", "x \n", "x  ",
    "I'm we're they've he'll she'd it's don't", "I'M WE'RE THEY'VE HE'LL SHE'D IT'S DON'T", "'\u017f '\u017fe", "''s '' 's",
    "1234567 12 3 4.5e-6 \u00bd\u2460\u0664", "hello!!!\n\n\nworld...\r\n", "/*---*/\n\t}\n\n  return (x);",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\u3002\n\u6b21\u306e\u884c", "\u0421\u044a\u0435\u0448\u044c \u0435\u0449\u0451", "\U0001F600\U0001F468\u200d\U0001F469\u200d\U0001F467 \U0001F1E9\U0001F1EA", "e\u0301 \u00e9 \u212b \ufb01 \uac00 \u1100\u1161",
    "\u00a0x\u3000y\u2028z\u180e w", "\x00\x01\x7f\x85", "<|endoftext|> <|im_start|>user", "a<|tool|>b <|tool|> c",
    "a" * 40, "ab" * 500, " " * 100 + "x", "\n" * 50, "\u0e01\u0e32\u0e23\u0e17\u0e14\u0e2a\u0e2d\u0e1a" * 20, "\U000105c0\U00031350 \U0001e4d0a1\U00011bf0",
]


# Numbers of Unicode 17.0: Digits has them, from Rust, and patterns, by Oniguruma, don't. Left out where Digits is used.
NEWEST_NUMBERS = {*range(0x11DE0, 0x11DEA), *range(0x16FF4, 0x16FF7)}


def every_character(pattern):
    """Each code point between what patterns look at; a test makes the same text."""
    for code in range(0x110000):
        if not 0xD800 <= code < 0xE000 and not (pattern == "smollm" and code in NEWEST_NUMBERS):
            c = chr(code)
            yield f"{c} a{c}1{c}'{c} {c}{c}b\n{c}\n {c}'s{c}{c}\t{c}."


def build(pattern, texts, vocabulary):
    tokenizer = Tokenizer(models.BPE(ignore_merges=pattern == "llama3"))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern in ("gpt2", "smollm"))
    first = {"gpt2": [], "smollm": [pre_tokenizers.Digits(individual_digits=True)],
             "llama3": [pre_tokenizers.Split(Regex(LLAMA3), "isolated")],
             "qwen2": [pre_tokenizers.Split(Regex(QWEN2), "isolated")]}[pattern]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*first, byte_level]) if first else byte_level
    tokenizer.decoder = decoders.ByteLevel()
    if pattern == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=specials, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken("<|tool|>", normalized=False), AddedToken(" a \n b", normalized=True)])
    tokenizer.encode_special_tokens = True  # text never becomes one
    return tokenizer


def build_sentencepiece(kind, texts, out):
    """Models with all that a file of SentencePiece may hold: rules of normalisation, bytes, and pieces of each type."""
    rules = {"\uff21": "A", "\u2460": "1", "\ufb01": "fi", "\u212b": "\u00c5", "e\u0301": "\u00e9", "\u00a0": " "}
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as tsv:
        for source, target in rules.items():
            tsv.write("\t".join(" ".join(f"{ord(c):X}" for c in text) for text in (source, target)) + "\n")
        tsv.flush()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_prefix=str(out / kind), model_type=kind, vocab_size=420,
            normalization_rule_tsv=tsv.name, byte_fallback=True, character_coverage=0.995, control_symbols=["<|endoftext|>"],
            user_defined_symbols=["\n", "<|tool|>"], minloglevel=2)
    (out / f"{kind}.vocab").unlink()


def ids(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def digest(parts):
    hasher = xxhash.xxh3_128()
    for part in parts:
        hasher.update(numpy.array(part, dtype="<u4").tobytes())
    return hasher.hexdigest()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--vocabulary", type=int, default=600)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    texts = {pathlib.Path(name).name: open(name, encoding="utf-8", newline="").read() for name in options.texts}
    for kind in ("bpe", "unigram"):
        english = [text for name, text in texts.items() if name != "udhr.txt"]
        build_sentencepiece(kind, [line for text in english for line in text.splitlines()[:2000]], options.out)
    golden = {"tricky": TRICKY, "tokenizers": {}}
    for pattern in ("gpt2", "llama3", "qwen2", "smollm"):
        sample = [text[start:start + 2000] for text in texts.values() for start in range(0, len(text), 20000)]
        tokenizer = build(pattern, sample, options.vocabulary)
        # Compact, and with merges as older files have them for one.
        saved = json.loads(tokenizer.to_str())
        if pattern == "gpt2":
            saved["model"]["merges"] = [" ".join(merge) for merge in saved["model"]["merges"]]
        (options.out / f"{pattern}.json").write_text(json.dumps(saved, separators=(",", ":")))
        golden["tokenizers"][pattern] = {
            "tricky": [ids(tokenizer, text) for text in TRICKY],
            "every_character": digest(ids(tokenizer, text) for text in every_character(pattern)),
            "texts": {name: digest([ids(tokenizer, text)]) for name, text in texts.items()},
        }
    (options.out / "ids.json").write_text(json.dumps(golden, separators=(",", ":")))


if __name__ == "__main__":
    main()
