#pragma once

#include <cstddef>
#include <cstdint>

#include "cllm/kernels/attention.h"

namespace cllm::kernels {

/// The numbers of one AdamW step (Loshchilov and Hutter, "Decoupled Weight Decay Regularization",
/// ICLR 2019, algorithm 2), the same for all parameters but for `weight_decay`.
struct AdamWStep {
  float learning_rate;
  float beta1;
  float beta2;
  float epsilon;
  float weight_decay;      ///< multiplies learning_rate * parameter; 0 for vectors
  float bias_correction1;  ///< 1 - beta1^step
  float bias_correction2;  ///< 1 - beta2^step
  float gradient_scale;    ///< multiplies the gradient first: clipping by global norm
};

/// A target that doesn't count: of what is predicted there, nothing is wanted.
inline constexpr std::uint32_t kNoTarget = 0xFFFFFFFF;

/// What `Kernels::integer_norm` finds.
struct IntegerNorm {
  double squares;         ///< the sum of x[i]^2
  std::uint32_t largest;  ///< the largest |x[i]|, which may be 2^31; 0 for n = 0
};

/// The elementwise and row-wise work of a training step and attention, in one table, of which each
/// implementation has one. Everything is here but matrix products by themselves.
///
/// Letters: R rows (positions), C channels, N columns, V vocabulary. Arrays are row-major and
/// contiguous but where a row stride (`ld`, in elements) is given. Sizes may be 0 and pointers need
/// no alignment. A kernel reads and writes what its shapes say and not one element more.
/// Nothing allocates or throws. Results depend on the arguments alone, so the same call gives the
/// same bits on any thread; sums along a row are taken in an order fixed by its length.
/// Thread-safe where the outputs of two calls don't overlap.
struct Kernels {
  const char* name;  ///< "avx512", "avx2", "portable" or "reference"
  /// Whether its bits are those of all that have a fixed order: of all but the reference.
  bool has_fixed_order;

  // --- Functions: y[i] = f(x[i]); x and y may be the same array
  // For every float; errors in units in the last place are at most 0.9 (exp, with gradual
  // underflow), 0.95 (log) and 2.65 (tanh), but of the reference half of one.
  void (*exp)(const float* x, float* y, std::size_t n);
  void (*log)(const float* x, float* y, std::size_t n);
  void (*tanh)(const float* x, float* y, std::size_t n);

  // --- Sums
  /// y[i] += x[i].
  void (*add)(const float* x, float* y, std::size_t n);
  /// x (R, N) += bias (N) in every row.
  void (*add_bias)(const float* bias, float* x, std::size_t rows, std::size_t columns);
  /// sums (N) += the column sums of x (R, N), rows added in order.
  void (*add_column_sums)(const float* x, float* sums, std::size_t rows, std::size_t columns);
  /// The sum of x[i]^2, in double.
  double (*sum_of_squares)(const float* x, std::size_t n);
  /// y (N) = the sum over e of values[e] * x[columns[e]] (N), e = 0..count-1 in order: one row of a
  /// sparse matrix times x, whose rows have stride ld.
  void (*sparse_row)(const std::uint32_t* columns, const float* values, std::size_t count,
                     const float* x, std::size_t ld, float* y, std::size_t n);

  // --- Integer sums: gradients as int32 coordinates with a power-of-two scale, because sums of
  // integers, taken modulo 2^32, are the same in any order
  /// The largest |x[i]|; 0 for n = 0, and where some x[i] is no number, a NaN.
  float (*largest)(const float* x, std::size_t n);
  /// sums[i] = round(x[i] * scale), to nearest even. scale is a power of two, and every
  /// |x[i] * scale| < 2^31; of what is beyond, `sums` is unspecified.
  void (*encode)(const float* x, float scale, std::int32_t* sums, std::size_t n);
  /// The same, added to `sums` modulo 2^32.
  void (*encode_add)(const float* x, float scale, std::int32_t* sums, std::size_t n);
  /// The same, added to the integers high[i] 2^30 + low[i]: what low[i] changes by is at most 2^29,
  /// and the rest goes to high[i], both modulo 2^32; every |x[i] * scale| <= 2^60.
  void (*encode_add_wide)(const float* x, float scale, std::int32_t* low, std::int32_t* high,
                          std::size_t n);
  /// y[i] += x[i] modulo 2^32.
  void (*add_integers)(const std::int32_t* x, std::int32_t* y, std::size_t n);
  /// The sum of x[i]^2, in double and in an order fixed by n, and the largest |x[i]|.
  IntegerNorm (*integer_norm)(const std::int32_t* x, std::size_t n);

  // --- Sets, as strictly ascending indices below 2^32 - 1
  /// The sum, modulo 2^32, of weights[i] over those a[i] that are in b. a, weights (na); b (nb).
  std::uint32_t (*shared_weight)(const std::uint32_t* a, const std::uint32_t* weights,
                                 std::size_t na, const std::uint32_t* b, std::size_t nb);

