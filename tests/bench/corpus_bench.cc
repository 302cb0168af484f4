// How long the vectors of a corpus take, and how much memory:
//
//   corpus_bench [RANK [THREADS [FILE|- [TOKENS]]]]    r = 256 and 2 threads, without a cache
//
// FILE is a token file, of which an evenly spaced sample of TOKENS is read. Without one, 10 million
// tokens of a vocabulary of 32,768 are drawn from a chain: frequencies are Zipf's (Mandelbrot's
// form), and half of the tokens are among those that often follow the one before.

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/base/memory.h"
#include "cllm/base/random.h"
#include "cllm/base/stopwatch.h"
#include "cllm/corpus/corpus_vectors.h"
#include "cllm/kernels/blas.h"

namespace cllm::train {
namespace {

constexpr std::size_t kTokens = 10'000'000;
constexpr std::size_t kVocabulary = 32'768;

/// Draws token i with a probability proportional to 1/(i + 2.7).
class Zipf {
 public:
  Zipf() : until_(kVocabulary) {
    double sum = 0;
    for (std::size_t i = 0; i < kVocabulary; ++i) {
      until_[i] = sum += 1 / (static_cast<double>(i) + 2.7);
    }
  }
  std::uint32_t draw(RandomStream& random) const {
    const double at = random.uniform() * until_.back();
    const auto found = std::ranges::upper_bound(until_, at);
    return static_cast<std::uint32_t>(std::min<std::ptrdiff_t>(
        found - until_.begin(), static_cast<std::ptrdiff_t>(kVocabulary) - 1));
  }

 private:
  std::vector<double> until_;
};

std::vector<std::uint32_t> chain() {
  constexpr std::size_t kSuccessors = 16;
  const Zipf zipf;
  RandomStream choice(1, 0), text(1, 1);
  std::vector<std::uint32_t> successors(kVocabulary * kSuccessors);
  for (std::uint32_t& token : successors) token = zipf.draw(choice);
  std::vector<std::uint32_t> tokens(kTokens);
  for (std::size_t i = 1; i < kTokens; ++i) {
    tokens[i] = text.uniform() < 0.5
                    ? zipf.draw(text)
                    : successors[tokens[i - 1] * kSuccessors + text.below(kSuccessors)];
  }
  return tokens;
}

/// Seconds of processors that this process has had.
double processor_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec) +
         1e-6 * static_cast<double>(usage.ru_utime.tv_usec);
}

/// What the system says of the processes that were ready to run in the last minutes.
std::string load() {
  double averages[3] = {};
  if (::getloadavg(averages, 3) != 3) return "unknown";
  return fmt::format("{:.2f} {:.2f} {:.2f}", averages[0], averages[1], averages[2]);
}

void run(std::size_t rank, int threads, const std::string& path, std::uint64_t most) {
  kernels::prepare_blas(threads);
  std::vector<std::uint32_t> drawn;
  data::TokenFile file;
  data::TokenView tokens;
  std::uint64_t vocabulary = kVocabulary;
  if (path.empty() || path == "-") {
    drawn = chain();
    tokens = data::TokenView(std::span<const std::uint32_t>(drawn));
  } else {
    file = data::TokenFile::open(path);
    tokens = file.tokens();
    vocabulary = file.info().vocabulary;
  }
  const double before = static_cast<double>(resident_memory());
  const double processors_before = processor_seconds();
  ThreadPool pool(threads);
  ranks::SingleProcess process_group;
  const corpus::TokenSample sample(tokens, most);
  const Stopwatch watch;
  corpus::CorpusStudy study(process_group, pool, kernels::select_kernels(), sample, vocabulary,
                            {.rank = rank});
  const double surveyed = watch.elapsed(), bytes = static_cast<double>(study.bytes());
  const corpus::CorpusVectors vectors = study.vectors();
  fmt::print(
      "{} of {} tokens, V {}, r {}, {} threads: {:.1f} s ({:.1f} to survey), {:.1f} s of "
      "processors; {:.1f} M non-zeros; peak {:.3f} GB above {:.3f}, {:.3f} expected; energy kept "
      "{:.4f}; work {:.1f} TFLOP; load {}\n",
      sample.size(), tokens.size(), vocabulary, rank, threads, vectors.seconds, surveyed,
      processor_seconds() - processors_before, static_cast<double>(vectors.nonzeros) / 1e6,
      (static_cast<double>(peak_resident_memory()) - before) / 1e9, before / 1e9, bytes / 1e9,
      vectors.energy_kept(), corpus::corpus_work(sample.size(), vocabulary, rank) / 1e12, load());
}

}  // namespace
}  // namespace cllm::train

int main(int argc, char** argv) {
  if (const auto slow = cllm::kernels::restart_with_better_blas_core(argv)) {
    fmt::print("{}\n", *slow);
  }
  try {
    cllm::train::run(argc > 1 ? std::stoul(argv[1]) : 256, argc > 2 ? std::stoi(argv[2]) : 2,
                     argc > 3 ? argv[3] : "-",
                     argc > 4 ? std::stoull(argv[4]) : std::numeric_limits<std::uint64_t>::max());
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
