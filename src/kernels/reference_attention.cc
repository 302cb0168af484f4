#include <algorithm>
#include <cmath>
#include <vector>

#include "reference.h"

namespace cllm::kernels {
namespace {

using reference::narrow;
using reference::wide;

// --- Attention -----------------------------------------------------------------------------------

using Doubles = std::vector<double>;

double dot(const float* a, const float* b, std::size_t n) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += wide(a[i]) * wide(b[i]);
  return sum;
}

const float* row_of(const ConstRows& rows, std::size_t row) {
  return rows.data + row * rows.stride;
}

/// The keys that a query sees.
struct Range {
  std::size_t begin, end;
};
Range keys_of(const AttentionHead& head, std::size_t query) {
  return {head.begins == nullptr ? 0 : head.begins[query], head.past + query + 1};
}

/// Of one query, from its first key on.
Doubles scores_of(const AttentionHead& head, std::size_t query) {
  const auto [begin, end] = keys_of(head, query);
  Doubles scores;
  for (std::size_t key = begin; key < end; ++key) {
    scores.push_back(dot(row_of(head.q, query), row_of(head.k, key), head.size) /
                     std::sqrt(static_cast<double>(head.size)));
  }
  return scores;
}

void attention_forward(const AttentionHead& head, MutableRows out, float* log_sum_exp) {
  for (std::size_t query = 0; query < head.positions; ++query) {
    Doubles powers = scores_of(head, query);
    const std::size_t begin = keys_of(head, query).begin;
    const double max = *std::ranges::max_element(powers);
    double sum = 0;
    for (double& power : powers) sum += power = std::exp(power - max);
    Doubles weighted(head.size);
    for (std::size_t i = 0; i < powers.size(); ++i) {
      for (std::size_t c = 0; c < head.size; ++c) {
        weighted[c] += powers[i] / sum * wide(row_of(head.v, begin + i)[c]);
      }
    }
    std::ranges::transform(weighted, out.data + query * out.stride, narrow);
    log_sum_exp[query] = narrow(max + std::log(sum));
  }
}

/// Sums of gradients, before they are rounded.
class Sums {
 public:
  Sums(std::size_t rows, std::size_t columns) : columns_(columns), sums_(rows * columns) {}

  void add(std::size_t row, double factor, const float* x) {
    for (std::size_t i = 0; i < columns_; ++i) sums_[row * columns_ + i] += factor * wide(x[i]);
  }
  void store(MutableRows rows, bool adds) const {
    for (std::size_t i = 0; i < sums_.size(); ++i) {
      float& element = rows.data[i / columns_ * rows.stride + i % columns_];
      element = narrow((adds ? wide(element) : 0) + sums_[i]);
    }
  }

 private:
  std::size_t columns_;
  Doubles sums_;
};

void attention_backward(const AttentionHead& head, const AttentionGradients& g) {
  Sums dq(head.positions, head.size), dk = dq, dv = dq;
  const double scale = 1 / std::sqrt(static_cast<double>(head.size));
  for (std::size_t query = 0; query < head.positions; ++query) {
    const float* const dout = row_of(g.dout, query);
    const double delta = dot(dout, row_of(g.out, query), head.size);
    const Doubles scores = scores_of(head, query);
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const std::size_t key = keys_of(head, query).begin + i;
      const double exponent = scores[i] - wide(g.log_sum_exp[query]);
      const double p = std::exp(exponent > 0 ? 0 : exponent);  // NaN stays
      const double dscore = p * scale * (dot(dout, row_of(head.v, key), head.size) - delta);
      dv.add(key, p, dout);
      dk.add(key, dscore, row_of(head.q, query));
      dq.add(query, dscore, row_of(head.k, key));
    }
  }
  dq.store(g.dq, false);
  dk.store(g.dk, g.adds_to_keys);
  dv.store(g.dv, g.adds_to_keys);
}

void row_dots(const float* a, const float* b, float* dots, std::size_t rows, std::size_t columns,
              std::size_t lda, std::size_t ldb) {
  for (std::size_t row = 0; row < rows; ++row, a += lda, b += ldb) {
    dots[row] = narrow(dot(a, b, columns));
  }
}

// --- Rotary positions ----------------------------------------------------------------------------

void rotate(const float* x, std::size_t ldx, const float* cosines, const float* sines,
            float direction, float* y, std::size_t ldy, std::size_t rows, std::size_t heads,
            std::size_t size) {
  const std::size_t half = size / 2;
  for (std::size_t row = 0; row < rows; ++row, cosines += half, sines += half) {
    for (std::size_t head = 0; head < heads; ++head) {
      const float* x_head = x + row * ldx + head * size;
      float* y_head = y + row * ldy + head * size;
      for (std::size_t i = 0; i < half; ++i) {
        const double first = x_head[i], second = x_head[half + i];
        const double cosine = cosines[i], sine = wide(direction) * wide(sines[i]);
        y_head[i] = narrow(first * cosine - second * sine);
        y_head[half + i] = narrow(second * cosine + first * sine);
      }
    }
  }
}

}  // namespace

void reference::set_attention(Kernels& table) {
  table.attention_forward = attention_forward;
  table.attention_backward = attention_backward;
  table.row_dots = row_dots;
  table.rotate = rotate;
}

}  // namespace cllm::kernels
