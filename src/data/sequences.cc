#include "cllm/data/sequences.h"

#include <utility>

#include "cllm/base/error.h"

namespace cllm::data {

Sequences::Sequences(std::vector<Source> sources, Mixture mixture)
    : sources_(std::move(sources)), mixture_(std::move(mixture)) {
  if (sources_.size() != mixture_.size()) {
    fail("a mixture of {} shares has {} sources; give a share to each", mixture_.size(),
         sources_.size());
  }
  context_ = static_cast<std::size_t>(sources_.front().sampler.context());
  for (const Source& source : sources_) {
    if (source.sampler.context() != context_) fail("the sources of a mixture need one context");
  }
}

std::uint64_t Sequences::per_epoch() const {
  std::uint64_t sum = 0;
  for (const Source& source : sources_) sum += source.sampler.windows_per_epoch();
  return sum;
}

void Sequences::read_inputs(std::uint64_t number, std::uint32_t* inputs) const {
  const Mixture::Place place = mixture_[number];
  const Source& source = sources_[place.source];
  source.tokens.copy(source.sampler.start(place.index), context_, inputs);
}

void Sequences::read(std::uint64_t number, std::uint32_t* inputs, std::uint32_t* targets) const {
  const Mixture::Place place = mixture_[number];
  const Source& source = sources_[place.source];
  const std::uint64_t start = source.sampler.start(place.index);
  source.tokens.copy(start, context_, inputs);
  source.tokens.copy(start + 1, context_, targets);
}

}  // namespace cllm::data
