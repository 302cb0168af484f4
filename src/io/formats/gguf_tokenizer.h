#pragma once

#include "cllm/io/formats/gguf.h"
#include "foreign_model.h"
#include "tokenizer_table.h"

namespace cllm::io {

/// The tokenizer of a GGUF file: SentencePiece bpe, byte-level BPE, or a token for each byte. Of
/// any other, and of one that can't be used, `model.tokenizer_note` says why.
void read_gguf_tokenizer(const GgufFile& file, ForeignModel& model);

/// Adds the keys that llama.cpp needs of a tokenizer to make our tokens; `vocabulary` is the
/// model's, which may have more. Throws Error that begins with `name` where it can't make them.
void add_gguf_tokenizer(const TokenizerTable& table, std::size_t vocabulary,
                        const std::string& name, GgufWriter& writer);

}  // namespace cllm::io