  // --- GELU, tanh form: gelu(x) = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
  /// x (R, N) += bias (N); y (R, N) = gelu(x).
  void (*bias_gelu)(const float* bias, float* x, float* y, std::size_t rows, std::size_t columns);
  /// y[i] = gelu(x[i]), with the bits of bias_gelu where the bias is 0; y may be x.
  void (*gelu)(const float* x, float* y, std::size_t n);
  /// dx[i] = dy[i] * gelu'(x[i]); dx may be dy.
  void (*gelu_backward)(const float* x, const float* dy, float* dx, std::size_t n);

  // --- SwiGLU (Shazeer, "GLU Variants Improve Transformer", arXiv 2002.05202, 2020)
  /// x (R, 2F): in each row F gates, then F values; y (R, F) = gate * logistic(gate) * value.
  void (*swiglu)(const float* x, float* y, std::size_t rows, std::size_t width);
  /// dx (R, 2F) from dy (R, F) and x; dx may be x.
  void (*swiglu_backward)(const float* x, const float* dy, float* dx, std::size_t rows,
                          std::size_t width);

  // --- Squared ReLU (So et al., "Primer", arXiv 2109.08668, 2021); NaN stays NaN
  /// y[i] = max(0, x[i])^2; y may be x.
  void (*relu2)(const float* x, float* y, std::size_t n);
  /// dx[i] = dy[i] * 2 max(0, x[i]); dx may be dy.
  void (*relu2_backward)(const float* x, const float* dy, float* dx, std::size_t n);

  // --- LayerNorm: y = (x - mean) * rstd * gain + shift, rstd = 1/sqrt(variance + 1e-5)
  /// x, y (R, C); gain, shift (C); mean, rstd (R).
  void (*layernorm)(const float* x, const float* gain, const float* shift, float* y, float* mean,
                    float* rstd, std::size_t rows, std::size_t channels);
  /// sum (R, C) = x (R, C) + (branch (R, C) + bias (C)), or x + branch where bias is nullptr; then
  /// y, mean, rstd = layernorm(sum). sum may be x.
  void (*residual_layernorm)(const float* x, const float* branch, const float* bias,
                             const float* gain, const float* shift, float* sum, float* y,
                             float* mean, float* rstd, std::size_t rows, std::size_t channels);
  /// dx (R, C) += gradient through the norm; dgain, dshift (C) += their gradients, rows in order.
  void (*layernorm_backward)(const float* dy, const float* x, const float* mean, const float* rstd,
                             const float* gain, float* dx, float* dgain, float* dshift,
                             std::size_t rows, std::size_t channels);

  // --- RMS norm (Zhang and Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019):
  // y = x * rstd * gain, rstd = 1/sqrt(mean(x^2) + epsilon)
  // Of heads that lie side by side in rows: x (R, heads, size), rows ldx apart; y the same, ldy
  // apart. Of whole rows, `heads` is 1. gain (size) is the same for all heads, or nullptr for none.
  // rstd (R, heads) is contiguous.
  /// y may be x, with the same stride.
  void (*rmsnorm)(const float* x, std::size_t ldx, const float* gain, float* y, std::size_t ldy,
                  float* rstd, float epsilon, std::size_t rows, std::size_t heads,
                  std::size_t size);
  /// sum (R, C) = x (R, C) + (branch (R, C) + bias (C)), or x + branch where bias is nullptr; then
  /// y, rstd = rmsnorm(sum), one head. sum may be x.
  void (*residual_rmsnorm)(const float* x, const float* branch, const float* bias,
                           const float* gain, float* sum, float* y, float* rstd, float epsilon,
                           std::size_t rows, std::size_t channels);
  /// dx (R, heads, size), rows lddx apart, = base + gradient through the norm, with base laid out
  /// as dx, or nullptr for 0. dgain (size) += its gradient, over rows in order and in a row over
  /// heads in order; where gain is nullptr, dgain is not touched and may be nullptr too. dx may be
  /// base, and may be dy where lddx == ldy.
  void (*rmsnorm_backward)(const float* dy, std::size_t ldy, const float* x, std::size_t ldx,
                           const float* rstd, const float* gain, const float* base, float* dx,
                           std::size_t lddx, float* dgain, std::size_t rows, std::size_t heads,
                           std::size_t size);

  // --- Rotary positions (Su et al., "RoFormer", arXiv 2104.09864), in the form that rotates halves
  /// x, y (R, heads, size), rows ldx and ldy apart; cosines, sines (R, size/2), contiguous; size is
  /// even. The pairs (x[i], x[i + size/2]) of a head are turned by their row's angles:
  /// y[i] = x[i] cos - direction * x[i + size/2] sin,
  /// y[i + size/2] = x[i + size/2] cos + direction * x[i] sin.
  /// direction is 1, or -1 to turn back, which is also the gradient. y may be x, with the same
  /// stride.
  void (*rotate)(const float* x, std::size_t ldx, const float* cosines, const float* sines,
                 float direction, float* y, std::size_t ldy, std::size_t rows, std::size_t heads,
                 std::size_t size);

