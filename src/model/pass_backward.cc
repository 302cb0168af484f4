#include <algorithm>
#include <cstring>

#include "cllm/kernels/blas.h"
#include "pass.h"

namespace cllm::model {

using kernels::sgemm;
using enum kernels::Transpose;

namespace {

/// Rows that go through several row-wise kernels one after the other while they are in the cache.
constexpr std::size_t kChunkRows = 32;

/// Calls work(first, count) for the rows, a few at a time.
template <typename Work>
void for_chunks(const Rows& rows, const Work& work) {
  for (std::size_t i = 0; i < rows.count; i += kChunkRows) {
    work(rows.first + i, std::min(kChunkRows, rows.count - i));
  }
}

/// A block's sums for the vectors of a layer, in the order of the layer's list.
struct LayerVectors {
  LayerVectors(float* first, std::size_t c)
      : ln_1_weight(first),
        ln_1_bias(first + c),
        c_attn_bias(first + 2 * c),
        attn_proj_bias(first + 5 * c),
        ln_2_weight(first + 6 * c),
        ln_2_bias(first + 7 * c),
        c_fc_bias(first + 8 * c),
        mlp_proj_bias(first + 12 * c) {
    std::fill_n(first, kLayerVectors * c, 0.0f);
  }
  float *ln_1_weight, *ln_1_bias, *c_attn_bias, *attn_proj_bias, *ln_2_weight, *ln_2_bias,
      *c_fc_bias, *mlp_proj_bias;
};

}  // namespace

void Pass::head_backward(float scale, GradientSink& sink) const {
  const Span span(me_.recorder, Activity::kLmHead);
  const std::size_t v = layout_.config().vocabulary, layers = layout_.config().layers;
  // Logits become their gradients in place, a few rows at a time: (R, V) never exists as a whole.
  for (std::size_t first = 0, pass = 0; first < r_; first += w_.head_rows(), ++pass) {
    const std::size_t count = std::min(w_.head_rows(), r_ - first);
    // Until everybody has its rows of ln_f, and nobody needs the last pass' logits.
    me_.wait();
    for_own_rows(first, count, w_.head_block(), [&](const Rows& rows) {
      float* logits = w_.logits + (rows.first - first) * v;
      predict(rows, logits);
      k_.cross_entropy_backward(logits, micro_batch_.targets + rows.first, w_.losses + rows.first,
                                scale, rows.count, v);
      sgemm(kNo, kNo, rows.count, width_, v, 1.0f, logits, v, p(layout_.embedding()), width_, 0.0f,
            w_.dprojected + rows.first * width_, width_);
      if (layout_.config().is_factorised())
        times(w_.dprojected, layout_.embedding_basis(), w_.dnorm, rows);
    });
    me_.wait();
    linear_backward_weight(w_.logits, w_.projected + first * width_, count, layout_.embedding(),
                           pass, sink);
  }
  float* dresidual = w_.dresidual[layers % 2];
  for_own_rows([&](const Rows& rows) {
    float* vectors = vectors_of(layers, rows.block);
    std::fill_n(vectors, 2 * c_, 0.0f);
    const std::size_t at = rows.first * c_;
    std::fill_n(dresidual + at, rows.count * c_, 0.0f);
    k_.layernorm_backward(w_.dnorm + at, w_.last + at, w_.mean_f + rows.first,
                          w_.rstd_f + rows.first, p(layout_.ln_f_weight()), dresidual + at, vectors,
                          vectors + c_, rows.count, c_);
  });
}

void Pass::layer_backward(std::size_t l, GradientSink& sink) const {
  const Span span(me_.recorder, Activity::kBackward, static_cast<int>(l));
  const LayerTensors& t = layout_.layer(l);
  const LayerActivations& a = w_.layers[l];
  float* const dout = w_.dresidual[(l + 1) % 2];  // of the layer's output
  float* const dmiddle = w_.dmiddle[l % 2];       // after the MLP's branch was added
  float* const din = w_.dresidual[l % 2];         // after attention's
  float* const dhidden = w_.dhidden[l % 2];
  float* const dattention = w_.branch;

  for_own_rows([&](const Rows& rows) {
    const LayerVectors sums(vectors_of(l, rows.block), c_);
    times(dout, t.mlp_proj_weight, dhidden, rows);
    for_chunks(rows, [&](std::size_t first, std::size_t count) {
      float* d = dhidden + first * 4 * c_;
      k_.gelu_backward(a.fc + first * 4 * c_, d, d, count * 4 * c_);
      k_.add_column_sums(d, sums.c_fc_bias, count, 4 * c_);
    });
    times(dhidden, t.c_fc_weight, w_.dnorm, rows);
    for_chunks(rows, [&](std::size_t first, std::size_t count) {
      const std::size_t at = first * c_;
      k_.add_column_sums(dout + at, sums.mlp_proj_bias, count, c_);
      std::memcpy(dmiddle + at, dout + at, count * c_ * sizeof(float));
      k_.layernorm_backward(w_.dnorm + at, a.middle + at, a.mean_2 + first, a.rstd_2 + first,
                            p(t.ln_2_weight), dmiddle + at, sums.ln_2_weight, sums.ln_2_bias, count,
                            c_);
      k_.add_column_sums(dmiddle + at, sums.attn_proj_bias, count, c_);
    });
    times(dmiddle, t.attn_proj_weight, dattention, rows);
  });
  me_.wait();
  if (me_.takes(l + 1)) give_vectors(l + 1, sink);
  attend_backward(l);
  me_.wait();
  for_own_rows([&](const Rows& rows) {
    float* vectors = vectors_of(l, rows.block);
    times(w_.dqkv, t.c_attn_weight, w_.dnorm, rows);
    for_chunks(rows, [&](std::size_t first, std::size_t count) {
      const std::size_t at = first * c_;
      k_.add_column_sums(w_.dqkv + 3 * at, vectors + 2 * c_, count, 3 * c_);
      std::memcpy(din + at, dmiddle + at, count * c_ * sizeof(float));
      k_.layernorm_backward(w_.dnorm + at, a.input + at, a.mean_1 + first, a.rstd_1 + first,
                            p(t.ln_1_weight), din + at, vectors, vectors + c_, count, c_);
    });
  });
  linear_backward_weight(dout, a.gelu, r_, t.mlp_proj_weight, 0, sink);
  linear_backward_weight(dhidden, a.ln_2, r_, t.c_fc_weight, 0, sink);
  linear_backward_weight(dmiddle, a.attention, r_, t.attn_proj_weight, 0, sink);
  linear_backward_weight(w_.dqkv, a.ln_1, r_, t.c_attn_weight, 0, sink);
}

void Pass::attend_backward(std::size_t l) const {
  const Span span(me_.recorder, Activity::kAttention, static_cast<int>(l));
  const LayerActivations& a = w_.layers[l];
  const std::size_t d = layout_.config().head_size();
  for_own_heads([&](std::size_t s, std::size_t h) {
    const std::size_t out = s * micro_batch_.positions * c_ + h * d;
    float* dq = w_.dqkv + s * micro_batch_.positions * 3 * c_ + h * d;
    attention_backward(k_, attention_head(a.qkv, s, h), a.attention + out, w_.branch + out, c_,
                       a.log_sum_exp + h * r_ + s * micro_batch_.positions, dq, dq + c_,
                       dq + 2 * c_, s_.scores, s_.dscores, s_.delta);
  });
}

void Pass::embedding_backward(GradientSink& sink) const {
  const Span span(me_.recorder, Activity::kBackward, -1);
  const std::size_t v = layout_.config().vocabulary, t = micro_batch_.positions;
  const float* dresidual = w_.dresidual[0];
  if (layout_.config().is_factorised()) {
    for_own_rows([&](const Rows& rows) {
      linear(dresidual, layout_.embedding_basis(), w_.dtable_rows, rows);
    });
  }
  if (me_.index == 0) {
    for (std::size_t row = 0; row < r_; ++row) {
      w_.token_order[row] =
          std::uint64_t{micro_batch_.row_of(micro_batch_.inputs[row])} << 32 | row;
    }
    std::sort(w_.token_order, w_.token_order + r_);
  }
  me_.wait();
  if (me_.takes(0)) give_vectors(0, sink);

  // A token's positions follow each other in token_order, in order.
  for (std::size_t range = 0; range < kTokenRanges; ++range) {
    if (!me_.takes(range)) continue;
    const auto bound = [&](std::size_t part) {
      return std::uint64_t{v * part / kTokenRanges} << 32;
    };
    const std::uint64_t* const end = w_.token_order + r_;
    const std::uint64_t* entry =
        std::lower_bound(w_.token_order, w_.token_order + r_, bound(range));
    sink.begin_tokens(range, me_.recorder);
    while (entry != end && *entry < bound(range + 1)) {
      const std::uint64_t key = *entry >> 32;
      const std::uint32_t token = micro_batch_.inputs[*entry & 0xffffffff];
      const float* row = w_.dtable_rows + (*entry & 0xffffffff) * width_;
      if (++entry != end && *entry >> 32 == key) {
        std::memcpy(s_.tile, row, width_ * sizeof(float));
        row = s_.tile;
        for (; entry != end && *entry >> 32 == key; ++entry) {
          k_.add(w_.dtable_rows + (*entry & 0xffffffff) * width_, s_.tile, width_);
        }
      }
      sink.add_token(token, row);
    }
    sink.end_tokens(range);
  }

  if (layout_.config().is_factorised()) basis_backward(sink);
  for (std::size_t i = tiling_.first_of(layout_.wpe()); i < tiling_.end_of(layout_.wpe()); ++i) {
    if (!me_.takes(i)) continue;
    const Tile& tile = tiling_[i];
    for (std::size_t row = 0; row < tile.rows; ++row) {
      float* sum = s_.tile + row * tile.columns;
      std::fill_n(sum, tile.columns, 0.0f);
      const std::size_t position = tile.row + row;
      for (std::size_t s = 0; s < micro_batch_.sequences && position < t; ++s) {
        k_.add(dresidual + (s * t + position) * c_ + tile.column, sum, tile.columns);
      }
    }
    sink.add(i, 0, s_.tile, tile.columns, me_.recorder);
  }
}

void Pass::linear_backward_weight(const float* dy, const float* x, std::size_t count,
                                  std::size_t weight, std::size_t pass, GradientSink& sink) const {
  const std::size_t out = layout_[weight].rows, in = layout_[weight].columns;
  const bool is_head = weight == layout_.embedding();
  for (std::size_t i = tiling_.first_of(weight); i < tiling_.end_of(weight); ++i) {
    if (!me_.takes(i)) continue;
    const Tile& tile = tiling_[i];
    {
      const Span span(me_.recorder, is_head ? Activity::kLmHead : Activity::kMatrix);
      sgemm(kYes, kNo, tile.rows, tile.columns, count, 1.0f, dy + tile.row, out, x + tile.column,
            in, 0.0f, s_.tile, tile.columns);
    }
    sink.add(i, pass, s_.tile, tile.columns, me_.recorder);
  }
}

void Pass::basis_backward(GradientSink& sink) const {
  for (std::size_t i = tiling_.first_of(layout_.embedding_basis());
       i < tiling_.end_of(layout_.embedding_basis()); ++i) {
    if (!me_.takes(i)) continue;
    const Tile& tile = tiling_[i];
    {
      const Span span(me_.recorder, Activity::kMatrix);
      sgemm(kYes, kNo, tile.rows, tile.columns, r_, 1.0f, w_.dprojected + tile.row, width_,
            w_.ln_f + tile.column, c_, 0.0f, s_.tile, tile.columns);
      sgemm(kYes, kNo, tile.rows, tile.columns, r_, 1.0f, w_.codes + tile.row, width_,
            w_.dresidual[0] + tile.column, c_, 1.0f, s_.tile, tile.columns);
    }
    sink.add(i, 0, s_.tile, tile.columns, me_.recorder);
  }
}

float* Pass::vectors_of(std::size_t group, std::size_t block) const {
  const std::size_t blocks = (w_.rows() + w_.token_block() - 1) / w_.token_block();
  return w_.vectors + (group * blocks + block) * kLayerVectors * c_;
}

void Pass::give_vectors(std::size_t group, GradientSink& sink) const {
  const bool is_layer = group < layout_.config().layers;
  const std::size_t count = (is_layer ? kLayerVectors : 2) * c_;
  std::memcpy(s_.tile, vectors_of(group, 0), count * sizeof(float));
  for (std::size_t block = 1; block * w_.token_block() < r_; ++block) {
    k_.add(vectors_of(group, block), s_.tile, count);
  }
  const float* values = s_.tile;
  const auto give = [&](std::size_t tensor) {
    sink.add(tiling_.first_of(tensor), 0, values, layout_[tensor].size(), me_.recorder);
    values += layout_[tensor].size();
  };
  if (!is_layer) {
    give(layout_.ln_f_weight());
    give(layout_.ln_f_bias());
    return;
  }
  const LayerTensors& t = layout_.layer(group);
  for (const std::size_t tensor : {t.ln_1_weight, t.ln_1_bias, t.c_attn_bias, t.attn_proj_bias,
                                   t.ln_2_weight, t.ln_2_bias, t.c_fc_bias, t.mlp_proj_bias}) {
    give(tensor);
  }
}

}  // namespace cllm::model
