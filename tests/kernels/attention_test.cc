#include "cllm/kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/implementations.h"

/// The kernels of attention: each implementation against the reference, and those of fixed order
/// against each other.
namespace cllm::kernels {
namespace {

constexpr double kU = kRoundoff;

/// Probabilities below this share of the largest are taken for 0.
constexpr double kDropped = 0x1p-99;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

/// A head, its arrays' rows `ld` apart.
struct Shape {
  std::size_t size, positions, past;
  std::vector<std::uint32_t> begins = {};

  std::size_t keys() const { return past + positions; }
  std::size_t ld() const { return size + 3; }
  std::size_t begin(std::size_t query) const { return begins.empty() ? 0 : begins[query]; }
};

/// Every remainder of the blocks of keys and queries and of tiles and vectors of any width; one
/// query and the few that go by themselves; documents that begin at the ends of blocks and within.
std::vector<Shape> shapes() {
  std::vector<Shape> result;
  for (const std::size_t positions :
       {1u, 2u, 4u, 5u, 13u, 14u, 63u, 64u, 65u, 100u, 128u, 129u, 200u, 255u, 256u, 257u}) {
    result.push_back({.size = 16, .positions = positions, .past = 0});
    result.push_back({.size = 32, .positions = positions, .past = positions / 2});
  }
  for (const std::size_t size :
       {1u, 2u, 3u, 7u, 8u, 15u, 17u, 31u, 33u, 48u, 64u, 65u, 80u, 128u, 260u}) {
    result.push_back({.size = size, .positions = 70, .past = 0});
    result.push_back({.size = size, .positions = 3, .past = 300});
    result.push_back({.size = size, .positions = 70, .past = 61});
  }
  result.push_back({.size = 24, .positions = 300, .past = 0});
  const auto with_documents = [&](std::size_t positions, std::size_t past,
                                  const std::vector<std::uint32_t>& firsts) {
    Shape shape{.size = 20, .positions = positions, .past = past};
    for (std::size_t query = 0; query < positions; ++query) {
      const auto after = std::ranges::upper_bound(firsts, static_cast<std::uint32_t>(past + query));
      shape.begins.push_back(*(after - 1));
    }
    result.push_back(shape);
  };
  with_documents(4, 0, {0, 1, 3});
  with_documents(4, 300, {7, 301});
  with_documents(100, 0, {0, 1, 40, 41, 64, 99});
  with_documents(300, 0, {0, 127, 128, 129, 192, 290});
  with_documents(300, 0, {0, 280});
  with_documents(90, 150, {140, 150, 200});
  return result;
}

/// q, k, v of a shape, normal with deviation `sigma` but for v's, which is 1.
struct Inputs {
  Array q, k, v;

  Inputs(const Shape& shape, double sigma)
      : q(padded(normal_array(shape.positions * shape.size, sigma, 1), shape)),
        k(padded(normal_array(shape.keys() * shape.size, sigma, 2), shape)),
        v(padded(normal_array(shape.keys() * shape.size, 1, 3), shape)) {}

  static Array padded(const Array& dense, const Shape& shape) {
    return with_padding(dense, dense.size() / shape.size, shape.size, shape.ld());
  }
};

/// With a workspace in which there is no number.
template <typename Work>
void with_head(const Shape& shape, const float* q, const float* k, const float* v,
               const Work& work) {
  Array workspace(attention_workspace(shape.size, shape.positions), kNaN);
  work(AttentionHead{.size = shape.size,
                     .positions = shape.positions,
                     .past = shape.past,
                     .q = {q, shape.ld()},
                     .k = {k, shape.ld()},
                     .v = {v, shape.ld()},
                     .begins = shape.begins.empty() ? nullptr : shape.begins.data(),
                     .workspace = workspace.data()});
}

/// What bounds of errors are made of, in double.
class Attention {
 public:
  Attention(const Shape& shape, const Inputs& x) : shape_(shape) {
    for (std::size_t query = 0; query < shape.positions; ++query) {
      Row row;
      double top = -std::numeric_limits<double>::infinity(), largest = 0;
      for (std::size_t key = shape.begin(query); key <= shape.past + query; ++key) {
        const auto [score, sizes] = dots(at(x.q, query), at(x.k, key));
        row.p.push_back(score * scale());
        // A chain along d and the scale's rounding.
        row.error.push_back((static_cast<double>(shape.size) + 2) * kU * sizes * scale());
        top = std::max(top, row.p.back());
        largest = std::max(largest, row.error.back());
      }
      double sum = 0;
      for (const double score : row.p) sum += std::exp(score - top);
      row.log_sum_exp = top + std::log(sum);
      for (std::size_t i = 0; i < row.p.size(); ++i) {
        const double exponent = row.p[i] - row.log_sum_exp;
        // The score's own error, that of the largest and three roundings of the exponent, exp's.
        row.error[i] += largest + kU * (3 * std::abs(row.p[i] - top) + 4);
        row.p[i] = std::exp(exponent);
      }
      rows_.push_back(row);
    }
  }

