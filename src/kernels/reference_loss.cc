#include <algorithm>
#include <cmath>

#include "reference.h"

namespace cllm::kernels {
namespace {

using reference::max_of;
using reference::narrow;
using reference::wide;

// --- Loss ----------------------------------------------------------------------------------------

/// log(sum(exp(x))) = max + log_sum, with log_sum = log(sum(exp(x - max))): apart, so that a large
/// logit does not swallow the digits of the rest.
struct LogSumExp {
  double max;
  double log_sum;
};

LogSumExp log_sum_exp_of(const float* x, std::size_t n) {
  const double max = max_of(x, n);
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    sum += std::exp(wide(x[i]) - max);
  }
  return {max, std::log(sum)};
}

void cross_entropy(const float* logits, const std::uint32_t* targets, float* losses,
                   std::size_t rows, std::size_t vocabulary) {
  for (std::size_t row = 0; row < rows; ++row, logits += vocabulary) {
    if (targets[row] == kNoTarget) {
      losses[row] = 0;
      continue;
    }
    const auto [max, log_sum] = log_sum_exp_of(logits, vocabulary);
    losses[row] = narrow((max - wide(logits[targets[row]])) + log_sum);
  }
}

void cross_entropy_backward(float* logits, const std::uint32_t* targets, float* losses, float scale,
                            std::size_t rows, std::size_t vocabulary) {
  for (std::size_t row = 0; row < rows; ++row, logits += vocabulary) {
    if (targets[row] == kNoTarget) {
      losses[row] = 0;
      std::fill_n(logits, vocabulary, 0.0f);
      continue;
    }
    const auto [max, log_sum] = log_sum_exp_of(logits, vocabulary);
    losses[row] = narrow((max - wide(logits[targets[row]])) + log_sum);
    for (std::size_t i = 0; i < vocabulary; ++i) {
      const double probability = std::exp((wide(logits[i]) - max) - log_sum);
      logits[i] = narrow(wide(scale) * (i == targets[row] ? probability - 1 : probability));
    }
  }
}

// --- Softcap -------------------------------------------------------------------------------------

float capped(float x, float cap) { return narrow(wide(cap) * std::tanh(wide(x) / wide(cap))); }

void softcap(float* x, float cap, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    x[i] = capped(x[i], cap);
  }
}

void capped_cross_entropy_backward(float* logits, const std::uint32_t* targets, float* losses,
                                   float cap, float scale, std::size_t rows,
                                   std::size_t vocabulary) {
  for (std::size_t row = 0; row < rows; ++row, logits += vocabulary) {
    if (targets[row] == kNoTarget) {
      losses[row] = 0;
      std::fill_n(logits, vocabulary, 0.0f);
      continue;
    }
    const double max = capped(narrow(max_of(logits, vocabulary)), cap);
    double sum = 0;
    for (std::size_t i = 0; i < vocabulary; ++i) {
      sum += std::exp(wide(capped(logits[i], cap)) - max);
    }
    const double log_sum = std::log(sum);
    losses[row] = narrow((max - wide(capped(logits[targets[row]], cap))) + log_sum);
    for (std::size_t i = 0; i < vocabulary; ++i) {
      const double probability = std::exp((wide(capped(logits[i], cap)) - max) - log_sum);
      const double gradient = i == targets[row] ? probability - 1 : probability;
      // tanh' = 1 - tanh^2 = 1 / cosh^2, which is no difference of nearly equal numbers.
      const double root = std::cosh(wide(logits[i]) / wide(cap));
      logits[i] = narrow(wide(scale) * gradient / (root * root));
    }
  }
}

}  // namespace

void reference::set_loss(Kernels& table) {
  table.cross_entropy = cross_entropy;
  table.cross_entropy_backward = cross_entropy_backward;
  table.softcap = softcap;
  table.capped_cross_entropy_backward = capped_cross_entropy_backward;
}

}  // namespace cllm::kernels
