#include "cllm/kernels/products.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/kernels/blas.h"
#include "kernels/implementations.h"

namespace cllm::kernels {

void PrintTo(const Products* products, std::ostream* out) { *out << products->name; }

namespace {

using enum Transpose;
using testing::HasSubstr;
using testing::ThrowsMessage;

struct Case {
  Transpose transpose_a, transpose_b;
  std::size_t m, n, k;
  float alpha = 1, beta = 0;
};

/// The operands of a case, in rows with padding, and what C is before.
struct Operands {
  explicit Operands(const Case& of) : c(of) {
    const auto stored = [](Transpose transpose, std::size_t rows, std::size_t columns) {
      return transpose == kYes ? std::pair{columns, rows} : std::pair{rows, columns};
    };
    const auto [a_rows, a_columns] = stored(c.transpose_a, c.m, c.k);
    const auto [b_rows, b_columns] = stored(c.transpose_b, c.k, c.n);
    lda = a_columns + 3;
    ldb = b_columns + 1;
    ldc = c.n + 2;
    a = with_padding(normal_array(c.m * c.k, 1, 1), a_rows, a_columns, lda);
    b = with_padding(normal_array(c.k * c.n, 1, 2), b_rows, b_columns, ldb);
    // With beta = 0, C must not be read, so it may be all NaN.
    before = with_padding(c.beta == 0 ? Array(c.m * c.n, std::numeric_limits<float>::quiet_NaN())
                                      : normal_array(c.m * c.n, 1, 3),
                          c.m, c.n, ldc);
  }
  float a_at(std::size_t i, std::size_t l) const {
    return c.transpose_a == kYes ? a[l * lda + i] : a[i * lda + l];
  }
  float b_at(std::size_t l, std::size_t j) const {
    return c.transpose_b == kYes ? b[j * ldb + l] : b[l * ldb + j];
  }

  Case c;
  std::size_t lda, ldb, ldc;
  Array a, b, before;
};

Array product_by(const Products& products, const Operands& o) {
  Array c = o.before;
  use_products(products.name);
  sgemm(o.c.transpose_a, o.c.transpose_b, o.c.m, o.c.n, o.c.k, o.c.alpha, o.a.data(), o.lda,
        o.b.data(), o.ldb, o.c.beta, c.data(), o.ldc);
  return c;
}

/// Note [Order of products], word by word.
float in_order(const Operands& o, std::size_t i, std::size_t j) {
  const Case& c = o.c;
  const float was = o.before[i * o.ldc + j];
  const auto combined = [&](float sum, float beta, float so_far) {
    const float scaled = c.alpha * sum;
    if (beta == 0) return scaled;
    return beta == 1 ? so_far + scaled : std::fma(beta, so_far, scaled);
  };
  if (c.m <= kFewRows && c.transpose_a == kNo && c.transpose_b == kYes) {
    std::array<float, kProductLanes> chains{};
    for (std::size_t l = 0; l < c.k; ++l) {
      float& chain = chains[l % kProductLanes];
      chain = std::fma(o.a_at(i, l), o.b_at(l, j), chain);
    }
    for (std::size_t half = kProductLanes / 2; half > 0; half /= 2) {
      for (std::size_t l = 0; l < half; ++l) chains[l] += chains[l + half];
    }
    return combined(chains[0], c.beta, was);
  }
  float result = was;
  for (std::size_t first = 0; first == 0 || first < c.k; first += kProductBlock) {
    float sum = 0;
    for (std::size_t l = first; l < std::min(c.k, first + kProductBlock); ++l) {
      sum = std::fma(o.a_at(i, l), o.b_at(l, j), sum);
    }
    result = combined(sum, first == 0 ? c.beta : 1, result);
  }
  return result;
}

/// Higham, section 3.5: k products and additions, then alpha, beta and their sum.
void expect_near(const Operands& o, std::size_t i, std::size_t j, float found) {
  double sum = 0, magnitude = 0;
  for (std::size_t l = 0; l < o.c.k; ++l) {
    const double term = static_cast<double>(o.a_at(i, l)) * static_cast<double>(o.b_at(l, j));
    sum += term;
    magnitude += std::abs(term);
  }
  const double alpha = static_cast<double>(o.c.alpha);
  const double kept =
      o.c.beta == 0 ? 0
                    : static_cast<double>(o.c.beta) * static_cast<double>(o.before[i * o.ldc + j]);
  const double tolerance =
      kRoundoff * (static_cast<double>(o.c.k) + 4) * (std::abs(alpha) * magnitude + std::abs(kept));
  ASSERT_NEAR(found, alpha * sum + kept, tolerance);
}

class ProductsTest : public testing::TestWithParam<const Products*> {
 protected:
  void SetUp() override {
    if (!GetParam()->runs_here()) GTEST_SKIP() << "this processor has no " << GetParam()->name;
    was_ = products().name;
    prepare_blas(1);
  }
  void TearDown() override {
    if (!was_.empty()) use_products(was_);
  }

