#pragma once

#include "cllm/data/builtin/builtin_corpus.h"

namespace cllm::data {

/// Makes the grammar of the built-in corpus from the word lists of `builtin_words.h`.
BuiltinGrammar build_builtin_grammar();

}  // namespace cllm::data
