#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cllm/data/mixture.h"
#include "cllm/data/sampler.h"
#include "cllm/data/token_file.h"

namespace cllm::data {

/// The sequences that training reads, by their number over the whole run. Immutable and
/// thread-safe; the tokens must outlive it.
class Sequences {
 public:
  /// One source, and the order in which its windows are read.
  struct Source {
    TokenView tokens;
    WindowSampler sampler;
  };

  /// Throws Error unless there are as many sources as the mixture has shares, all with one context.
  Sequences(std::vector<Source> sources, Mixture mixture);
  /// All of one source.
  Sequences(TokenView tokens, const WindowSampler& sampler)
      : Sequences({{tokens, sampler}}, Mixture({1})) {}

  /// T, positions of a sequence.
  std::size_t context() const { return context_; }
  const Mixture& mixture() const { return mixture_; }
  const std::vector<Source>& sources() const { return sources_; }
  /// Sequences of all sources, each read once.
  std::uint64_t per_epoch() const;

  /// The inputs (T) of sequence `number`.
  void read_inputs(std::uint64_t number, std::uint32_t* inputs) const;
  /// Its inputs (T) and targets (T).
  void read(std::uint64_t number, std::uint32_t* inputs, std::uint32_t* targets) const;

 private:
  std::vector<Source> sources_;
  Mixture mixture_;
  std::size_t context_;
};

}  // namespace cllm::data
