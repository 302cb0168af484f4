#include "cllm/compress/block_rounding.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/base/parallel.h"
#include "cllm/kernels/products.h"
#include "cllm/lattice/cholesky.h"

namespace cllm::compress {
namespace {

/// Weights with one scale.
constexpr std::size_t kBlock = 32;

/// Rows that a thread takes at a time.
constexpr std::size_t kRowChunk = 64;

/// As for other weight lattices: of the mean variance, added to each.
constexpr double kDamping = 0.01;

/// What a code may be, and scales that are tried, times that which cuts nothing off.
struct Codes {
  int least, most;
  int of_largest;  ///< of the weight that is largest in size; its sign is the scale's for kQ4_0
  std::span<const float> scales;
};

Codes codes_of(io::ElementType type) {
  static constexpr std::array kFine = {1.0f};
  static constexpr std::array kCoarse = {1.0f, 0.95f, 0.9f, 0.85f, 0.8f, 0.75f, 0.7f};
  if (type == io::ElementType::kQ8_0) return {-127, 127, 127, kFine};
  return {-8, 7, -8, kCoarse};
}

using Block = std::array<float, kBlock>;

/// One block of columns: how errors in it and behind it are made up for.
class Plane {
 public:
  /// `lower` (n, n): L of the covariance L Lᵀ; the block begins at column `begin`.
  Plane(std::span<const double> lower, std::size_t n, std::size_t begin)
      : feedback((n - begin - kBlock) * kBlock) {
    const auto l = [&](std::size_t i, std::size_t j) { return lower[i * n + begin + j]; };
    for (std::size_t j = 0; j < kBlock; ++j) {
      const double own = l(begin + j, j);
      cost[j] = static_cast<float>(own * own);
      for (std::size_t i = j + 1; i < kBlock; ++i) {
        within[i * kBlock + j] = static_cast<float>(l(begin + i, j) / own);
      }
    }
    // L[behind, block] L[block, block]^-1.
    for (std::size_t k = begin + kBlock; k < n; ++k) {
      std::array<double, kBlock> solved{};
      for (std::size_t j = kBlock; j-- > 0;) {
        double sum = l(k, j);
        for (std::size_t i = j + 1; i < kBlock; ++i) sum -= solved[i] * l(begin + i, j);
        solved[j] = sum / l(begin + j, j);
        feedback[(k - begin - kBlock) * kBlock + j] = static_cast<float>(solved[j]);
      }
    }
  }

  /// The point near `target`, and what it costs.
  float decode(const Block& target, const Codes& codes, std::size_t largest, float scale,
               Block& point) const {
    float total = 0;
    Block error;
    for (std::size_t j = kBlock; j-- > 0;) {
      float wanted = target[j];
      for (std::size_t i = j + 1; i < kBlock; ++i) wanted += error[i] * within[i * kBlock + j];
      float code = static_cast<float>(codes.of_largest);
      if (codes.of_largest > 0 && target[largest] < 0) code = -code;
      if (j != largest) {
        code = std::clamp(std::nearbyint(wanted / scale), static_cast<float>(codes.least),
                          static_cast<float>(codes.most));
      }
      point[j] = scale * code;
      error[j] = target[j] - point[j];
      total += cost[j] * (wanted - point[j]) * (wanted - point[j]);
    }
    return total;
  }

  std::vector<float> feedback;  ///< (columns behind, kBlock)

