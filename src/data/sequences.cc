#include "cllm/data/sequences.h"

#include <algorithm>
#include <utility>

#include "cllm/base/error.h"

namespace cllm::data {

Sequences::Sequences(std::vector<Source> sources, Mixture mixture)
    : sources_(std::move(sources)), mixture_(std::move(mixture)) {
  if (sources_.size() != mixture_.size()) {
    fail("a mixture of {} shares has {} sources; give a share to each", mixture_.size(),
         sources_.size());
  }
  context_ = static_cast<std::size_t>(sources_.front().order->context());
  for (const Source& source : sources_) {
    if (source.order->context() != context_) fail("the sources of a mixture need one context");
  }
}

std::uint64_t Sequences::per_epoch() const {
  std::uint64_t sum = 0;
  for (const Source& source : sources_) sum += source.order->rows_per_epoch();
  return sum;
}

bool Sequences::counts_all() const {
  return std::ranges::all_of(sources_, [](const Source& source) {
    return source.rows.mask.empty() && source.order->has_whole_rows();
  });
}

bool Sequences::has_begins() const {
  return std::ranges::any_of(sources_,
                             [](const Source& source) { return source.rows.documents.known(); });
}

void Sequences::read(std::uint64_t number, const RowView& out) const {
  const Mixture::Place place = mixture_[number];
  const Source& source = sources_[place.source];
  source.rows.read(source.order->row(place.index), context_, out);
}

void Sequences::read_inputs(std::uint64_t number, std::uint32_t* inputs) const {
  const Mixture::Place place = mixture_[number];
  const Source& source = sources_[place.source];
  source.rows.read_inputs(source.order->row(place.index), context_, inputs);
}

std::uint64_t Sequences::counted(std::uint64_t number) const {
  const Mixture::Place place = mixture_[number];
  const Source& source = sources_[place.source];
  return source.rows.counted(source.order->row(place.index));
}

}  // namespace cllm::data
