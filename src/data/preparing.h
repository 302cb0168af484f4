#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "cllm/data/dataset.h"
#include "marked_text.h"
#include "reporter.h"
#include "text_source.h"

namespace cllm::data {

using TokenizerPtr = std::shared_ptr<const Tokenizer>;

inline bool is_builtin(const DataOptions& options) { return options.data == "builtin"; }
/// Whether a path is that of a token file. Throws Error where it can't be read.
bool names_token_file(const std::string& path);

/// How the options want texts read.
TextReading reading_of(const DataOptions& options);
TextSource open_text(const DataOptions& options);

/// The first digits of a digest, as names in the cache have them.
std::string short_digest(std::string_view hex);

/// The tokenizer for a text. A trained one is kept in the cache, under the digest of what it was
/// trained on; but nothing of the built-in corpus is.
TokenizerPtr tokenizer_for_text(const DataOptions& options, std::string_view training_text,
                                Reporter& reporter);
/// The same for all that a source has: throws Error where it lacks the tokens of a conversation.
TokenizerPtr tokenizer_for_source(const DataOptions& options, const TextSource& source,
                                  const TextSplit& split, Reporter& reporter);
/// The tokenizer of a token file: the one it carries, or one given for a file that carries none;
/// null where neither is.
TokenizerPtr tokenizer_for_tokens(const DataOptions& options, const TokenFileInfo& info);

}  // namespace cllm::data