 private:
  std::array<float, kBlock> cost{};
  std::array<float, kBlock * kBlock> within{};
};

/// The best point of the block near `target`.
Block nearest(const Plane& plane, const Codes& codes, const Block& target) {
  const auto size = [](float a, float b) { return std::abs(a) < std::abs(b); };
  const auto largest =
      static_cast<std::size_t>(std::ranges::max_element(target, size) - target.begin());
  Block best{}, point{};
  float least = std::numeric_limits<float>::infinity();
  for (const float share : codes.scales) {
    const float exact = codes.of_largest > 0 ? std::abs(target[largest]) : target[largest];
    const float scale =
        io::half_to_float(io::float_to_half(share * exact / static_cast<float>(codes.of_largest)));
    if (scale == 0 || !std::isfinite(scale))
      return best;  // nothing but zeros, to a half's precision
    const float cost = plane.decode(target, codes, largest, scale, point);
    if (cost < least) {
      least = cost;
      best = point;
    }
  }
  return best;
}

/// Calls work(first, count) for chunks of rows, on several threads.
template <typename Work>
void for_chunks(std::size_t rows, int threads, const Work& work) {
  std::atomic<std::size_t> next = 0;
  parallel(threads, [&](int) {
    for (std::size_t first = next.fetch_add(kRowChunk); first < rows;
         first = next.fetch_add(kRowChunk)) {
      work(first, std::min(kRowChunk, rows - first));
    }
  });
}

bool is_rounded(io::ElementType type, const model::Layout& layout, std::size_t tensor) {
  if (!layout[tensor].is_matrix() || tensor == layout.wpe()) return false;
  if (layout[tensor].columns % io::block_elements(type) != 0) return false;
  // Codes and bases aren't what is stored: their product is.
  const auto is_of = [&](const model::TableBand& band) {
    return band.basis && (tensor == band.tensor || tensor == *band.basis);
  };
  return std::ranges::none_of(layout.embedding(), is_of) &&
         std::ranges::none_of(layout.lm_head(), is_of);
}

}  // namespace

void round_to_blocks(io::ElementType type, std::span<const double> covariance, std::size_t columns,
                     int threads, std::span<float> weights) {
  const std::size_t n = columns, rows = weights.size() / n;
  double trace = 0;
  for (std::size_t i = 0; i < n; ++i) trace += covariance[i * n + i];
  const double shift = trace > 0 ? kDamping * trace / static_cast<double>(n) : 1.0;
  const std::vector<double> lower = lattice::cholesky(covariance, n, shift);
  const Codes codes = codes_of(type);
  std::vector<float> errors(weights.size());
  for (std::size_t begin = n - kBlock;; begin -= kBlock) {
    const Plane plane(lower, n, begin);
    const std::size_t behind = begin + kBlock;
    for_chunks(rows, threads, [&](std::size_t first, std::size_t count) {
      std::vector<Block> targets(count);
      for (std::size_t r = 0; r < count; ++r) {
        std::copy_n(&weights[(first + r) * n + begin], kBlock, targets[r].begin());
      }
      if (behind < n) {
        kernels::sgemm(kernels::Transpose::kNo, kernels::Transpose::kNo, count, kBlock, n - behind,
                       1.0f, &errors[first * n + behind], n, plane.feedback.data(), kBlock, 1.0f,
                       targets.front().data(), kBlock);
      }
      for (std::size_t r = 0; r < count; ++r) {
        float* const own = &weights[(first + r) * n + begin];
        const Block point = nearest(plane, codes, targets[r]);
        for (std::size_t j = 0; j < kBlock; ++j) {
          errors[(first + r) * n + begin + j] = own[j] - point[j];
          own[j] = point[j];
        }
      }
    });
    if (begin == 0) break;
  }
}

void round_to_blocks(io::ElementType type, const model::Layout& layout,
                     std::span<const MatrixStatistics> statistics, int threads,
                     std::span<float> parameters,
                     const std::function<void(const std::string&)>& progress) {
  for (std::size_t i = 0; i < layout.tensors().size(); ++i) {
    if (!is_rounded(type, layout, i)) continue;
    const model::Tensor& tensor = layout[i];
    if (progress) progress("rounding " + tensor.name);
    try {
      round_to_blocks(type, statistics[i].covariance.span(), tensor.columns, threads,
                      parameters.subspan(tensor.offset, tensor.size()));
    } catch (const Error& error) {
      fail("{} can't be fitted ({}); give --calibrate a text like what the model was trained on",
           tensor.name, error.what());
    }
  }
}

}  // namespace cllm::compress
