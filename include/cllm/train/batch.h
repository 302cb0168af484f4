#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cllm/data/sampler.h"
#include "cllm/data/token_file.h"

namespace cllm::train {

/// Reads sequences of the data as training takes them: each the window that the sampler gives to
/// its number, counted over the whole run. The references must outlive it.
class BatchReader {
 public:
  /// `context`: T, positions of a sequence.
  BatchReader(data::TokenView tokens, const data::WindowSampler& sampler, std::size_t context)
      : tokens_(tokens), sampler_(sampler), context_(context), window_(context) {}

  /// The inputs and targets (count, T) of sequences from `first` on. Thread-safe.
  void read(std::uint64_t first, std::size_t count, std::uint32_t* inputs,
            std::uint32_t* targets) const;

  /// Sets marks[token] to 1 for the inputs of these sequences. One thread at a time.
  void mark(std::uint64_t first, std::size_t count, std::span<std::int32_t> marks);

 private:
  data::TokenView tokens_;
  const data::WindowSampler& sampler_;
  std::size_t context_;
  std::vector<std::uint32_t> window_;  // (T)
};

}  // namespace cllm::train
