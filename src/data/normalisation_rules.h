#pragma once

#include <string_view>

namespace cllm::data {

/// Note [Rules of normalisation]. A SentencePiece model that normalises has a compiled map of its
/// rules, and the library follows it without looking where it leads: a spoiled one makes it read
/// what isn't its own. So it is looked at before. The map is the bytes of a trie (32 bits), the
/// trie, and what characters become, texts that end with NUL. The trie is a double array (Aoe: "An
/// Efficient Digital Search Algorithm by Using a Double-Array Structure", IEEE TSE 1989) of units
/// of 32 bits, as Yata's Darts-clone has it: the children of a unit lie where its own number and
/// its offset, by exclusive or, and then their label lead; that without a label has, of the end of
/// a rule, where its text begins.
///
/// Whether following the map never leaves it, and no place in a text has the ends of more rules
/// than the library has room for.
bool are_sound_rules(std::string_view map);

}  // namespace cllm::data