  // --- Attention of one head: see Note [Attention]
  /// out (T, d) and log_sum_exp (T), the logarithm of the sum of a query's exp(score). Here and in
  /// the loss, a probability below about 2^-100 of the largest may become 0, so that products with
  /// it aren't subnormal, which is slow.
  void (*attention_forward)(const AttentionHead& head, MutableRows out, float* log_sum_exp);
  /// Gradients of q, k, v from that of `out`. head.past must be 0.
  void (*attention_backward)(const AttentionHead& head, const AttentionGradients& gradients);
  /// dots[i] = sum over n of a[i, n] * b[i, n]; strides lda and ldb.
  void (*row_dots)(const float* a, const float* b, float* dots, std::size_t rows,
                   std::size_t columns, std::size_t lda, std::size_t ldb);

  // --- Loss
  // Every target < V, or kNoTarget: then the row's loss is 0, and so is its gradient, whatever its
  // logits are.
  /// losses[i] = log_sum_exp(logits[i]) - logits[i, target[i]]; logits (R, V) is left alone.
  /// V > 0.
  void (*cross_entropy)(const float* logits, const std::uint32_t* targets, float* losses,
                        std::size_t rows, std::size_t vocabulary);
  /// The same losses, and in place logits -> scale * (softmax(logits) - onehot(target)).
  void (*cross_entropy_backward)(float* logits, const std::uint32_t* targets, float* losses,
                                 float scale, std::size_t rows, std::size_t vocabulary);

  // --- Softcap of logits: softcap(x) = cap tanh(x / cap), cap > 0 (Bello et al., "Neural
  // Combinatorial Optimization", arXiv 1611.09940, 2016; Gemma 2, arXiv 2408.00118, 2024)
  /// x[i] = softcap(x[i]), in place.
  void (*softcap)(float* x, float cap, std::size_t n);
  /// With c = softcap(logits): losses (R) = cross_entropy(c), the same bits, and in place
  /// logits -> scale * (softmax(c) - onehot(target)) * (1 - (c / cap)^2).
  void (*capped_cross_entropy_backward)(float* logits, const std::uint32_t* targets, float* losses,
                                        float cap, float scale, std::size_t rows,
                                        std::size_t vocabulary);

  // --- Doubles; fused where a product is added
  /// y (N) += factor x.
  void (*add_scaled)(double factor, const double* x, double* y, std::size_t n);
  /// Rows x and y (N) become cosine x - sine y and sine x + cosine y.
  void (*turn_rows)(double cosine, double sine, double* x, double* y, std::size_t n);
  /// c (height, width), rows ldc apart, += leftᵀ · right, of which `rows` rows lie ld apart; added
  /// row by row.
  void (*add_gram)(const double* left, const double* right, std::size_t ld, std::size_t rows,
                   std::size_t height, std::size_t width, double* c, std::size_t ldc);

  // --- Optimizer
  /// One pass: g = gradient * gradient_scale; m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2;
  /// parameter -= lr (m/bc1 / (sqrt(v/bc2) + eps) + weight_decay * parameter).
  void (*adamw)(float* parameter, float* m, float* v, const float* gradient, std::size_t n,
                const AdamWStep& step);
  /// The same bits as adamw with gradient[i] = sums[i] rounded to float; step.gradient_scale undoes
  /// the scale of the coordinates as well.
  void (*adamw_integers)(float* parameter, float* m, float* v, const std::int32_t* sums,
                         std::size_t n, const AdamWStep& step);
  /// One pass of momentum as Muon has it (Jordan et al., "Muon: An optimizer for hidden layers in
  /// neural networks", 2024): g = gradient * gradient_scale; m = momentum m + g; direction =
  /// g + momentum m with Nesterov's, else m.
  void (*momentum)(float* m, const float* gradient, float* direction, float momentum,
                   float gradient_scale, bool nesterov, std::size_t n);
  /// The same bits as momentum with gradient[i] = sums[i] rounded to float.
  void (*momentum_integers)(float* m, const std::int32_t* sums, float* direction, float momentum,
                            float gradient_scale, bool nesterov, std::size_t n);
};

/// Note [Implementations of kernels]
///
/// "avx512", "avx2" and "portable" are one source for registers of different width. Each element
/// goes through the same operations in all of them, a sum along a row has 32 running sums that are
/// added in the same order, and exp, log and tanh are the same polynomials: they give the same
/// bits. "reference" is written for clarity, in double with the library's functions: what the
/// others are measured against.

const Kernels& reference_kernels();

/// Whether this processor and this build have AVX2 and FMA.
bool has_avx2();

/// The usual one of this processor, unless the environment's CLLM_KERNELS names another. Throws
/// Error where there is none of that name, or it doesn't run here. To be called at start-up: it
/// reads the environment.
const Kernels& select_kernels();

}  // namespace cllm::kernels
