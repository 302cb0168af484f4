#include "cllm/train/gradient_sums.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace cllm::train {
namespace {

/// A bucket of 1 MiB is long past the latency of a message, and small models still have several.
constexpr std::size_t kBucketFloats = std::size_t{1} << 18;

std::size_t most_token_rows(const model::Layout& layout, std::size_t batch_tokens) {
  return std::min(layout.config().vocabulary, batch_tokens);
}

std::size_t elements_for(const model::Layout& layout, std::size_t batch_tokens) {
  return layout.slab_size() + most_token_rows(layout, batch_tokens) * layout.config().table_width();
}

float power_of_two(std::int32_t exponent) { return std::ldexp(1.0f, exponent); }

}  // namespace

std::vector<Bucket> buckets_of(const model::Layout& layout) {
  std::vector<Bucket> buckets;
  for (std::size_t g = 0; g < layout.groups().size(); ++g) {
    const model::Group& group = layout.groups()[g];
    if (buckets.empty() || buckets.back().size >= kBucketFloats) {
      buckets.push_back({g, g, group.offset, 0});
    }
    buckets.back().end_group = g + 1;
    buckets.back().size += group.size;
  }
  return buckets;
}

GradientSums::GradientSums(const model::Gpt& gpt, const kernels::Kernels& kernels, Reduce reduce,
                           const Shape& shape)
    : gpt_(gpt),
      kernels_(kernels),
      reduce_(reduce),
      shape_(shape),
      buckets_(buckets_of(gpt.layout())),
      contributions_(buckets_.size()),
      left_(buckets_.size()),
      tiles_(gpt.tiling().tiles().size()),
      ranges_(model::kTokenRanges),
      overflow_(gpt.layout().tensors().size()),
      token_row_(gpt.layout().config().vocabulary) {
  const model::Layout& layout = gpt.layout();
  for (const model::Tensor& tensor : layout.tensors()) {
    const auto after = std::ranges::upper_bound(buckets_, tensor.offset, {}, &Bucket::offset);
    bucket_of_.push_back(static_cast<std::size_t>(after - buckets_.begin()) - 1);
  }
  const auto units = static_cast<std::int64_t>(shape.local_units);
  for (const model::Tile& tile : gpt.tiling().tiles()) {
    const std::size_t passes = tile.tensor == layout.table() ? shape.head_passes : 1;
    contributions_[bucket_of_[tile.tensor]] += units * static_cast<std::int64_t>(passes);
  }
  contributions_.back() += units * static_cast<std::int64_t>(model::kTokenRanges);
  tokens_.reserve(most_token_rows(layout, shape.batch_tokens));

  const std::size_t elements = elements_for(layout, shape.batch_tokens);
  if (reduce == Reduce::kExact) {
    integers_ = Slab<std::int32_t>(elements);
  } else {
    floats_ = Slab<float>(elements);
  }
}

std::size_t GradientSums::bytes_for(const model::Layout& layout, std::size_t batch_tokens) {
  return elements_for(layout, batch_tokens) * sizeof(float);
}

void GradientSums::begin(std::span<const std::uint8_t> tokens,
                         std::span<const std::int32_t> exponents, float limit) {
  exponents_ = exponents;
  limit_ = limit;
  tokens_.clear();
  for (std::uint32_t row = 0; row < tokens.size(); ++row) {
    const std::uint32_t token = shape_.row_order.empty() ? row : shape_.row_order[row];
    if (tokens[token] == 0) continue;
    token_row_[token] = static_cast<std::uint32_t>(tokens_.size());
    tokens_.push_back(token);
  }
  const std::size_t rows = tokens_.size() * gpt_.layout().config().table_width();
  buckets_.back().size = gpt_.layout().slab_size() - buckets_.back().offset + rows;

  // The first contribution to a tile is stored, not added; token rows may get none.
  const std::size_t from = shape_.local_units == 0 ? 0 : gpt_.layout().slab_size();
  const std::size_t end = gpt_.layout().slab_size() + rows;
  if (reduce_ == Reduce::kExact) {
    std::fill(integers_.data() + from, integers_.data() + end, 0);
  } else {
    std::fill(floats_.data() + from, floats_.data() + end, 0.0f);
  }
  for (Turnstile& tile : tiles_) tile.passed.store(0, std::memory_order_relaxed);
  for (Turnstile& range : ranges_) range.passed.store(0, std::memory_order_relaxed);
  for (std::atomic<bool>& overflow : overflow_) overflow.store(false, std::memory_order_relaxed);
  for (std::size_t b = 0; b < buckets_.size(); ++b) left_[b].store(contributions_[b]);
}

