#include <algorithm>
#include <cmath>

#include "kernels/implementations.h"

/// RMS norm, forward and backward: AVX2 against the portable implementation.
namespace cllm::kernels {
namespace {

constexpr double kU = kRoundoff;
constexpr float kEpsilon = 1e-6f;

struct Shape {
  std::size_t rows;
  std::size_t heads;
  std::size_t size;

  std::size_t columns() const { return heads * size; }
  std::size_t count() const { return rows * heads * size; }
  // No two arrays have the same stride, but for those that may be one array.
  std::size_t ldx() const { return columns() + 3; }
  std::size_t ldy() const { return columns() + 5; }
};

std::vector<Shape> shapes() {
  std::vector<Shape> result = {{0, 1, 16}, {2, 0, 16},  {1, 1, 768}, {3, 1, 1024}, {5, 12, 64},
                               {1, 3, 64}, {3, 5, 128}, {3, 3, 2},   {2, 5, 6},    {2, 3, 10}};
  for (const std::size_t size : lengths()) {
    if (size > 0 && size < 1030) {
      result.push_back({4, 1, size});
      result.push_back({3, 1, size});
    }
    if (size > 0 && size < 130) result.push_back({2, 3, size});
  }
  return result;
}

/// The most additions that an element of a row goes through: a quarter of its vectors, the rest of
/// them, the end of the row, and the eight lanes of four vectors.
double additions(std::size_t n) { return static_cast<double>(n) / 32 + 3 + 1 + 5; }

std::vector<double> pad(const std::vector<double>& dense, const Shape& shape, std::size_t ld) {
  std::vector<double> padded(shape.rows == 0 ? 0 : (shape.rows - 1) * ld + shape.columns());
  for (std::size_t row = 0; row < shape.rows; ++row) {
    std::copy_n(dense.data() + row * shape.columns(), shape.columns(), padded.data() + row * ld);
  }
  return padded;
}

Array pad(const Array& dense, const Shape& shape, std::size_t ld) {
  return with_padding(dense, shape.rows, shape.columns(), ld);
}

struct Tolerances {
  std::vector<double> y;
  std::vector<double> rstd;
};

/// Higham, "Accuracy and Stability of Numerical Algorithms", 4.2: a sum of squares is off by
/// (additions + 1) u of itself, because nothing cancels; the mean and epsilon add two roundings, of
/// all of which the root takes half, and root, quotient and portable's own rounding three. One more
/// stands for all products of errors. y has two products more, and portable's rounding.
Tolerances tolerances(const Array& x, const Array& gain, const Shape& shape) {
  Tolerances result;
  const double error = ((additions(shape.size) + 3) / 2 + 4) * kU;
  for (std::size_t head = 0; head < shape.rows * shape.heads; ++head) {
    const float* x_head = x.data() + head * shape.size;
    double squares = 0;
    for (std::size_t i = 0; i < shape.size; ++i) {
      squares += std::pow(static_cast<double>(x_head[i]), 2);
    }
    const double rstd =
        1 / std::sqrt(squares / static_cast<double>(shape.size) + static_cast<double>(kEpsilon));
    result.rstd.push_back(rstd * error);
    for (std::size_t i = 0; i < shape.size; ++i) {
      const double scale = gain.empty() ? 1 : std::abs(static_cast<double>(gain[i]));
      result.y.push_back(
          std::abs(static_cast<double>(x_head[i])) * rstd * scale * (error + 3 * kU) + 0x1p-149);
    }
  }
  return result;
}

const float* or_none(const Array& gain, const float* copy) { return gain.empty() ? nullptr : copy; }

void check_forward(const Array& x, const Array& gain, const Shape& shape) {
  const Tolerances allowed = tolerances(x, gain, shape);
  const auto [rows, heads, size] = shape;
  const Array heads_of_rows(rows * heads);
  expect_implementations_agree(
      {.name = "rmsnorm",
       .arrays = {pad(x, shape, shape.ldx()), gain, pad(Array(x.size()), shape, shape.ldy()),
                  heads_of_rows},
       .tolerances = {{}, {}, pad(allowed.y, shape, shape.ldy()), allowed.rstd},
       .call = [=](const Kernels& k, float* const* p) {
         k.rmsnorm(p[0], shape.ldx(), or_none(gain, p[1]), p[2], shape.ldy(), p[3], kEpsilon,
                   shape.rows, shape.heads, shape.size);
       }});
  expect_implementations_agree(
      {.name = "rmsnorm in place",
       .arrays = {pad(x, shape, shape.ldx()), gain, heads_of_rows},
       .tolerances = {pad(allowed.y, shape, shape.ldx()), {}, allowed.rstd},
       .call = [=](const Kernels& k, float* const* p) {
         k.rmsnorm(p[0], shape.ldx(), or_none(gain, p[1]), p[0], shape.ldx(), p[2], kEpsilon,
                   shape.rows, shape.heads, shape.size);
       }});
}

TEST(RmsnormTest, Forward) {
  for (const Shape& shape : shapes()) {
    const Array x = normal_array(shape.count(), 2, 1);
    check_forward(x, normal_array(shape.size, 1, 3), shape);
    check_forward(x, {}, shape);
  }
}

TEST(RmsnormTest, ForwardOfLargeSmallAndNothing) {
  for (const Shape& shape : {Shape{3, 1, 768}, Shape{2, 3, 67}, Shape{1, 2, 64}, Shape{1, 1, 1}}) {
    const Array gain = normal_array(shape.size, 1, 3);
    check_forward(normal_array(shape.count(), 1e15, 1), gain, shape);
    check_forward(normal_array(shape.count(), 1e-4, 1), gain, shape);
    check_forward(Array(shape.count(), 0.0f), gain, shape);
  }
}

TEST(RmsnormTest, Residual) {
  for (const Shape& shape : shapes()) {
    if (shape.heads != 1) continue;
    const std::size_t n = shape.count(), rows = shape.rows, channels = shape.size;
    const Array x = normal_array(n, 2, 1);
    const Array branch = normal_array(n, 1, 2);
    for (const bool biased : {false, true}) {
      for (const bool scaled : {false, true}) {
        const Array bias = biased ? normal_array(channels, 1, 5) : Array();
        const Array gain = scaled ? normal_array(channels, 1, 3) : Array();
        Array sum(n);
        for (std::size_t i = 0; i < n; ++i) {
          sum[i] = x[i] + (biased ? branch[i] + bias[i % channels] : branch[i]);
        }
        const Tolerances allowed = tolerances(sum, gain, shape);
        // The sum's bits are the same: the same additions.
        expect_implementations_agree(
            {.name = "residual_rmsnorm",
             .arrays = {x, branch, bias, gain, Array(n), Array(n), Array(rows)},
             .tolerances = {{}, {}, {}, {}, {}, allowed.y, allowed.rstd},
             .call = [=](const Kernels& k, float* const* p) {
               k.residual_rmsnorm(p[0], p[1], or_none(bias, p[2]), or_none(gain, p[3]), p[4], p[5],
                                  p[6], kEpsilon, rows, channels);
             }});
        expect_implementations_agree({.name = "residual_rmsnorm in place",
                                      .arrays = {x, branch, bias, gain, Array(n), Array(rows)},
                                      .tolerances = {{}, {}, {}, {}, allowed.y, allowed.rstd},
                                      .call = [=](const Kernels& k, float* const* p) {
                                        k.residual_rmsnorm(p[0], p[1], or_none(bias, p[2]),
                                                           or_none(gain, p[3]), p[0], p[4], p[5],
                                                           kEpsilon, rows, channels);
                                      }});
      }
    }
  }
}

TEST(RmsnormTest, ResidualIsSumAndNorm) {
  constexpr std::size_t kRows = 3;
  constexpr std::size_t kChannels = 83;
  const Array x = normal_array(kRows * kChannels, 1, 1);
  const Array branch = normal_array(kRows * kChannels, 1, 2);
  const Array gain = normal_array(kChannels, 1, 3);
  for (const Kernels* kernels : runnable_kernels()) {
    Array sum(x.size()), y(x.size()), rstd(kRows), y_apart(x.size()), rstd_apart(kRows);
    kernels->residual_rmsnorm(x.data(), branch.data(), nullptr, gain.data(), sum.data(), y.data(),
                              rstd.data(), kEpsilon, kRows, kChannels);
    Array sum_apart = x;
    kernels->add(branch.data(), sum_apart.data(), sum_apart.size());
    kernels->rmsnorm(sum_apart.data(), kChannels, gain.data(), y_apart.data(), kChannels,
                     rstd_apart.data(), kEpsilon, kRows, 1, kChannels);
    EXPECT_EQ(sum, sum_apart) << kernels->name;
    EXPECT_EQ(y, y_apart) << kernels->name;
    EXPECT_EQ(rstd, rstd_apart) << kernels->name;
  }
}

/// Where dx starts from, and which array it is.
enum class Base { kNone, kApart, kDx, kDxIsDy };

void check_backward(const Shape& shape, const Array& gain, Base base) {
  const auto [rows, heads, size] = shape;
  const std::size_t units = rows * heads;
  const Array dy = normal_array(shape.count(), 1, 1);
  const Array x = normal_array(shape.count(), 2, 2);
  const Array start = normal_array(shape.count(), 1, 4);
  const Array dgain = gain.empty() ? Array() : normal_array(size, 1, 5);
  Array y(shape.count()), rstd(units);
  reference_kernels().rmsnorm(x.data(), shape.columns(), nullptr, y.data(), shape.columns(),
                              rstd.data(), kEpsilon, rows, heads, size);

  // The sum along a head: eight running sums of terms with three roundings. Sums over heads: in
  // both implementations one addition for each, of terms with two roundings.
  const double depth = static_cast<double>(size) / 8 + 1 + 3;
  const double steps = 2 * (static_cast<double>(units) + 2);
  std::vector<double> dx_allowed(shape.count());
  std::vector<double> dgain_allowed(dgain.size());
  for (std::size_t i = 0; i < dgain.size(); ++i) {
    dgain_allowed[i] = steps * kU * std::abs(static_cast<double>(dgain[i]));
  }
  for (std::size_t unit = 0; unit < units; ++unit) {
    const double scale = rstd[unit];
    const auto normal = [&](std::size_t i) {
      return std::abs(static_cast<double>(x[unit * shape.size + i])) * scale;
    };
    const auto dnormal = [&](std::size_t i) {
      const double gain_i = gain.empty() ? 1 : static_cast<double>(gain[i]);
      return std::abs(static_cast<double>(dy[unit * shape.size + i]) * gain_i);
    };
    double dot = 0;
    for (std::size_t i = 0; i < size; ++i) {
      dot += dnormal(i) * normal(i) / static_cast<double>(size);
      if (!gain.empty()) {
        dgain_allowed[i] +=
            steps * kU * std::abs(static_cast<double>(dy[unit * shape.size + i])) * normal(i);
      }
    }
    for (std::size_t i = 0; i < size; ++i) {
      // Both parts with 8 roundings of their own, one with the error of its mean.
      const double parts = 8 * dnormal(i) + (depth + 8) * normal(i) * dot;
      const double from = base == Base::kNone || base == Base::kDxIsDy
                              ? 0
                              : std::abs(static_cast<double>(start[unit * shape.size + i]));
      dx_allowed[unit * shape.size + i] = kU * (scale * parts + 2 * from);
    }
  }

  const std::size_t lddx = base == Base::kDxIsDy ? shape.ldy() : shape.columns() + 7;
  std::vector<Array> arrays = {
      pad(dy, shape, shape.ldy()), pad(x, shape, shape.ldx()), rstd, gain, dgain,
      pad(start, shape, lddx)};
  std::vector<std::vector<double>> allowed = {{}, {}, {}, {}, dgain_allowed, {}};
  const std::size_t result = base == Base::kDxIsDy ? 0 : base == Base::kDx ? 5 : 6;
  if (result == 6) {
    arrays.push_back(pad(Array(shape.count(), 7.0f), shape, lddx));
    allowed.emplace_back();
  }
  allowed[result] = pad(dx_allowed, shape, lddx);
  expect_implementations_agree(
      {.name = "rmsnorm_backward of " + std::to_string(rows) + " rows, " + std::to_string(heads) +
               " heads of " + std::to_string(size) + ", base " +
               std::to_string(static_cast<int>(base)),
       .arrays = arrays,
       .tolerances = allowed,
       .call = [=](const Kernels& k, float* const* p) {
         const bool based = base == Base::kApart || base == Base::kDx;
         k.rmsnorm_backward(p[0], shape.ldy(), p[1], shape.ldx(), p[2], or_none(gain, p[3]),
                            based ? p[5] : nullptr, p[result], lddx, gain.empty() ? nullptr : p[4],
                            shape.rows, shape.heads, shape.size);
       }});
}

TEST(RmsnormTest, Backward) {
  for (const Shape& shape : shapes()) {
    for (const Base base : {Base::kNone, Base::kApart, Base::kDx, Base::kDxIsDy}) {
      check_backward(shape, normal_array(shape.size, 1, 3), base);
      check_backward(shape, {}, base);
    }
  }
}

// The engine cuts a micro-batch into token blocks: how many rows come in one call must not change a
// bit.
TEST(RmsnormTest, IsTheSameInOneCallAndRowByRow) {
  for (const Shape& shape : {Shape{11, 1, 83}, Shape{7, 3, 64}, Shape{5, 2, 10}}) {
    const auto [rows, heads, size] = shape;
    const std::size_t ld = shape.columns();
    const Array x = normal_array(shape.count(), 1, 1);
    const Array dy = normal_array(shape.count(), 1, 2);
    const Array base = normal_array(shape.count(), 1, 3);
    const Array gain = normal_array(size, 1, 4);
    for (const Kernels* kernels : runnable_kernels()) {
      Array y(x.size()), rstd(rows * heads), dx(x.size()), dgain(size);
      Array y_rows = y, rstd_rows = rstd, dx_rows = dx, dgain_rows = dgain;
      const auto call = [&, heads = heads, size = size](std::size_t first, std::size_t count,
                                                        Array& y_to, Array& rstd_to, Array& dx_to,
                                                        Array& dgain_to) {
        const std::size_t at = first * ld;
        float* const rstd_at = rstd_to.data() + first * heads;
        kernels->rmsnorm(x.data() + at, ld, gain.data(), y_to.data() + at, ld, rstd_at, kEpsilon,
                         count, heads, size);
        kernels->rmsnorm_backward(dy.data() + at, ld, x.data() + at, ld, rstd_at, gain.data(),
                                  base.data() + at, dx_to.data() + at, ld, dgain_to.data(), count,
                                  heads, size);
      };
      call(0, rows, y, rstd, dx, dgain);
      for (std::size_t row = 0; row < rows; ++row) {
        call(row, 1, y_rows, rstd_rows, dx_rows, dgain_rows);
      }
      EXPECT_EQ(y, y_rows) << kernels->name;
      EXPECT_EQ(rstd, rstd_rows) << kernels->name;
      EXPECT_EQ(dx, dx_rows) << kernels->name;
      EXPECT_EQ(dgain, dgain_rows) << kernels->name;
    }
  }
}

TEST(RmsnormTest, NaNAndInfinityAreNotHidden) {
  for (const Kernels* kernels : runnable_kernels()) {
    for (const float bad : {std::nanf(""), HUGE_VALF}) {
      for (const std::size_t size : {5U, 64U, 83U}) {
        Array x = normal_array(size, 1, 1);
        x[size - 2] = bad;
        Array y(size);
        float rstd = 0;
        kernels->rmsnorm(x.data(), size, nullptr, y.data(), size, &rstd, kEpsilon, 1, 1, size);
        EXPECT_TRUE(std::isnan(y[size - 2])) << kernels->name << " " << bad << " " << size;
      }
    }
  }
}

}  // namespace
}  // namespace cllm::kernels