  void check(const Case& c) const {
    SCOPED_TRACE(testing::Message()
                 << c.m << "x" << c.n << "x" << c.k << " transposed " << (c.transpose_a == kYes)
                 << (c.transpose_b == kYes) << " alpha " << c.alpha << " beta " << c.beta);
    const Operands o(c);
    const Array found = product_by(*GetParam(), o);
    for (std::size_t i = 0; i < c.m; ++i) {
      for (std::size_t j = 0; j < c.n; ++j) {
        const float element = found[i * o.ldc + j];
        if (GetParam()->name == "openblas") {
          expect_near(o, i, j, element);
        } else {
          ASSERT_EQ(element, in_order(o, i, j)) << "at " << i << ", " << j;
        }
      }
      for (std::size_t j = c.n; j < o.ldc && i * o.ldc + j < found.size(); ++j) {
        ASSERT_TRUE(is_guard(found[i * o.ldc + j])) << "the padding of row " << i << " was written";
      }
    }
  }

  static constexpr std::array<std::pair<Transpose, Transpose>, 4> kForms = {
      {{kNo, kNo}, {kNo, kYes}, {kYes, kNo}, {kYes, kYes}}};

 private:
  std::string_view was_;
};

/// Every remainder of a tile in each dimension, and for each a few of the others.
TEST_P(ProductsTest, AreWhatTheirOrderSays) {
  constexpr std::size_t kMost = 70;
  for (std::size_t i = 0; i < 4 * kMost; ++i) {
    const std::size_t m = i % kMost + 1, n = (i * 29 + 11 * (i / kMost)) % kMost + 1,
                      k = (i * 43 + 31 * (i / kMost)) % kMost + 1;
    for (const auto& [a, b] : kForms) {
      check({a, b, m, n, k});
      check({a, b, m, n, k, 1, 1});
      check({a, b, m, n, k, 0.125f, 0});
      check({a, b, m, n, k, -3, 0.5f});
    }
  }
}

/// Longer than what is packed at a time.
TEST_P(ProductsTest, AreWhatTheirOrderSaysWhereTheyAreLong) {
  constexpr std::array<std::size_t, 3> kSizes[] = {{1, 1, 3000},  {35, 17, 1999},  {1501, 13, 37},
                                                   {9, 3001, 20}, {257, 193, 769}, {4, 70, 515},
                                                   {5, 70, 512}};
  for (const auto& [m, n, k] : kSizes) {
    for (const auto& [a, b] : kForms) {
      check({a, b, m, n, k});
      check({a, b, m, n, k, 0.5f, 1});
    }
  }
}

TEST_P(ProductsTest, OfNothing) {
  for (const auto& [a, b] : kForms) {
    check({a, b, 3, 5, 0, 1, 0});
    check({a, b, 3, 5, 0, 1, 2});
    check({a, b, 0, 5, 4});
    check({a, b, 7, 0, 4});
  }
}

TEST_P(ProductsTest, KeepNaNsAndInfinitiesToThemselves) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (const auto& [a, b] : kForms) {
    Operands o({a, b, 9, 37, 11});
    std::ranges::fill(o.before, guard());
    o.a[o.lda * 2 + 3] = std::numeric_limits<float>::quiet_NaN();
    o.b[o.ldb * 4 + 5] = kInf;
    const Array found = product_by(*GetParam(), o);
    for (std::size_t i = 0; i < 9; ++i) {
      for (std::size_t j = 0; j < 37; ++j) {
        EXPECT_EQ(std::isnan(found[i * o.ldc + j]), std::isnan(in_order(o, i, j)));
        EXPECT_EQ(std::isinf(found[i * o.ldc + j]), std::isinf(in_order(o, i, j)));
      }
    }
  }
}

/// Rows and columns are computed on their own: what a part of a product is does not depend on the
/// rest, as long as both have many rows.
TEST_P(ProductsTest, DoNotDependOnWhatIsBesideThem) {
  if (GetParam()->name == "openblas") GTEST_SKIP() << "OpenBLAS does";
  const Operands o({kNo, kYes, 600, 300, 300});
  const Array all = product_by(*GetParam(), o);
  Array part(600 * o.ldc, 0);
  for (const std::size_t rows : std::array<std::size_t, 3>{5, 64, 509}) {
    for (const std::size_t columns : std::array<std::size_t, 3>{1, 33, 290}) {
      const std::size_t row = 600 - rows, column = 300 - columns;
      sgemm(kNo, kYes, rows, columns, 300, 1, o.a.data() + row * o.lda, o.lda,
            o.b.data() + column * o.ldb, o.ldb, 0, part.data(), o.ldc);
      for (std::size_t i = 0; i < rows; ++i) {
        ASSERT_EQ(std::memcmp(&part[i * o.ldc], &all[(row + i) * o.ldc + column],
                              columns * sizeof(float)),
                  0);
      }
    }
  }
}

TEST_P(ProductsTest, ThreadsComputeAtOnce) {
  const Operands o({kNo, kNo, 150, 140, 300});
  const Array expected = product_by(*GetParam(), o);
  std::vector<Array> found(4, o.before);
  std::vector<std::thread> threads;
  for (Array& mine : found) {
    threads.emplace_back([&] {
      prepare_blas(1);
      for (int i = 0; i < 5; ++i) {
        sgemm(kNo, kNo, 150, 140, 300, 1, o.a.data(), o.lda, o.b.data(), o.ldb, 0, mine.data(),
              o.ldc);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Array& mine : found) {
    EXPECT_EQ(std::memcmp(mine.data(), expected.data(), mine.size() * sizeof(float)), 0);
  }
}

std::vector<const Products*> every() {
  std::vector<const Products*> all;
  for (const Products& each : all_products()) all.push_back(&each);
  return all;
}
INSTANTIATE_TEST_SUITE_P(All, ProductsTest, testing::ValuesIn(every()),
                         [](const auto& test) { return std::string(test.param->name); });

TEST(ChoiceOfProducts, TheEnvironmentForcesOne) {
  const std::string_view was = products().name;
  EXPECT_TRUE(products().runs_here());
  use_products("portable");
  EXPECT_EQ(products().name, "portable");
  EXPECT_THAT([] { use_products("mkl"); }, ThrowsMessage<Error>(HasSubstr("--products mkl")));
  EXPECT_EQ(products().name, "portable");
  use_products(was);
}

TEST(ChoiceOfProducts, BlasRefusesASizeThatItCannotCount) {
  const std::string_view was = products().name;
  use_products("openblas");
  const std::size_t huge = std::size_t{1} << 31;
  float x = 0;
  EXPECT_THAT([&] { sgemm(kNo, kNo, huge, 1, 1, 1, &x, 1, &x, 1, 0, &x, 1); },
              ThrowsMessage<Error>(HasSubstr("2147483648")));
  use_products(was);
}

TEST(SharedProductsTest, HaveTheBitsOfOneThread) {
  const std::string before(products().name);
  for (const Products& each : all_products()) {
    if (!each.runs_here() || !each.has_fixed_order()) continue;
    for (const Transpose transpose_b : {kNo, kYes}) {
      for (const Case& c : {Case{kNo, transpose_b, 1, 1003, 300},
                            {kNo, transpose_b, 3, 64, 700},
                            {kNo, transpose_b, 20, 130, 513, 2, 1},
                            {kNo, transpose_b, 2, 5, 7}}) {
        const Operands o(c);
        const Array expected = product_by(each, o);
        for (const int threads : {1, 2, 3, 7}) {
          ThreadPool pool(threads);
          Array y = o.before;
          multiply_together(pool, {c.transpose_a, c.transpose_b, c.m, c.n, c.k, c.alpha, o.a.data(),
                                   o.lda, o.b.data(), o.ldb, c.beta, y.data(), o.ldc});
          EXPECT_EQ(std::memcmp(y.data(), expected.data(), y.size() * sizeof(float)), 0)
              << each.name << " " << c.m << " x " << c.n << " on " << threads;
        }
      }
    }
  }
  use_products(before);
}

}  // namespace
}  // namespace cllm::kernels
