// Run: build with -D CLLM_BENCH=ON; build/release/tests/bench/kernel_bench --benchmark_filter=adamw
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "cllm/kernels/blas.h"
#include "cllm/kernels/implementations.h"

/// Every kernel of the table beside its portable implementation, and sgemm in the shapes of
/// training, on one thread. Items are elements, or floating-point operations of sgemm; bytes are
/// what a call has to read and write. Both are given per second of processor time.
namespace cllm::kernels {
namespace {

using Array = std::vector<float>;
using Integers = std::vector<std::int32_t>;

/// Rows and channels of a micro-batch of 124 M parameters; four times the channels are the MLP's.
constexpr std::size_t kRows = 256;
constexpr std::size_t kChannels = 768;
constexpr std::size_t kVocabulary = 4096;
constexpr std::size_t kSize = kRows * kChannels;
/// Beyond the caches of most processors: what a parameter update or a gradient sum works on.
constexpr std::size_t kLong = std::size_t{1} << 24;

Array normal(std::size_t n, float sigma = 1) {
  std::mt19937 generator(static_cast<std::mt19937::result_type>(n));
  std::normal_distribution<float> distribution(0, sigma);
  Array values(n);
  std::ranges::generate(values, [&] { return distribution(generator); });
  return values;
}

/// Runs `call` on each table that there is; it touches `elements` elements and `bytes` bytes.
void add_benchmark(const std::string& name, std::size_t elements, std::size_t bytes,
                   const std::function<void(const Kernels&)>& call) {
  for (const Kernels* kernels : runnable_kernels()) {
    benchmark::RegisterBenchmark((name + "/" + kernels->name).c_str(), [=](benchmark::State&
                                                                               state) {
      for (auto _ : state) {
        call(*kernels);
        benchmark::ClobberMemory();
      }
      const auto calls = state.iterations();
      state.SetItemsProcessed(calls * static_cast<std::int64_t>(elements));
      state.SetBytesProcessed(calls * static_cast<std::int64_t>(bytes));
    })->Unit(benchmark::kMicrosecond);
  }
}

/// The same, where each element has `floats` numbers of 4 bytes read or written.
void add_elementwise(const std::string& name, std::size_t n, std::size_t floats,
                     const std::function<void(const Kernels&)>& call) {
  add_benchmark(name, n, n * floats * sizeof(float), call);
}

void add_functions() {
  static const Array x = normal(kSize);
  static const Array positive = [] {
    Array values = x;
    for (float& each : values) each = std::abs(each) + 1e-3f;
    return values;
  }();
  static Array y(kSize);
  add_elementwise("exp", kSize, 2, [](const Kernels& k) { k.exp(x.data(), y.data(), kSize); });
  add_elementwise("log", kSize, 2,
                  [](const Kernels& k) { k.log(positive.data(), y.data(), kSize); });
  add_elementwise("tanh", kSize, 2, [](const Kernels& k) { k.tanh(x.data(), y.data(), kSize); });
}

void add_sums() {
  static const Array x = normal(kSize);
  static const Array bias(kChannels, 0.0f);
  static Array y(kSize), sums(kChannels);
  add_elementwise("add", kSize, 3, [](const Kernels& k) { k.add(x.data(), y.data(), kSize); });
  add_elementwise("add_bias", kSize, 2,
                  [](const Kernels& k) { k.add_bias(bias.data(), y.data(), kRows, kChannels); });
  add_elementwise("add_column_sums", kSize, 1, [](const Kernels& k) {
    k.add_column_sums(x.data(), sums.data(), kRows, kChannels);
  });
  add_elementwise("sum_of_squares", kSize, 1, [](const Kernels& k) {
    benchmark::DoNotOptimize(k.sum_of_squares(x.data(), kSize));
  });
}

/// In the caches, and beyond them.
template <std::size_t kCount>
void add_integer_sums() {
  static const Array x = normal(kCount);
  static Integers sums(kCount), more(kCount, 3);
  const std::string at = "/" + std::to_string(kCount);
  add_elementwise("encode" + at, kCount, 2,
                  [](const Kernels& k) { k.encode(x.data(), 0x1p20f, sums.data(), kCount); });
  add_elementwise("encode_add" + at, kCount, 3,
                  [](const Kernels& k) { k.encode_add(x.data(), 0x1p20f, sums.data(), kCount); });
  add_elementwise("encode_add_wide" + at, kCount, 5, [](const Kernels& k) {
    k.encode_add_wide(x.data(), 0x1p40f, sums.data(), more.data(), kCount);
  });
  add_elementwise("largest" + at, kCount, 1,
                  [](const Kernels& k) { benchmark::DoNotOptimize(k.largest(x.data(), kCount)); });
  add_elementwise("add_integers" + at, kCount, 3,
                  [](const Kernels& k) { k.add_integers(more.data(), sums.data(), kCount); });
  add_elementwise("integer_norm" + at, kCount, 1, [](const Kernels& k) {
    benchmark::DoNotOptimize(k.integer_norm(sums.data(), kCount));
  });
}

void add_layers() {
  constexpr std::size_t kWide = 4 * kChannels;
  static const Array x = normal(kRows * kWide), dy = normal(kRows * kWide, 0.5f);
  static const Array bias(kWide, 0.0f), gain(kChannels, 1.0f), shift(kChannels, 0.0f);
  static Array work = x;
  static Array y(kRows * kWide), sum(kSize), mean(kRows), rstd(kRows);
  static Array dx(kSize), dgain(kChannels), dshift(kChannels);
  // rstd and mean of x, so that backward can run alone.
  reference_kernels().layernorm(x.data(), gain.data(), shift.data(), y.data(), mean.data(),
                                rstd.data(), kRows, kChannels);
  add_elementwise("bias_gelu", kRows * kWide, 3, [](const Kernels& k) {
    k.bias_gelu(bias.data(), work.data(), y.data(), kRows, kWide);
  });
  add_elementwise("gelu_backward", kRows * kWide, 3, [](const Kernels& k) {
    k.gelu_backward(x.data(), dy.data(), y.data(), kRows * kWide);
  });
  add_elementwise("layernorm", kSize, 2, [](const Kernels& k) {
    k.layernorm(x.data(), gain.data(), shift.data(), y.data(), mean.data(), rstd.data(), kRows,
                kChannels);
  });
  add_elementwise("residual_layernorm", kSize, 4, [](const Kernels& k) {
    k.residual_layernorm(x.data(), dy.data(), bias.data(), gain.data(), shift.data(), sum.data(),
                         y.data(), mean.data(), rstd.data(), kRows, kChannels);
  });
  add_elementwise("layernorm_backward", kSize, 4, [](const Kernels& k) {
    k.layernorm_backward(dy.data(), x.data(), mean.data(), rstd.data(), gain.data(), dx.data(),
                         dgain.data(), dshift.data(), kRows, kChannels);
  });
}

/// Modern layers: RMS norm of rows and of heads, rotary positions, gated and squared activations.
void add_modern_layers() {
  constexpr std::size_t kHeadSize = 64, kHeads = kChannels / kHeadSize;
  constexpr std::size_t kWide = 4 * kChannels;
  static const Array x = normal(kRows * 2 * kWide), dy = normal(kRows * kWide, 0.5f);
  static const Array gain(kChannels, 1.0f), angles(kRows * kHeadSize / 2, 0.6f);
  static Array y(kRows * 2 * kWide), sum(kSize), rstd(kRows * kHeads), dgain(kChannels);
  reference_kernels().rmsnorm(x.data(), kHeadSize, gain.data(), y.data(), kHeadSize, rstd.data(),
                              1e-6f, kRows * kHeads, 1, kHeadSize);
  struct Shape {
    std::string name;
    std::size_t heads;
  };
  for (const auto& [name, heads] : {Shape{"rows", 1}, Shape{"heads", kHeads}}) {
    const std::size_t h = heads, size = kChannels / heads;
    add_elementwise("rmsnorm/" + name, kSize, 2, [=](const Kernels& k) {
      k.rmsnorm(x.data(), kChannels, gain.data(), y.data(), kChannels, rstd.data(), 1e-6f, kRows, h,
                size);
    });
    add_elementwise("rmsnorm_backward/" + name, kSize, 4, [=](const Kernels& k) {
      k.rmsnorm_backward(dy.data(), kChannels, x.data(), kChannels, rstd.data(), gain.data(),
                         sum.data(), sum.data(), kChannels, dgain.data(), kRows, h, size);
    });
  }
  add_elementwise("residual_rmsnorm", kSize, 4, [](const Kernels& k) {
    k.residual_rmsnorm(x.data(), dy.data(), nullptr, gain.data(), sum.data(), y.data(), rstd.data(),
                       1e-6f, kRows, kChannels);
  });
  add_elementwise("rotate", kSize, 2, [](const Kernels& k) {
    k.rotate(x.data(), kChannels, angles.data(), angles.data(), 1, y.data(), kChannels, kRows,
             kHeads, kHeadSize);
  });
  add_elementwise("gelu", kRows * kWide, 2,
                  [](const Kernels& k) { k.gelu(x.data(), y.data(), kRows * kWide); });
  add_elementwise("swiglu", kRows * kWide, 3,
                  [](const Kernels& k) { k.swiglu(x.data(), y.data(), kRows, kWide); });
  add_elementwise("swiglu_backward", kRows * kWide, 5, [](const Kernels& k) {
    k.swiglu_backward(x.data(), dy.data(), y.data(), kRows, kWide);
  });
  add_elementwise("relu2", kRows * kWide, 2,
                  [](const Kernels& k) { k.relu2(x.data(), y.data(), kRows * kWide); });
  add_elementwise("relu2_backward", kRows * kWide, 3, [](const Kernels& k) {
    k.relu2_backward(x.data(), dy.data(), y.data(), kRows * kWide);
  });
}

/// One head of 64 numbers on a sequence; items are operations. Its rows lie as far apart as those
/// of twelve heads.
void add_attention() {
  constexpr std::size_t kHead = 64, kPositions = 4 * kRows, kStride = 3 * 12 * kHead;
  static const Array qkv = normal(kPositions * kStride), dout = normal(kPositions * kHead, 2);
  static Array dqkv(kPositions * kStride), out(kPositions * kHead), log_sum_exp(kPositions);
  static Array workspace(attention_workspace(kHead, kPositions));
  static const AttentionHead head{.size = kHead,
                                  .positions = kPositions,
                                  .past = 0,
                                  .q = {qkv.data(), kStride},
                                  .k = {qkv.data() + 12 * kHead, kStride},
                                  .v = {qkv.data() + 24 * kHead, kStride},
                                  .begins = nullptr,
                                  .workspace = workspace.data()};
  const std::size_t operations = 2 * 2 * kHead * kPositions * (kPositions + 1) / 2;
  const std::size_t bytes = 4 * kPositions * kHead * sizeof(float);
  add_benchmark("attention_forward", operations, bytes, [](const Kernels& k) {
    k.attention_forward(head, {out.data(), kHead}, log_sum_exp.data());
  });
  add_benchmark("attention_backward", 5 * operations / 2, 2 * bytes, [](const Kernels& k) {
    k.attention_backward(head, {.out = {out.data(), kHead},
                                .dout = {dout.data(), kHead},
                                .log_sum_exp = log_sum_exp.data(),
                                .dq = {dqkv.data(), kStride},
                                .dk = {dqkv.data() + 12 * kHead, kStride},
                                .dv = {dqkv.data() + 24 * kHead, kStride},
                                .adds_to_keys = false});
  });
  add_elementwise("row_dots", kPositions * kHead, 2, [](const Kernels& k) {
    k.row_dots(out.data(), dout.data(), log_sum_exp.data(), kPositions, kHead, kHead, kHead);
  });
}

void add_loss() {
  static const Array logits = normal(kRows * kVocabulary, 3);
  static const std::vector<std::uint32_t> targets(kRows, 17);
  static Array work(kRows * kVocabulary), losses(kRows);
  add_elementwise("cross_entropy", kRows * kVocabulary, 1, [](const Kernels& k) {
    k.cross_entropy(logits.data(), targets.data(), losses.data(), kRows, kVocabulary);
  });
  // In place, so from a copy, as in attention.
  add_elementwise("cross_entropy_backward", kRows * kVocabulary, 2, [](const Kernels& k) {
    std::ranges::copy(logits, work.begin());
    k.cross_entropy_backward(work.data(), targets.data(), losses.data(), 1e-3f, kRows, kVocabulary);
  });
  add_elementwise("capped_cross_entropy_backward", kRows * kVocabulary, 2, [](const Kernels& k) {
    std::ranges::copy(logits, work.begin());
    k.capped_cross_entropy_backward(work.data(), targets.data(), losses.data(), 15, 1e-3f, kRows,
                                    kVocabulary);
  });
  add_elementwise("softcap", kRows * kVocabulary, 2,
                  [](const Kernels& k) { k.softcap(work.data(), 15, kRows * kVocabulary); });
}

void add_optimizer() {
  static constexpr AdamWStep kStep = {.learning_rate = 1e-4f,
                                      .beta1 = 0.9f,
                                      .beta2 = 0.95f,
                                      .epsilon = 1e-8f,
                                      .weight_decay = 0.1f,
                                      .bias_correction1 = 0.5f,
                                      .bias_correction2 = 0.3f,
                                      .gradient_scale = 0x1p-20f};
  static const Array gradient = normal(kLong, 0x1p20f);
  static const Integers sums(gradient.begin(), gradient.end());
  static Array parameter = normal(kLong), m(kLong), v(kLong);
  add_elementwise("adamw", kLong, 7, [](const Kernels& k) {
    k.adamw(parameter.data(), m.data(), v.data(), gradient.data(), kLong, kStep);
  });
  add_elementwise("adamw_integers", kLong, 7, [](const Kernels& k) {
    k.adamw_integers(parameter.data(), m.data(), v.data(), sums.data(), kLong, kStep);
  });
  add_elementwise("momentum", kLong, 4, [](const Kernels& k) {
    k.momentum(m.data(), gradient.data(), v.data(), 0.95f, 0x1p-20f, true, kLong);
  });
  add_elementwise("momentum_integers", kLong, 4, [](const Kernels& k) {
    k.momentum_integers(m.data(), sums.data(), v.data(), 0.95f, 0x1p-20f, true, kLong);
  });
}

/// A product by its logical shape; items are floating-point operations.
void add_product(const std::string& name, Transpose a, Transpose b, std::size_t m, std::size_t n,
                 std::size_t k) {
  const std::string shape = std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k);
  benchmark::RegisterBenchmark(("sgemm_" + name + "/" + shape).c_str(), [=](benchmark::State&
                                                                                state) {
    const Array left = normal(m * k);
    const Array right = normal(k * n);
    Array c(m * n);
    const std::size_t lda = a == Transpose::kYes ? m : k;
    const std::size_t ldb = b == Transpose::kYes ? k : n;
    for (auto _ : state) {
      sgemm(a, b, m, n, k, 1, left.data(), lda, right.data(), ldb, 0, c.data(), n);
      benchmark::ClobberMemory();
    }
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(2 * m * n * k));
    state.SetBytesProcessed(state.iterations() *
                            static_cast<std::int64_t>(sizeof(float) * (m * k + k * n + m * n)));
  })->Unit(benchmark::kMicrosecond);
}

