// What the order of a token embedding's rows is worth: gather (the embedding) and scatter-add (its
// gradient, which walks the positions of a step by ascending row) of 8 x 1024 tokens of a text,
// C = 768. A table that follows token numbers, shuffled or as the tokenizer numbered them,
// frequency ranks, or Ulam's order.
//
//   ulam_bench TOKEN_FILE [ROUNDS]       nanoseconds per row; 201 rounds, each another step's
//   tokens ulam_bench TOKEN_FILE --once ORDER   one step, for cachegrind: shuffled, ids, frequency,
//   ulam,
//                                        or none for what all have in common
//
// TOKEN_FILE is written by cllm-dist tokenize.

#include <cstring>
#include <numeric>
#include <string>

#include "bench/interleaved.h"
#include "cllm/base/aligned_buffer.h"
#include "cllm/base/error.h"
#include "cllm/base/random.h"
#include "cllm/corpus/token_counts.h"
#include "cllm/corpus/ulam_order.h"
#include "cllm/data/token_file.h"
#include "cllm/kernels/kernels.h"

namespace cllm {
namespace {

constexpr std::size_t kSequences = 8;
constexpr std::size_t kContext = 1024;
constexpr std::size_t kTokens = kSequences * kContext;
constexpr std::size_t kChannels = 768;

struct Order {
  std::string name;
  std::vector<std::uint32_t> row_of;  // (V)
};

std::vector<std::uint64_t> counts_of(const data::TokenFile& file) {
  ThreadPool pool(1);
  return corpus::count_tokens(file.tokens(), file.info().vocabulary, pool);
}

std::vector<Order> orders_of(std::span<const std::uint64_t> counts) {
  std::vector<std::uint32_t> ids(counts.size());
  std::iota(ids.begin(), ids.end(), 0u);
  std::vector<std::uint32_t> shuffled = ids;
  RandomStream random(1, 0);
  for (std::size_t i = shuffled.size(); i > 1; --i) {
    std::swap(shuffled[i - 1], shuffled[random.below(i)]);
  }
  return {{"shuffled", shuffled},
          {"ids", ids},
          {"frequency", corpus::frequency_ranks(counts)},
          {"ulam", corpus::ulam_rows(counts)}};
}

class Bench {
 public:
  explicit Bench(const std::string& path)
      : file_(data::TokenFile::open(path)),
        orders_(orders_of(counts_of(file_))),
        table_(file_.info().vocabulary * kChannels),
        rows_(kTokens * kChannels),
        tokens_(kTokens),
        walk_(kTokens) {
    if (file_.tokens().size() <= kContext) fail("{} has too few tokens", path);
  }

  std::span<const Order> orders() const { return orders_; }
  std::size_t vocabulary() const { return static_cast<std::size_t>(file_.info().vocabulary); }

  /// Reads windows of the text, drawn for each step.
  void draw(std::uint64_t step) {
    RandomStream random(2, step);
    for (std::size_t s = 0; s < kSequences; ++s) {
      file_.tokens().copy(random.below(file_.tokens().size() - kContext), kContext,
                          tokens_.data() + s * kContext);
    }
  }

  void gather(const Order& order) {
    for (std::size_t i = 0; i < kTokens; ++i) {
      std::memcpy(rows_.data() + i * kChannels, row(order, tokens_[i]), kChannels * sizeof(float));
    }
  }

  void sort(const Order& order) {
    for (std::size_t i = 0; i < kTokens; ++i) {
      walk_[i] = std::uint64_t{order.row_of[tokens_[i]]} << 32 | i;
    }
    std::ranges::sort(walk_);
  }

  /// As `sort` has it.
  void scatter() {
    for (const std::uint64_t each : walk_) {
      kernels_.add(rows_.data() + (each & 0xFFFFFFFF) * kChannels,
                   table_.data() + (each >> 32) * kChannels, kChannels);
    }
  }

 private:
  float* row(const Order& order, std::uint32_t token) {
    return table_.data() + order.row_of[token] * kChannels;
  }

  data::TokenFile file_;
  std::vector<Order> orders_;
  AlignedBuffer<float> table_, rows_;
  std::vector<std::uint32_t> tokens_;
  std::vector<std::uint64_t> walk_;
  const kernels::Kernels& kernels_ = kernels::select_kernels();
};

void once(Bench& bench, const std::string& name) {
  bench.draw(0);
  if (name == "none") return;
  for (const Order& order : bench.orders()) {
    if (order.name != name) continue;
    bench.gather(order);
    bench.sort(order);
    bench.scatter();
    return;
  }
  fail("--once {}: give shuffled, ids, frequency, ulam or none", name);
}

/// Each run has other tokens: what one leaves in the caches is not what the next asks for.
void compare(Bench& bench, int rounds) {
  std::vector<bench::Contender> gathers, scatters;
  std::uint64_t step = 0;
  for (const Order& order : bench.orders()) {
    gathers.push_back(
        {order.name, kTokens, [&] { bench.gather(order); }, [&] { bench.draw(step++); }});
    scatters.push_back({order.name, kTokens, [&] { bench.scatter(); },
                        [&] {
                          bench.draw(step++);
                          bench.sort(order);
                        }});
  }
  fmt::print("{} tokens of {} channels, {} positions\n", bench.vocabulary(), kChannels, kTokens);
  bench::print_load();
  for (const auto& [what, contenders] : {std::pair{"gather", &gathers}, {"scatter", &scatters}}) {
    const std::vector<double> medians = bench::interleaved_medians(*contenders, rounds);
    for (std::size_t i = 0; i < medians.size(); ++i) {
      fmt::print("{:<8} {:<10} {:>7.1f} ns per row   {:.3f} of plain ids\n", what,
                 (*contenders)[i].name, medians[i], medians[i] / medians[1]);
    }
  }
}

}  // namespace
}  // namespace cllm

int main(int count, char** arguments) {
  try {
    if (count < 2) cllm::fail("give a token file");
    cllm::Bench bench(arguments[1]);
    if (count > 3 && std::string(arguments[2]) == "--once") {
      cllm::once(bench, arguments[3]);
    } else {
      cllm::compare(bench, count > 2 ? std::atoi(arguments[2]) : 201);
    }
  } catch (const cllm::Error& error) {
    fmt::print(stderr, "ulam_bench: {}\n", error.what());
    return 1;
  }
}
