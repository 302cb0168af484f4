#include "cllm/train/gradient_sums.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace cllm::train {
namespace {

/// A bucket of 1 MiB is long past the latency of a message, and small models still have several.
constexpr std::size_t kBucketFloats = std::size_t{1} << 18;

/// The largest integer of a row's sum, mostly: some times its root mean square.
constexpr double kUsualLargest = 0x1p28;

std::size_t most_token_rows(const model::Layout& layout, std::size_t batch_tokens) {
  return std::min(layout.config().vocabulary, batch_tokens);
}

std::size_t elements_for(const model::Layout& layout, std::size_t batch_tokens) {
  return layout.slab_size() + most_token_rows(layout, batch_tokens) * layout.config().table_width();
}

/// Tiles that lie beside each other in the token table.
std::size_t table_width(const model::Layout& layout) {
  return model::tiles_across(layout[layout.table()]);
}

}  // namespace

std::vector<Bucket> buckets_of(const model::Layout& layout, const model::Tiling& tiling) {
  std::vector<Bucket> buckets;
  for (std::size_t g = 0; g < layout.groups().size(); ++g) {
    const model::Group& group = layout.groups()[g];
    if (buckets.empty() || buckets.back().size >= kBucketFloats) {
      buckets.push_back({g, g, group.offset, 0, 0, 0});
    }
    buckets.back().end_group = g + 1;
    buckets.back().size += group.size;
  }
  for (Bucket& bucket : buckets) {
    const auto before = [&](std::size_t at) {
      std::size_t rows = 0;
      for (const model::Tile& tile : tiling.tiles()) {
        if (layout[tile.tensor].offset < at) rows += tile.rows;
      }
      return rows;
    };
    bucket.first_row = before(bucket.offset);
    bucket.end_row = before(bucket.offset + bucket.size);
  }
  return buckets;
}

GradientSums::GradientSums(const model::Gpt& gpt, const kernels::Kernels& kernels, Reduce reduce,
                           const Shape& shape)
    : gpt_(gpt),
      kernels_(kernels),
      reduce_(reduce),
      shape_(shape),
      buckets_(buckets_of(gpt.layout(), gpt.tiling())),
      contributions_(buckets_.size()),
      left_(buckets_.size()),
      tiles_(gpt.tiling().tiles().size()),
      ranges_(model::kTokenRanges),
      sizes_(tiles_.size()),
      table_width_(table_width(gpt.layout())),
      token_row_(gpt.layout().config().vocabulary),
      rows_(rows_of(gpt.layout(), gpt.tiling())) {
  const model::Layout& layout = gpt.layout();
  for (const model::Tensor& tensor : layout.tensors()) {
    const auto after = std::ranges::upper_bound(buckets_, tensor.offset, {}, &Bucket::offset);
    bucket_of_.push_back(static_cast<std::size_t>(after - buckets_.begin()) - 1);
  }
  const auto units = static_cast<std::int64_t>(shape.local_units);
  const auto passes = static_cast<std::int64_t>(shape.head_passes),
             last_passes = static_cast<std::int64_t>(shape.last_head_passes);
  for (const model::Tile& tile : gpt.tiling().tiles()) {
    contributions_[bucket_of_[tile.tensor]] +=
        tile.tensor != layout.table() || units == 0 ? units : (units - 1) * passes + last_passes;
  }
  contributions_.back() += units * static_cast<std::int64_t>(model::kTokenRanges);
  tokens_.reserve(most_token_rows(layout, shape.batch_tokens));

  const std::size_t elements = elements_for(layout, shape.batch_tokens);
  const std::size_t rows =
      rows_.size() + most_token_rows(layout, shape.batch_tokens) * table_width_;
  rows_.reserve(rows);
  if (reduce == Reduce::kExact) {
    integers_ = IntegerSums(kernels, elements, rows, gpt.tiling().longest_row());
  } else {
    floats_ = Slab<float>(elements);
  }
}

std::size_t GradientSums::bytes_for(const model::Layout& layout, Reduce reduce, const Shape& shape,
                                    std::size_t units) {
  const std::size_t elements = elements_for(layout, shape.batch_tokens);
  if (reduce == Reduce::kFp32) return elements * sizeof(float);
  const std::size_t rows = model::tiling_sizes(layout).rows +
                           most_token_rows(layout, shape.batch_tokens) * table_width(layout);
  // Where all elements are sums like a random walk's, of this rank's share of its steps.
  const double largest = kUsualLargest / std::sqrt(static_cast<double>(units));
  const bool high_words = largest * static_cast<double>(shape.local_units) > 0x1p31;
  return IntegerSums::bytes_for(elements, rows, high_words) + rows * sizeof(SumRow);
}