void GradientSums::UnitSink::add(std::size_t tile_index, std::size_t pass, const float* values,
                                 std::size_t stride, Recorder& recorder) {
  const model::Tile& tile = sums_.gpt_.tiling()[tile_index];
  const model::Layout& layout = sums_.gpt_.layout();
  const model::Tensor& tensor = layout[tile.tensor];
  const Span span(recorder, Activity::kNodeSum);
  const std::size_t passes = tile.tensor == layout.table() ? sums_.shape_.head_passes : 1;
  Turnstile& part = sums_.tiles_[tile_index];
  sums_.enter(part, unit_ * passes + pass, recorder);
  const bool first = part.passed.load(std::memory_order_relaxed) == 0;
  const std::size_t width = tensor.is_matrix ? tensor.columns : tensor.size();
  const std::size_t at = tensor.offset + tile.row * width + tile.column;
  bool fits = true;
  if (tile.columns == width && stride == width) {
    fits = sums_.put(tile.tensor, at, values, tile.size(), first);
  } else {
    for (std::size_t row = 0; row < tile.rows; ++row) {
      fits &= sums_.put(tile.tensor, at + row * width, values + row * stride, tile.columns, first);
    }
  }
  if (!fits) sums_.overflow_[tile.tensor].store(true, std::memory_order_relaxed);
  sums_.leave(part);
  sums_.count_down(sums_.bucket_of_[tile.tensor]);
}

void GradientSums::UnitSink::begin_tokens(std::size_t range, Recorder& recorder) {
  sums_.enter(sums_.ranges_[range], unit_, recorder);
}

void GradientSums::UnitSink::add_token(std::uint32_t token, const float* row) {
  const model::Layout& layout = sums_.gpt_.layout();
  const std::size_t width = layout.config().table_width();
  const std::size_t at = layout.slab_size() + sums_.token_row_[token] * width;
  if (!sums_.put(layout.table(), at, row, width, false)) {
    sums_.overflow_[layout.table()].store(true, std::memory_order_relaxed);
  }
}

void GradientSums::UnitSink::end_tokens(std::size_t range) {
  sums_.leave(sums_.ranges_[range]);
  sums_.count_down(sums_.buckets_.size() - 1);
}

bool GradientSums::put(std::size_t tensor, std::size_t at, const float* values, std::size_t n,
                       bool first) {
  if (reduce_ == Reduce::kExact) {
    const auto encode = first ? kernels_.encode : kernels_.encode_add;
    return encode(values, power_of_two(exponents_[tensor]), limit_, integers_.data() + at, n);
  }
  if (first) {
    std::memcpy(floats_.data() + at, values, n * sizeof(float));
  } else {
    kernels_.add(values, floats_.data() + at, n);
  }
  return true;
}

void GradientSums::enter(Turnstile& part, std::size_t turn, Recorder& recorder) {
  if (reduce_ == Reduce::kExact) {
    if (part.mutex.try_lock()) return;
    const Span span(recorder, Activity::kWait);
    part.mutex.lock();
    return;
  }
  if (part.passed.load(std::memory_order_acquire) == turn) return;
  const Span span(recorder, Activity::kWait);
  for (std::uint32_t passed; (passed = part.passed.load(std::memory_order_acquire)) != turn;) {
    part.passed.wait(passed, std::memory_order_acquire);
  }
}

void GradientSums::leave(Turnstile& part) {
  part.passed.fetch_add(1, std::memory_order_release);
  if (reduce_ == Reduce::kExact) {
    part.mutex.unlock();
  } else {
    part.passed.notify_all();
  }
}

void GradientSums::count_down(std::size_t bucket) {
  if (left_[bucket].fetch_sub(1, std::memory_order_acq_rel) == 1) left_[bucket].notify_all();
}

void GradientSums::wait_complete(std::size_t bucket) {
  for (std::int64_t left; (left = left_[bucket].load(std::memory_order_acquire)) != 0;) {
    left_[bucket].wait(left, std::memory_order_acquire);
  }
}

void GradientSums::reduce(std::size_t bucket, Collective& collective) {
  const Bucket& b = buckets_[bucket];
  if (reduce_ == Reduce::kExact) {
    collective.sum(integers_.span().subspan(b.offset, b.size));
  } else {
    collective.sum(floats_.span().subspan(b.offset, b.size));
  }
}

void GradientSums::fold_tokens(int index, int threads) {
  const model::Layout& layout = gpt_.layout();
  const std::size_t width = layout.config().table_width();
  const std::size_t table = layout[layout.table()].offset;
  for (auto i = static_cast<std::size_t>(index); i < tokens_.size();
       i += static_cast<std::size_t>(threads)) {
    const std::size_t from = layout.slab_size() + i * width, to = table + tokens_[i] * width;
    if (reduce_ == Reduce::kExact) {
      kernels_.add_integers(integers_.data() + from, integers_.data() + to, width);
    } else {
      kernels_.add(floats_.data() + from, floats_.data() + to, width);
    }
  }
}

void GradientSums::overflows(std::span<std::int64_t> result) const {
  for (std::size_t i = 0; i < overflow_.size(); ++i) {
    result[i] = overflow_[i].load(std::memory_order_relaxed) ? 1 : 0;
  }
}

}  // namespace cllm::train
