#pragma once

#include <memory>
#include <string_view>

#include "cllm/data/tokenizer.h"

namespace cllm::data {

/// Trains a SentencePiece model on the text and returns it in serialised form.
/// Throws Error when the vocabulary does not suit the text.
std::string train_sentencepiece(const TokenizerSpec& spec, std::string_view text);

/// Throws Error where the blob is no SentencePiece model; `origin` names it in the message.
std::unique_ptr<Tokenizer> make_sentencepiece(std::string_view blob, std::string_view origin);

}  // namespace cllm::data