  struct Row {
    std::vector<double> p, error;  ///< probabilities from the first key on; relative errors
    double log_sum_exp;
  };
  const Row& row(std::size_t query) const { return rows_[query]; }

  double scale() const { return 1 / std::sqrt(static_cast<double>(shape_.size)); }
  const float* at(const Array& x, std::size_t row) const { return &x[row * shape_.ld()]; }

  struct Dots {
    double sum, sizes;  ///< of the products, and of their magnitudes
  };
  Dots dots(const float* a, const float* b) const {
    Dots result{};
    for (std::size_t i = 0; i < shape_.size; ++i) {
      const double product = static_cast<double>(a[i]) * static_cast<double>(b[i]);
      result.sum += product;
      result.sizes += std::abs(product);
    }
    return result;
  }

  /// The relative error of a sum of exponentials: of its terms', and of its additions, which go key
  /// by key in a block.
  double sum_error(std::size_t query) const {
    const Row& row = rows_[query];
    double error = 0;
    for (std::size_t i = 0; i < row.p.size(); ++i) error += row.p[i] * row.error[i];
    return error + additions(row.p.size());
  }
  /// Of a sum of n terms in blocks, and of what is made of the blocks' sums.
  static double additions(std::size_t n) {
    const std::size_t blocks = n / kKeyBlock + 2;
    return kU * static_cast<double>(std::min(n, kKeyBlock) + 8 * blocks);
  }

