// Run: build with -D CLLM_BENCH=ON; build/release/tests/bench/lattice_bench
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "cllm/base/random.h"
#include "cllm/kernels/kernels.h"
#include "cllm/lattice/decoders.h"
#include "cllm/lattice/nearest_plane.h"
#include "cllm/lattice/reduce.h"
#include "lattice/examples.h"

/// The lattice layer on one thread: both implementations of the decoders, nearest planes, and
/// reductions with their proof beside the proof alone. Items are points; rates are per second of
/// processor time.
namespace cllm::lattice {
namespace {

template <typename Number>
std::vector<Number> normal(std::size_t n, Number deviation) {
  RandomStream random(1, n);
  std::vector<Number> result(n);
  for (Number& each : result) each = deviation * static_cast<Number>(random.normal());
  return result;
}

/// Within the second-level cache.
constexpr std::size_t kPoints = 4096;

using Decode = bool (*Decoders::*)(const float*, std::int32_t*, std::size_t);

void decode(benchmark::State& state, const Decoders& decoders, Decode entry,
            std::size_t dimension) {
  const std::vector<float> x = normal(kPoints * dimension, 3.0f);
  std::vector<std::int32_t> points(x.size());
  for (auto _ : state) {
    benchmark::DoNotOptimize((decoders.*entry)(x.data(), points.data(), kPoints));
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kPoints));
}

void nearest_plane(benchmark::State& state, bool coefficients) {
  const auto n = static_cast<std::size_t>(state.range(0));
  const NearestPlane plane(covariance_factor(n, 1, 1), n);
  constexpr std::size_t kTargets = 512;
  const std::vector<double> targets = normal(kTargets * n, 10.0);
  std::vector<std::int64_t> codes(targets.size());
  for (auto _ : state) {
    if (coefficients) {
      plane.decode_coefficients(targets, codes);
    } else {
      plane.decode(targets, codes);
    }
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kTargets));
}

/// Of a covariance at 20 bits.
void reduction(benchmark::State& state) {
  const auto n = static_cast<std::size_t>(state.range(0));
  const std::vector<double> lower = covariance_factor(n, 1, 1);
  for (auto _ : state) benchmark::DoNotOptimize(reduce_cholesky(lower, n));
}

void verification(benchmark::State& state) {
  const auto n = static_cast<std::size_t>(state.range(0));
  const Certificate certificate = reduce_cholesky(covariance_factor(n, 1, 1), n);
  for (auto _ : state) benchmark::DoNotOptimize(fault(certificate));
}

void add_benchmarks() {
  std::vector<const Decoders*> tables = {&portable_decoders()};
  if (kernels::has_avx2()) tables.push_back(&avx2_decoders());
  for (const Decoders* table : tables) {
    const auto add = [&](const char* name, Decode entry, std::size_t dimension) {
      benchmark::RegisterBenchmark(
          (std::string(name) + "/" + table->name).c_str(),
          [=](benchmark::State& state) { decode(state, *table, entry, dimension); });
    };
    add("E8", &Decoders::e8, 8);
  }
  const auto add = [](const char* name, auto&& run) {
    auto* const made = benchmark::RegisterBenchmark(name, run)->Unit(benchmark::kMillisecond);
    for (const int n : {64, 128, 384}) made->Arg(n);
  };
  add("nearest_plane/coefficients", [](benchmark::State& state) { nearest_plane(state, true); });
  add("nearest_plane/points", [](benchmark::State& state) { nearest_plane(state, false); });
  add("reduce_cholesky", reduction);
  add("fault", verification);
}

}  // namespace
}  // namespace cllm::lattice

int main(int argc, char** argv) {
  cllm::lattice::add_benchmarks();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
