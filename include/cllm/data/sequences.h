#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "cllm/data/mixture.h"
#include "cllm/data/row_source.h"
#include "cllm/data/sampler.h"

namespace cllm::data {

/// The sequences that training reads, by their number over the whole run. Immutable and
/// thread-safe; the tokens must outlive it.
class Sequences {
 public:
  /// One source, and the order in which its rows are read.
  struct Source {
    RowSource rows;
    std::shared_ptr<const RowOrder> order;
  };

  /// Throws Error unless there are as many sources as the mixture has shares, all with one context.
  Sequences(std::vector<Source> sources, Mixture mixture);
  /// All windows of one source.
  Sequences(TokenView tokens, const WindowSampler& sampler)
      : Sequences({{{tokens}, std::make_shared<WindowSampler>(sampler)}}, Mixture({1})) {}

  /// T, positions of a sequence.
  std::size_t context() const { return context_; }
  const Mixture& mixture() const { return mixture_; }
  const std::vector<Source>& sources() const { return sources_; }
  /// Sequences of all sources, each read once.
  std::uint64_t per_epoch() const;
  /// Whether every target of every sequence counts.
  bool counts_all() const;
  /// Whether attention keeps to the documents of a source.
  bool has_begins() const;

  /// Sequence `number`.
  void read(std::uint64_t number, const RowView& out) const;
  /// Its inputs (T).
  void read_inputs(std::uint64_t number, std::uint32_t* inputs) const;
  /// How many of its targets count.
  std::uint64_t counted(std::uint64_t number) const;

 private:
  std::vector<Source> sources_;
  Mixture mixture_;
  std::size_t context_;
};

}  // namespace cllm::data