 private:
  const Shape& shape_;
  std::vector<Row> rows_;
};

void check_forward(const Shape& shape, double sigma) {
  SCOPED_TRACE(::testing::Message() << "d " << shape.size << " T " << shape.positions << " past "
                                    << shape.past << " sigma " << sigma);
  const Inputs x(shape, sigma);
  const Attention exact(shape, x);
  const Array nothing(shape.positions * shape.size);
  std::vector<double> out_error(shape.positions * shape.ld(), 0.0), sum_error;
  for (std::size_t query = 0; query < shape.positions; ++query) {
    const Attention::Row& row = exact.row(query);
    const double shared = exact.sum_error(query) + Attention::additions(row.p.size());
    for (std::size_t i = 0; i < row.p.size(); ++i) {
      const float* const v = exact.at(x.v, shape.begin(query) + i);
      for (std::size_t c = 0; c < shape.size; ++c) {
        out_error[query * shape.ld() + c] +=
            (row.p[i] * (row.error[i] + shared) + kDropped) * std::abs(static_cast<double>(v[c]));
      }
    }
    const double terms = static_cast<double>(row.p.size());
    sum_error.push_back(exact.sum_error(query) + terms * kDropped +
                        kU * (4 * std::abs(row.log_sum_exp) + 4 * std::log(terms) + 4));
  }
  expect_implementations_agree(
      {.name = "attention_forward",
       .arrays = {x.q, x.k, x.v, Inputs::padded(nothing, shape), Array(shape.positions)},
       .tolerances = {{}, {}, {}, out_error, sum_error},
       .call = [&](const Kernels& kernels, float* const* p) {
         with_head(shape, p[0], p[1], p[2], [&](const AttentionHead& head) {
           kernels.attention_forward(head, {p[3], shape.ld()}, p[4]);
         });
       }});
}

TEST(AttentionTest, Forward) {
  for (const Shape& shape : shapes()) check_forward(shape, 1);
}

TEST(AttentionTest, ForwardOfLargeScores) {
  for (const double sigma : {8.0, 100.0}) {
    check_forward({.size = 32, .positions = 150, .past = 0}, sigma);
    check_forward({.size = 32, .positions = 2, .past = 150}, sigma);
  }
}

/// The gradients' bounds, from the arrays that backward is given.
void check_backward(const Shape& shape, bool adds) {
  SCOPED_TRACE(::testing::Message() << "d " << shape.size << " T " << shape.positions);
  const Inputs x(shape, 1);
  const Attention exact(shape, x);
  const std::size_t n = shape.positions * shape.size;
  const Array dout = Inputs::padded(normal_array(n, 1, 4), shape);
  Array out = Inputs::padded(Array(n), shape), log_sum_exp(shape.positions);
  with_head(shape, x.q.data(), x.k.data(), x.v.data(), [&](const AttentionHead& head) {
    reference_kernels().attention_forward(head, {out.data(), shape.ld()}, log_sum_exp.data());
  });
  const Array before = Inputs::padded(normal_array(n, 1, 5), shape);
  std::vector<double> dq(before.size(), 0.0), dk = dq, dv = dq;
  const double chain = static_cast<double>(shape.size) + 4;
  for (std::size_t query = 0; query < shape.positions; ++query) {
    const Attention::Row& row = exact.row(query);
    const auto [delta, delta_sizes] = exact.dots(exact.at(dout, query), exact.at(out, query));
    for (std::size_t i = 0; i < row.p.size(); ++i) {
      const std::size_t key = shape.begin(query) + i;
      // Of the log-sum-exp only its rounding counts, since all are given the same.
      const double p_error =
          row.p[i] * (row.error[i] + kU * (2 * std::abs(row.log_sum_exp) + 4)) + kDropped;
      const auto [dp, dp_sizes] = exact.dots(exact.at(dout, query), exact.at(x.v, key));
      const double dscore = std::abs(row.p[i] * (dp - delta)) * exact.scale();
      const double dscore_error =
          exact.scale() *
              (p_error * std::abs(dp - delta) + row.p[i] * kU * chain * (dp_sizes + delta_sizes)) +
          4 * kU * dscore;
      const double terms = static_cast<double>(shape.positions) + 16;
      for (std::size_t c = 0; c < shape.size; ++c) {
        const auto size_of = [&](const Array& array, std::size_t r) {
          return std::abs(static_cast<double>(exact.at(array, r)[c]));
        };
        dv[key * shape.ld() + c] += (p_error + row.p[i] * kU * terms) * size_of(dout, query);
        dk[key * shape.ld() + c] += (dscore_error + dscore * kU * terms) * size_of(x.q, query);
        dq[query * shape.ld() + c] += (dscore_error + dscore * kU * terms) * size_of(x.k, key);
      }
    }
  }
  for (std::size_t i = 0; adds && i < before.size(); ++i) {
    if (is_guard(before[i])) continue;
    // What is added to, in an addition and the reference's rounding.
    dk[i] += 4 * kU * std::abs(static_cast<double>(before[i]));
    dv[i] += 4 * kU * std::abs(static_cast<double>(before[i]));
  }
  expect_implementations_agree(
      {.name = "attention_backward",
       .arrays = {x.q, x.k, x.v, out, dout, log_sum_exp, before, before, before},
       .tolerances = {{}, {}, {}, {}, {}, {}, dq, dk, dv},
       .call = [&](const Kernels& kernels, float* const* p) {
         with_head(shape, p[0], p[1], p[2], [&](const AttentionHead& head) {
           const auto rows = [&](float* data) { return MutableRows{data, shape.ld()}; };
           kernels.attention_backward(head, {.out = {p[3], shape.ld()},
                                             .dout = {p[4], shape.ld()},
                                             .log_sum_exp = p[5],
                                             .dq = rows(p[6]),
                                             .dk = rows(p[7]),
                                             .dv = rows(p[8]),
                                             .adds_to_keys = adds});
         });
       }});
}

TEST(AttentionTest, Backward) {
  bool adds = false;
  for (const Shape& shape : shapes()) {
    if (shape.past == 0) check_backward(shape, adds = !adds);
  }
}

/// A query's bits don't depend on other queries, nor on the documents before its own.
TEST(AttentionTest, AQuerySeesItsDocumentAlone) {
  constexpr std::size_t kSize = 24, kBegin = kKeyBlock, kPositions = kKeyBlock + 100;
  Shape all{.size = kSize, .positions = kPositions, .past = 0};
  for (std::size_t query = 0; query < kPositions; ++query) {
    all.begins.push_back(query < kBegin ? 0 : kBegin);
  }
  const Shape alone{.size = kSize, .positions = kPositions - kBegin, .past = 0};
  const Inputs x(all, 1);
  for (const Kernels* kernels : runnable_kernels()) {
    Array out(kPositions * all.ld()), sums(kPositions), own_out = out, own_sums = sums;
    with_head(all, x.q.data(), x.k.data(), x.v.data(), [&](const AttentionHead& head) {
      kernels->attention_forward(head, {out.data(), all.ld()}, sums.data());
    });
    const std::size_t offset = kBegin * all.ld();
    with_head(alone, &x.q[offset], &x.k[offset], &x.v[offset], [&](const AttentionHead& head) {
      kernels->attention_forward(head, {&own_out[offset], all.ld()}, &own_sums[kBegin]);
    });
    for (std::size_t query = kBegin; query < kPositions; ++query) {
      EXPECT_EQ(sums[query], own_sums[query]) << kernels->name << " " << query;
      for (std::size_t c = 0; c < kSize; ++c) {
        const std::size_t i = query * all.ld() + c;
        ASSERT_EQ(out[i], own_out[i]) << kernels->name << " " << query;
      }
    }
  }
}

TEST(AttentionTest, ANaNSpreadsToThoseWhoSeeItAlone) {
  for (const std::size_t positions : {3U, 80U}) {
    const Shape shape{.size = 16, .positions = positions, .past = 0};
    Inputs x(shape, 1);
    const std::size_t spoiled = positions - 2;
    x.k[spoiled * shape.ld() + 5] = kNaN;
    for (const Kernels* kernels : runnable_kernels()) {
      Array out(positions * shape.ld()), sums(positions);
      with_head(shape, x.q.data(), x.k.data(), x.v.data(), [&](const AttentionHead& head) {
        kernels->attention_forward(head, {out.data(), shape.ld()}, sums.data());
      });
      for (std::size_t query = 0; query < positions; ++query) {
        EXPECT_EQ(std::isnan(sums[query]), query >= spoiled) << kernels->name << " " << query;
        for (std::size_t c = 0; c < shape.size; ++c) {
          EXPECT_EQ(std::isnan(out[query * shape.ld() + c]), query >= spoiled) << kernels->name;
        }
      }
    }
  }
}

TEST(AttentionTest, RowDots) {
  for (const std::size_t columns : lengths()) {
    constexpr std::size_t kRows = 3;
    const Array a = normal_array(kRows * columns, 1, 1), b = normal_array(kRows * columns, 1, 2);
    std::vector<double> allowed(kRows);
    for (std::size_t i = 0; i < a.size(); ++i) {
      // A product, the additions, and the implementation's rounding.
      allowed[i / columns] += kU * (static_cast<double>(columns) / 32 + 9 + 2) *
                              std::abs(static_cast<double>(a[i]) * static_cast<double>(b[i]));
    }
    expect_implementations_agree(
        {.name = "row_dots",
         .arrays = {with_padding(a, kRows, columns, columns + 1),
                    with_padding(b, kRows, columns, columns + 4), Array(kRows)},
         .tolerances = {{}, {}, allowed},
         .call = [=](const Kernels& k, float* const* q) {
           k.row_dots(q[0], q[1], q[2], kRows, columns, columns + 1, columns + 4);
         }});
  }
}

}  // namespace
}  // namespace cllm::kernels
