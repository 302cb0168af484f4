#pragma once

#include "attention_room.h"
#include "cllm/kernels/kernels.h"
#include "functions.h"
#include "tiles.h"

/// Attention as Note [Attention] in cllm/kernels/attention.h has it.
namespace cllm::kernels {
namespace {

constexpr std::size_t kScoreColumns = 4 * kLanes;  // queries whose scores go side by side
static_assert(kQueryBlock % kScoreColumns == 0 && kQueryBlock % kTileColumns == 0);
static_assert(kPaddedColumns % kTileColumns == 0);

constexpr float kMinusInfinity = -__builtin_inff();
/// The largest of no scores: below all that count, but no infinity, whose difference from another
/// is no number.
constexpr float kLowestScore = -0x1.fffffep127f;

/// Consecutive queries with consecutive keys that they see.
struct Block {
  std::size_t query, queries;  ///< the first one, of the head's
  std::size_t key, keys;       ///< the first one, of the sequence's
  std::ptrdiff_t own;          ///< the first query's own key, counted from `key`
  std::size_t seen_from;       ///< from this of the keys on, no document of a query begins

  /// How many of the keys query `row` of the block sees, if its document began before.
  std::size_t keys_of(std::size_t row) const { return within(own + signed_of(row) + 1, keys); }
  /// How many of them a tile may reach into that has one of `count` queries from `row` on: what
  /// none of these sees counts as 0 there.
  std::size_t reached_keys(std::size_t row, std::size_t count) const {
    return least(keys_of(row + count - 1) + kTileRows, keys);
  }
  /// The first query of the block that sees key `column` of it.
  std::size_t first_with(std::size_t column) const {
    return within(signed_of(column) - own, queries);
  }