void GradientSums::begin(std::span<const std::int32_t> tokens,
                         std::span<const std::int32_t> exponents) {
  exponents_ = exponents;
  tokens_.clear();
  for (std::uint32_t row = 0; row < tokens.size(); ++row) {
    const std::uint32_t token = shape_.row_order.empty() ? row : shape_.row_order[row];
    if (tokens[token] == 0) continue;
    token_row_[token] = static_cast<std::uint32_t>(tokens_.size());
    tokens_.push_back(token);
  }
  const std::size_t rows = tokens_.size() * gpt_.layout().config().table_width();
  buckets_.back().size = gpt_.layout().slab_size() - buckets_.back().offset + rows;

  rows_.resize(gpt_.tiling().rows());
  const model::Tile* const table = &gpt_.tiling()[gpt_.tiling().first_of(gpt_.layout().table())];
  for (std::size_t at = gpt_.layout().slab_size(), i = 0; i < tokens_.size(); ++i) {
    for (std::size_t j = 0; j < table_width_; at += table[j].columns, ++j) {
      rows_.push_back({rows_.size(), at, table[j].columns});
    }
  }
  buckets_.back().end_row = rows_.size();

  // The first contribution to a tile is stored, not added; token rows may get none.
  const std::size_t from = shape_.local_units == 0 ? 0 : gpt_.layout().slab_size();
  const std::size_t end = gpt_.layout().slab_size() + rows;
  if (reduce_ == Reduce::kExact) {
    integers_.clear(from, end);
  } else {
    std::fill(floats_.data() + from, floats_.data() + end, 0.0f);
  }
  for (Turnstile& tile : tiles_) tile.passed.store(0, std::memory_order_relaxed);
  for (Turnstile& range : ranges_) range.passed.store(0, std::memory_order_relaxed);
  for (std::atomic<std::int64_t>& size : sizes_) size.store(0, std::memory_order_relaxed);
  for (std::size_t b = 0; b < buckets_.size(); ++b) left_[b].store(contributions_[b]);
}

void GradientSums::UnitSink::add(std::size_t tile_index, std::size_t pass, const float* values,
                                 std::size_t stride, Recorder& recorder) {
  const model::Tile& tile = sums_.gpt_.tiling()[tile_index];
  const Span span(recorder, Activity::kNodeSum);
  const bool is_table = tile.tensor == sums_.gpt_.layout().table();
  const std::size_t passes = is_table ? sums_.shape_.head_passes : 1;
  Turnstile& part = sums_.tiles_[tile_index];
  sums_.enter(part, unit_ * passes + pass, recorder);
  const bool first = part.passed.load(std::memory_order_relaxed) == 0;
  std::int64_t size = 0;
  for (std::size_t row = 0; row < tile.rows; ++row) {
    const std::size_t index = tile.first_row + row;
    size = std::max(size, sums_.put(index, sums_.rows_[index], values + row * stride, first));
  }
  sums_.sizes_[tile_index].fetch_add(size, std::memory_order_relaxed);
  sums_.leave(part);
  sums_.count_down(sums_.bucket_of_[tile.tensor]);
}

void GradientSums::UnitSink::begin_tokens(std::size_t range, Recorder& recorder) {
  sums_.enter(sums_.ranges_[range], unit_, recorder);
}

void GradientSums::UnitSink::add_token(std::uint32_t token, const float* row) {
  const model::Tiling& tiling = sums_.gpt_.tiling();
  const std::size_t tile = sums_.tile_of(token);
  const std::size_t place = tiling.rows() + sums_.token_row_[token] * sums_.table_width_;
  for (std::size_t j = 0; j < sums_.table_width_; ++j) {
    const std::size_t index = tiling[tile + j].index_of(token);
    const std::int64_t size = sums_.put(index, sums_.rows_[place + j], row, false);
    sums_.sizes_[tile + j].fetch_add(size, std::memory_order_relaxed);
    row += tiling[tile + j].columns;
  }
}

std::size_t GradientSums::tile_of(std::uint32_t token) const {
  const std::size_t first = gpt_.tiling().first_of(gpt_.layout().table());
  return first + token / gpt_.tiling()[first].rows * table_width_;
}

void GradientSums::UnitSink::end_tokens(std::size_t range) {
  sums_.leave(sums_.ranges_[range]);
  sums_.count_down(sums_.buckets_.size() - 1);
}

std::int64_t GradientSums::put(std::size_t row, const SumRow& place, const float* values,
                               bool first) {
  if (reduce_ == Reduce::kExact) return integers_.add(place, values, exponents_[row], first);
  if (first) {
    std::memcpy(floats_.data() + place.at, values, place.size * sizeof(float));
  } else {
    kernels_.add(values, floats_.data() + place.at, place.size);
  }
  return 0;
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
    integers_.reduce(std::span(rows_).subspan(b.first_row, b.end_row - b.first_row), b.offset,
                     b.size, collective);
  } else {
    collective.sum(floats_.span().subspan(b.offset, b.size));
  }
}

void GradientSums::fold_tokens(int index, int threads) {
  const model::Tiling& tiling = gpt_.tiling();
  for (auto i = static_cast<std::size_t>(index); i < tokens_.size();
       i += static_cast<std::size_t>(threads)) {
    const std::size_t tile = tile_of(tokens_[i]);
    for (std::size_t j = 0; j < table_width_; ++j) {
      const SumRow& from = rows_[tiling.rows() + i * table_width_ + j];
      const SumRow& to = rows_[tiling[tile + j].index_of(tokens_[i])];
      if (reduce_ == Reduce::kExact) {
        integers_.fold(from, to);
      } else {
        kernels_.add(floats_.data() + from.at, floats_.data() + to.at, to.size);
      }
    }
  }
}

void GradientSums::sizes(std::span<std::int64_t> result) const {
  for (std::size_t i = 0; i < sizes_.size(); ++i) {
    result[i] = sizes_[i].load(std::memory_order_relaxed);
  }
}

}  // namespace cllm::train
