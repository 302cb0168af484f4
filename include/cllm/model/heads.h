#pragma once

#include <cstddef>

namespace cllm::model {

/// The heads of an attention: of queries, H, and of keys and values, K.
struct Heads {
  std::size_t queries, keys;
  std::size_t size;  ///< d
};

}  // namespace cllm::model