/// The three products of a linear layer, weight (out, in): y = x Wt, dx = dy W, dW = dyt x.
void add_linear(std::size_t rows, std::size_t in, std::size_t out) {
  add_product("forward", Transpose::kNo, Transpose::kYes, rows, out, in);
  add_product("backward_input", Transpose::kNo, Transpose::kNo, rows, in, out);
  add_product("backward_weight", Transpose::kYes, Transpose::kNo, out, in, rows);
}

void add_products() {
  for (const std::size_t rows : {128U, 256U, 512U, 1024U}) {
    add_linear(rows, 128, 512);
    add_linear(rows, kChannels, 3 * kChannels);
    add_linear(rows, kChannels, 4 * kChannels);
    add_linear(rows, 4 * kChannels, kChannels);
  }
  add_linear(kRows, kChannels, kVocabulary);
  // Attention: a block of queries, heads of 64 channels.
  add_product("scores", Transpose::kNo, Transpose::kYes, kRows, kRows, 64);
  add_product("values", Transpose::kNo, Transpose::kNo, kRows, 64, kRows);
  add_product("square", Transpose::kNo, Transpose::kNo, 2048, 2048, 2048);
}

}  // namespace
}  // namespace cllm::kernels

int main(int argc, char** argv) {
  namespace kernels = cllm::kernels;
  if (const auto slow_blas = kernels::restart_with_better_blas_core(argv)) {
    std::fprintf(stderr, "%s\n", slow_blas->c_str());
  }
  kernels::prepare_blas(1);
  kernels::add_functions();
  kernels::add_sums();
  kernels::add_integer_sums<kernels::kSize>();
  kernels::add_integer_sums<kernels::kLong>();
  kernels::add_layers();
  kernels::add_modern_layers();
  kernels::add_attention();
  kernels::add_loss();
  kernels::add_optimizer();
  kernels::add_products();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::AddCustomContext("blas", kernels::blas_description());
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
