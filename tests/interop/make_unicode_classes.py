"""Writes src/data/unicode_ranges.h: the letters and numbers that Hugging Face's tokenizers see.

    make_unicode_classes.py > src/data/unicode_ranges.h && clang-format -i src/data/unicode_ranges.h
"""
import tokenizers
from tokenizers import Regex, pre_tokenizers


def ranges_of(pattern):
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    ranges = []
    for code in range(0x80, 0x110000):
        # Alone before a sign it is a piece of its own where the class has it.
        if 0xD800 <= code < 0xE000 or len(split.pre_tokenize_str(chr(code) + "!")) != 2:
            continue
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return ranges


print(f"""#pragma once

#include <array>

namespace cllm::data {{

// Made by tests/interop/make_unicode_classes.py with tokenizers {tokenizers.__version__}, whose regular
// expressions are Oniguruma's and know Unicode 16.0. Without ASCII.
struct CodeRange {{
  char32_t first, last;
}};
""")
for name, what, pattern in [("kLetterRanges", "General category L.", r"\p{L}"),
                            ("kNumberRanges", "General category N.", r"\p{N}"),
                            ("kSpaceRanges", "White_Space.", r"\s")]:
    ranges = ranges_of(pattern)
    print(f"/// {what}\ninline constexpr std::array<CodeRange, {len(ranges)}> {name} = {{{{")
    print(", ".join(f"{{0x{a:X}, 0x{b:X}}}" for a, b in ranges))
    print("}};\n")
print("}  // namespace cllm::data")