 private:
  static std::ptrdiff_t signed_of(std::size_t n) { return static_cast<std::ptrdiff_t>(n); }
  static std::size_t within(std::ptrdiff_t n, std::size_t end) {
    return n < 0 ? 0 : least(static_cast<std::size_t>(n), end);
  }
};

std::size_t first_key(const AttentionHead& head, std::size_t query) {
  return head.begins == nullptr ? 0 : head.begins[query];
}

float score_scale(const AttentionHead& head) {
  return 1 / __builtin_sqrtf(static_cast<float>(head.size));
}

void fill_zero(float* x, std::size_t n) {
  for_each_pack<4>(n, [=](std::size_t i, auto part) { part.store(x + i, 0); });
}

/// y (rows, width) = x (rows, columns), with zeros behind.
void copy_rows(ConstRows x, std::size_t rows, std::size_t columns, std::size_t width, float* y) {
  for (std::size_t row = 0; row < rows; ++row, x.data += x.stride, y += width) {
    const float* const from = x.data;
    for_each_pack<4>(columns,
                     [=](std::size_t i, auto part) { part.store(y + i, part.load(from + i)); });
    fill_zero(y + columns, width - columns);
  }
}

void copy(const float* x, std::size_t n, float* y) { __builtin_memcpy(y, x, n * sizeof(float)); }

ConstRows rows_from(ConstRows rows, std::size_t first) {
  return {rows.data + first * rows.stride, rows.stride};
}

/// The block's rows of x (T, d) as panels of B, with zeros for queries that it doesn't have.
void pack_queries(ConstRows x, const Block& block, std::size_t size, float* packed) {
  if (block.queries < kQueryBlock) fill_zero(packed, kQueryBlock * size);
  pack_rows<kTileColumns>(x.data + block.query * x.stride, x.stride, block.queries, size, packed);
}

/// scores (keys, kQueryBlock) = x (keys, width) times the transposed queries, but where no query of
/// a tile sees a key of it.
void multiply_keys(const Block& block, const float* x, std::size_t width, const float* packed,
                   std::size_t size, float* scores) {
  for (std::size_t key = 0; key < block.keys; key += kTileRows) {
    const auto multiply = kTiles<Side::kRow>.of_rows[least(kTileRows, block.keys - key)];
    const std::size_t first = block.first_with(key) / kTileColumns * kTileColumns;
    for (std::size_t query = first; query < block.queries; query += kTileColumns) {
      multiply(size, x + key * width, width, packed + query * size, kTileColumns, 1, 0,
               {scores + key * kQueryBlock + query, kQueryBlock});
    }
  }
}

/// y (queries, size) = scores transposed times x (keys, width) + beta y.
void multiply_queries(const Block& block, const float* scores, const float* x, std::size_t width,
                      std::size_t size, float beta, MutableRows y, float* spare) {
  for (std::size_t row = 0; row < block.queries; row += kTileRows) {
    const std::size_t rows = least(kTileRows, block.queries - row);
    const auto multiply = kTiles<Side::kColumn>.of_rows[rows];
    const std::size_t keys = block.keys_of(row + rows - 1);
    for (std::size_t column = 0; column < size; column += kTileColumns) {
      const Place place{y.data + (block.query + row) * y.stride + column, y.stride};
      if (size - column >= kTileColumns) {
        multiply(keys, scores + row, kQueryBlock, x + column, width, 1, beta, place);
      } else {
        multiply(keys, scores + row, kQueryBlock, x + column, width, 1, 0, {spare, kTileColumns});
        place_columns(spare, rows, size - column, 1, beta, place);
      }
    }
  }
}

/// sums (keys, width) += scores times y (queries, width).
void add_to_keys(const Block& block, const float* scores, const float* y, std::size_t width,
                 float* sums) {
  for (std::size_t key = 0; key < block.keys; key += kTileRows) {
    const auto multiply = kTiles<Side::kRow>.of_rows[least(kTileRows, block.keys - key)];
    const std::size_t first = block.first_with(key);
    for (std::size_t column = 0; column < width; column += kTileColumns) {
      multiply(block.queries - first, scores + key * kQueryBlock + first, kQueryBlock,
               y + first * width + column, width, 1, 1, {sums + key * width + column, width});
    }
  }
}

/// Which keys the block's queries see, from the block's first key on: `begins` to `lasts`.
void find_keys(const AttentionHead& head, const Block& block, const AttentionRoom& room) {
  const float first = static_cast<float>(block.key);
  for (std::size_t i = 0; i < kQueryBlock; ++i) {
    const std::size_t query = block.query + least(i, block.queries - 1);
    room.begins[i] = static_cast<float>(first_key(head, query)) - first;
    room.lasts[i] = static_cast<float>(head.past + query) - first;
  }
}

/// x (keys, kQueryBlock) becomes `put` where a query doesn't see a key, without being read.
[[gnu::flatten]] void mask(const Block& block, const AttentionRoom& room, float* x, float put) {
  const auto mask_keys = [=](std::size_t first, std::size_t end) {
    for (std::size_t key = first; key < end; ++key) {
      float* const row = x + key * kQueryBlock;
      for_each_pack<4>(kQueryBlock, [=](std::size_t i, auto part) {
        using V = typename decltype(part)::Value;
        const V own = static_cast<float>(key);
        const V until_last = select(part.load(room.lasts + i) < own, V(put), part.load(row + i));
        part.store(row + i, select(own < part.load(room.begins + i), V(put), until_last));
      });
    }
  };
  // Between these all queries see all keys.
  const std::size_t seen_to = block.keys_of(0), seen_from = least(block.seen_from, seen_to);
  mask_keys(0, seen_from);
  mask_keys(seen_to, block.keys);
}

/// Scores become exp(scale (score - top)), with the query's largest score so far; the query's sum
/// is that of before times a factor, and theirs.
[[gnu::flatten]] void weigh(const Block& block, float scale, const AttentionRoom& room) {
  const Whole<4> part;
  for (std::size_t query = 0; query < block.queries; query += kScoreColumns) {
    const std::size_t keys = block.reached_keys(query, kScoreColumns);
    float* const scores = room.scores + query;
    const auto before = part.load(room.tops + query);
    auto top = before;
    for (std::size_t key = 0; key < keys; ++key) {
      top = max(part.load(scores + key * kQueryBlock), top);
    }
    // The maximum is taken off first: the difference is exact where it matters, however large the
    // scores are.
    const auto factor = exp_or_zero((before - top) * scale);
    auto sum = part.load(room.sums + query) * factor;
    for (std::size_t key = 0; key < keys; ++key) {
      float* const place = scores + key * kQueryBlock;
      const auto power = exp_or_zero((part.load(place) - top) * scale);
      part.store(place, power);
      sum = sum + power;
    }
    part.store(room.tops + query, top);
    part.store(room.sums + query, sum);
    part.store(room.factors + query, factor);
  }
}

/// Scores become probabilities again, and dscores what is backpropagated to scores: p scale (dp -
/// delta). Of each query, `tops` has the log-sum-exp and `sums` delta.
[[gnu::flatten]] void differentiate(const Block& block, float scale, const AttentionRoom& room) {
  const Whole<4> part;
  for (std::size_t query = 0; query < block.queries; query += kScoreColumns) {
    const std::size_t keys = block.reached_keys(query, kScoreColumns);
    const Pack<4> log_sum_exp = part.load(room.tops + query), delta = part.load(room.sums + query);
    for (std::size_t key = 0; key < keys; ++key) {
      float* const score = room.scores + key * kQueryBlock + query;
      float* const dscore = room.dscores + key * kQueryBlock + query;
      // The logarithm of large scores is rounded, but no probability is above 1. NaN stays, as the
      // second operand.
      const auto p =
          exp_or_zero(min(Pack<4>(0), fma(part.load(score), scale, Pack<4>(0) - log_sum_exp)));
      part.store(score, p);
      part.store(dscore, p * scale * (part.load(dscore) - delta));
    }
  }
}

/// x (rows, columns) times factors (rows).
[[gnu::flatten]] void scale_rows(MutableRows x, std::size_t rows, std::size_t columns,
                                 const float* factors) {
  for (std::size_t row = 0; row < rows; ++row) {
    float* const from = x.data + row * x.stride;
    const float factor = factors[row];
    for_each_pack<4>(columns, [=](std::size_t i, auto part) {
      part.store(from + i, part.load(from + i) * factor);
    });
  }
}

/// Rows of y from `first` on = x (rows, width), or what they were and x.
[[gnu::flatten]] void put_rows(const float* x, std::size_t width, std::size_t rows,
                               std::size_t columns, bool adds, MutableRows y, std::size_t first) {
  for (std::size_t row = 0; row < rows; ++row, x += width) {
    float* const to = y.data + (first + row) * y.stride;
    const float* const from = x;
    for_each_pack<4>(columns, [=](std::size_t i, auto part) {
      const auto sum = part.load(from + i);
      part.store(to + i, adds ? part.load(to + i) + sum : sum);
    });
  }
}

[[gnu::flatten]] void row_dots(const float* a, const float* b, float* dots, std::size_t rows,
                               std::size_t columns, std::size_t lda, std::size_t ldb) {
  for (std::size_t row = 0; row < rows; ++row) {
    const float* a_row = a + row * lda;
    const float* b_row = b + row * ldb;
    dots[row] = row_sum(columns, [=](std::size_t i, auto part) {
      return part.load(a_row + i) * part.load(b_row + i);
    });
  }
}

/// Calls work(block) for the blocks of queries that see some of `keys` keys from `key` on.
template <typename Work>
void for_blocks_with(const AttentionHead& head, std::size_t key, std::size_t keys,
                     const Work& work) {
  std::size_t query = key < head.past ? 0 : (key - head.past) / kQueryBlock * kQueryBlock;
  for (; query < head.positions && first_key(head, query) < key + keys; query += kQueryBlock) {
    const std::size_t queries = least(kQueryBlock, head.positions - query);
    const std::size_t own = head.past + query;
    const std::size_t last_begin = first_key(head, query + queries - 1);
    work(Block{.query = query,
               .queries = queries,
               .key = key,
               .keys = least(keys, own + queries - key),
               .own = static_cast<std::ptrdiff_t>(own) - static_cast<std::ptrdiff_t>(key),
               .seen_from = last_begin < key ? 0 : last_begin - key});
  }
}

/// Whether the block's queries saw no keys before.
bool is_first(const AttentionHead& head, const Block& block) {
  return first_key(head, block.query) >= block.key;
}

/// One query by itself, key by key.
[[gnu::flatten]] void attend(const AttentionHead& head, std::size_t query, float* out,
                             float* log_sum_exp, float* scores) {
  const float* const q = head.q.data + query * head.q.stride;
  const float scale = score_scale(head);
  const std::size_t begin = first_key(head, query), end = head.past + query + 1;
  float top = kLowestScore, sum = 0;
  for (std::size_t first = begin / kKeyBlock * kKeyBlock; first < end; first += kKeyBlock) {
    const std::size_t from = first < begin ? begin : first;
    const std::size_t keys = least(first + kKeyBlock, end) - from;
    const float* const k = head.k.data + from * head.k.stride;
    const float* const v = head.v.data + from * head.v.stride;
    for (std::size_t key = 0; key < keys; ++key) {
      const float* const k_row = k + key * head.k.stride;
      scores[key] = row_sum(head.size, [=](std::size_t i, auto part) {
        return part.load(q + i) * part.load(k_row + i);
      });
    }
    const float before = top, largest = row_max(scores, keys);
    top = largest > before ? largest : before;
    const float now = top, factor = first_of(exp_or_zero(Vector((before - now) * scale)));
    sum = sum * factor + row_sum(keys, [=](std::size_t i, auto part) {
            const auto power = part.keep(exp_or_zero((part.load(scores + i) - now) * scale), 0);
            part.store(scores + i, power);
            return power;
          });
    const bool adds = from > begin;
    for_each_pack<4>(head.size, [=](std::size_t i, auto part) {
      using V = typename decltype(part)::Value;
      V weighted = 0;
      for (std::size_t key = 0; key < keys; ++key) {
        weighted = fma(part.load(v + key * head.v.stride + i), scores[key], weighted);
      }
      part.store(out + i, adds ? fma(part.load(out + i), factor, weighted) : weighted);
    });
  }
  const float share = 1 / sum;
  scale_rows({out, head.size}, 1, head.size, &share);
  *log_sum_exp = scale * top + log_any(sum);
}

void attention_forward(const AttentionHead& head, MutableRows out, float* log_sum_exp) {
  const AttentionRoom room = place_room(head.workspace, head.size, head.positions).room;
  if (head.positions <= kFewQueries) {
    for (std::size_t query = 0; query < head.positions; ++query) {
      attend(head, query, out.data + query * out.stride, log_sum_exp + query, room.scores);
    }
    return;
  }
  float *const tops = log_sum_exp, *const sums = room.of_queries;
  for (std::size_t query = 0; query < head.positions; ++query) {
    tops[query] = kLowestScore;
    sums[query] = 0;
  }
  const float scale = score_scale(head);
  const std::size_t end = head.past + head.positions;
  for (std::size_t key = first_key(head, 0) / kKeyBlock * kKeyBlock; key < end; key += kKeyBlock) {
    const std::size_t keys = least(kKeyBlock, end - key);
    copy_rows(rows_from(head.k, key), keys, head.size, room.width, room.keys);
    copy_rows(rows_from(head.v, key), keys, head.size, room.width, room.values);
    for_blocks_with(head, key, keys, [&](const Block& block) {
      pack_queries(head.q, block, head.size, room.packed_queries);
      multiply_keys(block, room.keys, room.width, room.packed_queries, head.size, room.scores);
      find_keys(head, block, room);
      mask(block, room, room.scores, kMinusInfinity);
      copy(tops + block.query, block.queries, room.tops);
      copy(sums + block.query, block.queries, room.sums);
      weigh(block, scale, room);
      copy(room.tops, block.queries, tops + block.query);
      copy(room.sums, block.queries, sums + block.query);
      const bool adds = !is_first(head, block);
      if (adds) {
        scale_rows({out.data + block.query * out.stride, out.stride}, block.queries, head.size,
                   room.factors);
      }
      multiply_queries(block, room.scores, room.values, room.width, head.size, adds ? 1 : 0, out,
                       room.spare);
    });
  }
  for (std::size_t query = 0; query < head.positions; ++query) {
    log_sum_exp[query] = scale * tops[query] + log_any(sums[query]);
    sums[query] = 1 / sums[query];
  }
  scale_rows(out, head.positions, head.size, sums);
}

void attention_backward(const AttentionHead& head, const AttentionGradients& g) {
  const AttentionRoom room = place_room(head.workspace, head.size, head.positions).room;
  const float scale = score_scale(head);
  float* const deltas = room.of_queries;
  row_dots(g.dout.data, g.out.data, deltas, head.positions, head.size, g.dout.stride, g.out.stride);
  for (std::size_t key = 0; key < head.positions; key += kKeyBlock) {
    const std::size_t keys = least(kKeyBlock, head.positions - key);
    copy_rows(rows_from(head.k, key), keys, head.size, room.width, room.keys);
    copy_rows(rows_from(head.v, key), keys, head.size, room.width, room.values);
    fill_zero(room.key_sums, keys * room.width);
    fill_zero(room.value_sums, keys * room.width);
    for_blocks_with(head, key, keys, [&](const Block& block) {
      pack_queries(head.q, block, head.size, room.packed_queries);
      pack_queries(g.dout, block, head.size, room.packed_douts);
      copy_rows(rows_from(head.q, block.query), block.queries, head.size, room.width, room.queries);
      copy_rows(rows_from(g.dout, block.query), block.queries, head.size, room.width, room.douts);
      copy(g.log_sum_exp + block.query, block.queries, room.tops);
      copy(deltas + block.query, block.queries, room.sums);

      multiply_keys(block, room.keys, room.width, room.packed_queries, head.size, room.scores);
      multiply_keys(block, room.values, room.width, room.packed_douts, head.size, room.dscores);
      find_keys(head, block, room);
      mask(block, room, room.scores, kMinusInfinity);
      mask(block, room, room.dscores, 0);
      differentiate(block, scale, room);
      add_to_keys(block, room.scores, room.douts, room.width, room.value_sums);
      add_to_keys(block, room.dscores, room.queries, room.width, room.key_sums);
      multiply_queries(block, room.dscores, room.keys, room.width, head.size,
                       is_first(head, block) ? 0 : 1, g.dq, room.spare);
    });
    put_rows(room.key_sums, room.width, keys, head.size, g.adds_to_keys, g.dk, key);
    put_rows(room.value_sums, room.width, keys, head.size, g.adds_to_keys, g.dv, key);
  }
}

inline void set_attention(Kernels& table) {
  table.attention_forward = attention_forward;
  table.attention_backward = attention_backward;
  table.row_dots = row_dots;
}

}  // namespace
}  // namespace cllm::kernels
