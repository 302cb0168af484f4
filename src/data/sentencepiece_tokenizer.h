#pragma once

#include <memory>
#include <string_view>

#include "cllm/data/tokenizer.h"

namespace cllm::data {

/// Trains a SentencePiece model on the text and returns it in serialised form.
/// Throws Error when the vocabulary does not suit the text.
std::string train_sentencepiece(const TokenizerSpec& spec, std::string_view text);

/// Whether a stored tokenizer of this kind is a SentencePiece model.
bool is_sentencepiece_kind(std::string_view kind);

/// The tokenizer of a model; of a stored one, whose `kind` must be as it was stored, with the
/// tokens that it had. Throws Error where the blob is no SentencePiece model; `name` is its name in
/// the message.
std::unique_ptr<Tokenizer> make_sentencepiece(std::string_view blob, std::string_view name,
                                              std::string_view kind = {});

}  // namespace cllm::data
