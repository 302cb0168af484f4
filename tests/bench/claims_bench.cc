// What ideas are worth that other systems claim much for: each with and without.
// Run: build with -D CLLM_BENCH=ON; build/release/tests/bench/claims_bench
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <vector>

#include "cllm/kernels/blas.h"
#include "support/training_bench.h"

namespace cllm {
namespace {

const model::ModelConfig kMini{
    .layers = 4, .heads = 4, .channels = 128, .context = 64, .vocabulary = 256};

train::TrainerOptions options_with(int threads) {
  train::TrainerOptions options = support::trainer_options(12, 6, threads);
  options.token_block = 384;
  return options;
}

/// A training step on so many threads (argument 0).
void step(benchmark::State& state) {
  ranks::SingleProcess alone;
  support::TrainingBench bench(support::random_tokens(20'000, 1, kMini),
                               options_with(static_cast<int>(state.range(0))), alone, kMini);
  bench.trainer.step(bench.state);
  for (auto _ : state) bench.trainer.step(bench.state);
}
BENCHMARK(step)->Arg(1)->Arg(2)->UseRealTime()->Unit(benchmark::kMillisecond);

/// The same with all buffers allocated anew for each step.
void step_with_new_buffers(benchmark::State& state) {
  ranks::SingleProcess alone;
  const train::TrainerOptions options = options_with(static_cast<int>(state.range(0)));
  support::TrainingBench bench(support::random_tokens(20'000, 1, kMini), options, alone, kMini);
  for (auto _ : state) {
    train::Trainer trainer(bench.model, kernels::select_kernels(), options, bench.sequences, alone);
    trainer.step(bench.state);
  }
}
BENCHMARK(step_with_new_buffers)->Arg(1)->Arg(2)->UseRealTime()->Unit(benchmark::kMillisecond);

constexpr std::size_t kProduct = 512;

void product_by_blas(benchmark::State& state) {
  const std::vector<float> a(kProduct * kProduct, 0.5f), b = a;
  std::vector<float> c(a.size());
  for (auto _ : state) {
    kernels::sgemm(kernels::Transpose::kNo, kernels::Transpose::kNo, kProduct, kProduct, kProduct,
                   1.0f, a.data(), kProduct, b.data(), kProduct, 0.0f, c.data(), kProduct);
    benchmark::DoNotOptimize(c.data());
  }
}
BENCHMARK(product_by_blas);

/// Three loops, in the order that walks along rows, as a compiler vectorises them.
void product_by_loops(benchmark::State& state) {
  const std::vector<float> a(kProduct * kProduct, 0.5f), b = a;
  std::vector<float> c(a.size());
  for (auto _ : state) {
    std::fill(c.begin(), c.end(), 0.0f);
    for (std::size_t i = 0; i < kProduct; ++i) {
      for (std::size_t k = 0; k < kProduct; ++k) {
        const float left = a[i * kProduct + k];
        for (std::size_t j = 0; j < kProduct; ++j) {
          c[i * kProduct + j] += left * b[k * kProduct + j];
        }
      }
    }
    benchmark::DoNotOptimize(c.data());
  }
}
BENCHMARK(product_by_loops);

std::vector<float> values() {
  std::vector<float> result(4096);
  for (std::size_t i = 0; i < result.size(); ++i) result[i] = 0.1f + 0.01f * static_cast<float>(i);
  return result;
}

void dot_by_kernel(benchmark::State& state) {
  const std::vector<float> a = values(), b = a;
  float dot = 0;
  for (auto _ : state) {
    kernels::select_kernels().row_dots(a.data(), b.data(), &dot, 1, a.size(), a.size(), a.size());
    benchmark::DoNotOptimize(dot);
  }
}
BENCHMARK(dot_by_kernel);

void dot_by_loop(benchmark::State& state) {
  const std::vector<float> a = values(), b = a;
  for (auto _ : state) {
    float dot = 0;
    for (std::size_t i = 0; i < a.size(); ++i) dot += a[i] * b[i];
    benchmark::DoNotOptimize(dot);
  }
}
BENCHMARK(dot_by_loop);

void log_by_kernel(benchmark::State& state) {
  const std::vector<float> x = values();
  std::vector<float> y(x.size());
  for (auto _ : state) {
    kernels::select_kernels().log(x.data(), y.data(), x.size());
    benchmark::DoNotOptimize(y.data());
  }
}
BENCHMARK(log_by_kernel);

void log_by_libm(benchmark::State& state) {
  const std::vector<float> x = values();
  std::vector<float> y(x.size());
  for (auto _ : state) {
    for (std::size_t i = 0; i < x.size(); ++i) y[i] = std::log(x[i]);
    benchmark::DoNotOptimize(y.data());
  }
}
BENCHMARK(log_by_libm);

}  // namespace
}  // namespace cllm

int main(int argc, char** argv) {
  if (const auto slow_blas = cllm::kernels::restart_with_better_blas_core(argv)) {
    std::fprintf(stderr, "%s\n", slow_blas->c_str());
  }
  cllm::kernels::prepare_blas(1);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
