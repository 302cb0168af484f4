#include "cllm/train/gradient_accumulator.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <utility>

namespace cllm::train {
namespace {

/// The largest integer of a row's sum, mostly: some times its root mean square.
constexpr double kUsualLargest = 0x1p28;

/// What token rows take at most: of distinct tokens, as many of the widest bands as can be.
struct TokenRowSizes {
  std::size_t tokens = 0;
  std::size_t elements = 0;
  std::size_t rows = 0;  ///< one for each tile across
};

TokenRowSizes most_token_rows(const model::Layout& layout, std::size_t batch_tokens) {
  TokenRowSizes sizes;
  if (!layout.trains_table()) return sizes;
  std::vector<model::TableBand> bands(layout.embedding().begin(), layout.embedding().end());
  std::ranges::stable_sort(bands, std::greater(), [&](const model::TableBand& band) {
    return layout[band.tensor].columns;
  });
  for (const model::TableBand& band : bands) {
    const std::size_t tokens = std::min(band.rows, batch_tokens - sizes.tokens);
    sizes.tokens += tokens;
    sizes.elements += tokens * layout[band.tensor].columns;
    sizes.rows += tokens * model::tiles_across(layout[band.tensor]);
  }
  return sizes;
}

std::size_t elements_for(const model::Layout& layout, std::size_t batch_tokens) {
  return layout.trained_size() + most_token_rows(layout, batch_tokens).elements;
}

}  // namespace

/// The rows of the token embedding that a rank owns.
GradientAccumulator::Tokens GradientAccumulator::tokens_of(const model::Layout& layout,
                                                           const Ownership& ownership,
                                                           std::size_t rank) {
  Tokens tokens{};
  for (const model::TableBand& band : layout.embedding()) {
    const model::Tensor& table = layout[band.tensor];
    const ranks::Part part = ownership.of(rank, band.tensor);
    if (part.size == 0) continue;
    const std::size_t first = band.first_row + (part.offset - table.offset) / table.columns;
    if (tokens.end == 0) tokens.first = static_cast<std::uint32_t>(first);
    tokens.end = static_cast<std::uint32_t>(first + part.size / table.columns);
  }
  return tokens;
}

double usual_bound(std::size_t micro_batches, std::size_t local) {
  // All elements are sums like a random walk's, of this rank's share of its steps.
  const double largest = kUsualLargest / std::sqrt(static_cast<double>(micro_batches));
  return largest * static_cast<double>(local);
}

GradientAccumulator::GradientAccumulator(const model::Model& model, const kernels::Kernels& kernels,
                                         Reduce reduce, const Shape& shape,
                                         std::vector<Bucket> buckets, const Ownership& ownership)
    : model_(model),
      kernels_(kernels),
      reduce_(reduce),
      shape_(shape),
      buckets_(std::move(buckets)),
      contributions_(buckets_.size()),
      left_(buckets_.size()),
      tiles_(model.tiling().tiles().size()),
      ranges_(model::kTokenRanges),
      sizes_(tiles_.size()),
      is_head_(model.layout().tensors().size()),
      ownership_(ownership),
      parts_(buckets_.size()),
      token_parts_(ownership.ranks()),
      token_row_(model.layout().config().vocabulary),
      rows_(rows_of(model.layout(), model.tiling())) {
  const model::Layout& layout = model.layout();
  for (const model::TableBand& band : layout.lm_head()) is_head_[band.tensor] = true;
  for (const model::Tensor& tensor : layout.tensors()) {
    const auto after = std::ranges::upper_bound(buckets_, tensor.offset, {}, &Bucket::offset);
    const auto before = static_cast<std::size_t>(after - buckets_.begin());
    bucket_of_.push_back(before == 0 ? 0 : before - 1);  // what lies in front of all is in none
  }
  const auto micro_batches = static_cast<std::int64_t>(shape.local_micro_batches);
  const auto passes = static_cast<std::int64_t>(shape.head_passes),
             last_passes = static_cast<std::int64_t>(shape.last_head_passes);
  for (const model::Tile& tile : model.tiling().tiles()) {
    if (is_rows_alone(tile.tensor)) continue;
    contributions_[bucket_of_[tile.tensor]] += !is_head_[tile.tensor] || micro_batches == 0
                                                   ? micro_batches
                                                   : (micro_batches - 1) * passes + last_passes;
  }
  if (layout.trains_table()) {
    contributions_.back() += micro_batches * static_cast<std::int64_t>(model::kTokenRanges);
  }
  for (std::size_t b = 0; b < buckets_.size() && ownership.is_sharded(); ++b) {
    for (ranks::Part part : ownership.bucket(b)) {
      part.offset -= buckets_[b].offset;
      parts_[b].push_back(part);
    }
  }
  for (std::size_t rank = 0; rank < ownership.ranks(); ++rank) {
    own_tokens_.push_back(tokens_of(layout, ownership, rank));
  }
  const TokenRowSizes most = most_token_rows(layout, shape.batch_tokens);
  tokens_.reserve(most.tokens);

  const std::size_t elements = elements_for(layout, shape.batch_tokens);
  const std::size_t rows = rows_.size() + most.rows;
  rows_.reserve(rows);
  if (reduce == Reduce::kExact) {
    integers_ = IntegerSums(kernels, elements, rows, model.tiling().longest_row());
  } else {
    floats_ = AlignedBuffer<float>(elements);
  }
}

std::size_t GradientAccumulator::bytes_for(const model::Layout& layout, Reduce reduce,
                                           const Shape& shape, std::size_t micro_batches) {
  const std::size_t elements = elements_for(layout, shape.batch_tokens);
  if (reduce == Reduce::kFp32) return elements * sizeof(float);
  const std::size_t rows =
      model::tiling_sizes(layout).rows + most_token_rows(layout, shape.batch_tokens).rows;
  const bool high_words = usual_bound(micro_batches, shape.local_micro_batches) > 0x1p31;
  return IntegerSums::bytes_for(elements, rows, high_words) + rows * sizeof(SumRow);
}

void GradientAccumulator::begin(std::span<const std::int32_t> tokens,
                                std::span<const std::int32_t> exponents) {
  exponents_ = exponents;
  if (reduce_ == Reduce::kExact) integers_.clear();
  if (!model_.layout().is_tied()) zero_folded_rows();
  tokens_.clear();
  for (std::uint32_t token = 0; token < tokens.size(); ++token) {
    if (tokens[token] != 0) tokens_.push_back(token);
  }
  const std::size_t trained = model_.layout().trained_size();
  std::size_t end = trained;
  rows_.resize(model_.tiling().rows());
  for (const std::uint32_t token : tokens_) {
    token_row_[token] = static_cast<std::uint32_t>(rows_.size());
    for (const model::Tile& tile : tiles_of(token)) {
      rows_.push_back({rows_.size(), end, tile.columns});
      end += tile.columns;
    }
  }
  buckets_.back().size = end - buckets_.back().offset;
  buckets_.back().end_row = rows_.size();
  deal_token_rows();

  // The first contribution to a tile is stored, not added; token rows may get none.
  zero(shape_.local_micro_batches == 0 ? 0 : trained, end);
  for (Turnstile& tile : tiles_) tile.passed.store(0, std::memory_order_relaxed);
  for (Turnstile& range : ranges_) range.passed.store(0, std::memory_order_relaxed);
  for (std::atomic<std::int64_t>& size : sizes_) size.store(0, std::memory_order_relaxed);
  for (std::size_t b = 0; b < buckets_.size(); ++b) left_[b].store(contributions_[b]);
}

void GradientAccumulator::deal_token_rows() {
  folded_ = {0, static_cast<std::uint32_t>(tokens_.size())};
  if (!ownership_.is_sharded()) return;
  const std::size_t trained = model_.layout().trained_size();
  const std::size_t all = buckets_.back().offset + buckets_.back().size - trained;
  const auto element_of = [&](std::size_t place) {
    return place < tokens_.size() ? rows_[token_row_[tokens_[place]]].at - trained : all;
  };
  for (std::size_t rank = 0; rank < own_tokens_.size(); ++rank) {
    const auto place_of = [&](std::uint32_t token) {
      return static_cast<std::uint32_t>(std::ranges::lower_bound(tokens_, token) - tokens_.begin());
    };
    const Tokens places = {place_of(own_tokens_[rank].first), place_of(own_tokens_[rank].end)};
    const std::size_t begin = element_of(places.first);
    token_parts_[rank] = {begin, element_of(places.end) - begin};
    if (rank == ownership_.rank()) folded_ = places;
  }
}

bool GradientAccumulator::is_rows_alone(std::size_t tensor) const {
  return !model_.layout().is_tied() && model_.layout().is_table(tensor);
}

void GradientAccumulator::zero(std::size_t begin, std::size_t end) {
  if (reduce_ == Reduce::kExact) {
    integers_.zero(begin, end);
  } else {
    std::fill(floats_.data() + begin, floats_.data() + end, 0.0f);
  }
}

void GradientAccumulator::zero_folded_rows() {
  const model::Layout& layout = model_.layout();
  for (const std::uint32_t token : tokens_) {
    const model::TableBand& band = layout.band_of(token);
    const model::Tensor& table = layout[band.tensor];
    const std::size_t first = table.offset + (token - band.first_row) * table.columns;
    zero(first, first + table.columns);
  }
}

void GradientAccumulator::MicroBatchSink::add(std::size_t tile_index, std::size_t pass,
                                              const float* values, std::size_t stride,
                                              Recorder& recorder) {
  const model::Tile& tile = sums_.model_.tiling()[tile_index];
  const Span span(recorder, Activity::kNodeSum);
  const std::size_t passes = sums_.is_head_[tile.tensor] ? sums_.shape_.head_passes : 1;
  Turnstile& part = sums_.tiles_[tile_index];
  sums_.enter(part, micro_batch_ * passes + pass, recorder);
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

void GradientAccumulator::MicroBatchSink::begin_tokens(std::size_t range, Recorder& recorder) {
  sums_.enter(sums_.ranges_[range], micro_batch_, recorder);
}

void GradientAccumulator::MicroBatchSink::add_token(std::uint32_t token, const float* row) {
  const model::Tile* const all = sums_.model_.tiling().tiles().data();
  const std::size_t in_table = token - sums_.model_.layout().band_of(token).first_row;
  std::size_t place = sums_.token_row_[token];
  for (const model::Tile& tile : sums_.tiles_of(token)) {
    const std::int64_t size = sums_.put(tile.index_of(in_table), sums_.rows_[place++], row, false);
    sums_.sizes_[static_cast<std::size_t>(&tile - all)].fetch_add(size, std::memory_order_relaxed);
    row += tile.columns;
  }
}

std::span<const model::Tile> GradientAccumulator::tiles_of(std::uint32_t token) const {
  const model::Tiling& tiling = model_.tiling();
  const model::TableBand& band = model_.layout().band_of(token);
  const std::size_t first = tiling.first_of(band.tensor);
  const std::size_t across = model::tiles_across(model_.layout()[band.tensor]);
  const std::size_t down = (token - band.first_row) / tiling[first].rows;
  return tiling.tiles().subspan(first + down * across, across);
}

void GradientAccumulator::MicroBatchSink::end_tokens(std::size_t range) {
  sums_.leave(sums_.ranges_[range]);
  sums_.count_down(sums_.buckets_.size() - 1);
}

std::int64_t GradientAccumulator::put(std::size_t row, const SumRow& place, const float* values,
                                      bool first) {
  if (reduce_ == Reduce::kExact) return integers_.add(place, values, exponents_[row], first);
  if (first) {
    std::memcpy(floats_.data() + place.at, values, place.size * sizeof(float));
  } else {
    kernels_.add(values, floats_.data() + place.at, place.size);
  }
  return 0;
}

void GradientAccumulator::enter(Turnstile& part, std::size_t turn, Recorder& recorder) {
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

void GradientAccumulator::leave(Turnstile& part) {
  part.passed.fetch_add(1, std::memory_order_release);
  if (reduce_ == Reduce::kExact) {
    part.mutex.unlock();
  } else {
    part.passed.notify_all();
  }
}

void GradientAccumulator::count_down(std::size_t bucket) {
  if (left_[bucket].fetch_sub(1, std::memory_order_acq_rel) == 1) left_[bucket].notify_all();
}

void GradientAccumulator::wait_complete(std::size_t bucket) {
  for (std::int64_t left; (left = left_[bucket].load(std::memory_order_acquire)) != 0;) {
    left_[bucket].wait(left, std::memory_order_acquire);
  }
}

void GradientAccumulator::reduce(std::size_t bucket, ranks::ProcessGroup& process_group) {
  const Bucket& b = buckets_[bucket];
  std::array<SumRange, 2> both{};
  if (ownership_.is_sharded()) {
    const std::size_t trained = model_.layout().trained_size(), end = b.offset + b.size;
    both[0] = {b.offset, std::min(end, trained) - b.offset, parts_[bucket]};
    if (end > trained) both[1] = {trained, end - trained, token_parts_};
  } else {
    both[0] = {b.offset, b.size};
  }
  const std::span<const SumRange> ranges = std::span(both).first(both[1].size > 0 ? 2 : 1);
  if (reduce_ == Reduce::kExact) {
    integers_.reduce(std::span(rows_).subspan(b.first_row, b.end_row - b.first_row), ranges,
                     process_group);
  } else {
    for (const SumRange& range : ranges) train::reduce(floats_.span(), range, process_group);
  }
}

void GradientAccumulator::fold_tokens(int index, int threads) {
  for (std::size_t i = folded_.first + static_cast<std::size_t>(index); i < folded_.end;
       i += static_cast<std::size_t>(threads)) {
    const std::uint32_t token = tokens_[i];
    const std::size_t in_table = token - model_.layout().band_of(token).first_row;
    std::size_t place = token_row_[token];
    for (const model::Tile& tile : tiles_of(token)) {
      const SumRow& from = rows_[place++];
      const SumRow& to = rows_[tile.index_of(in_table)];
      if (reduce_ == Reduce::kExact) {
        integers_.fold(from, to);
      } else {
        kernels_.add(floats_.data() + from.at, floats_.data() + to.at, to.size);
      }
    }
  }
}

void GradientAccumulator::sizes(std::span<std::int64_t> result) const {
  for (std::size_t i = 0; i < sizes_.size(); ++i) {
    result[i] = sizes_[i].load(std::memory_order_relaxed);
  }
}

}  // namespace cllm::train
