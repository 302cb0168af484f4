// Similarity by prime signatures against a dot product of float vectors, of one token with another
// and of one token with all:
//
//   primes_bench TEXT_FILE [VOCABULARY [ROUNDS]]    bpe:8192, 21 rounds
//
// For all, signatures list the ten most similar tokens; dot products are taken and not sorted.

#include <string>

#include "bench/interleaved.h"
#include "cllm/base/aligned_buffer.h"
#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/base/random.h"
#include "cllm/corpus/signatures.h"
#include "cllm/kernels/blas.h"

namespace cllm {
namespace {

constexpr std::size_t kPairs = 20'000;
constexpr std::size_t kQueries = 100;
constexpr std::size_t kChannels[] = {128, 384, 768};

volatile float sink;  // so that nothing is optimised away

void print_ratios(std::span<const bench::Contender> contenders, int rounds, double scale,
                  const char* unit) {
  const std::vector<double> medians = bench::interleaved_medians(contenders, rounds);
  for (std::size_t i = 0; i < contenders.size(); ++i) {
    fmt::print("  {:<36} {:>9.1f} {}   {:>7.2f} x the first\n", contenders[i].name,
               scale * medians[i], unit, medians[i] / medians[0]);
  }
}

void run(const std::string& file, std::uint32_t vocabulary, int rounds) {
  const auto tokenizer = data::build_tokenizer(
      {.kind = data::TokenizerSpec::Kind::bpe, .vocabulary = vocabulary}, read_file(file));
  const kernels::Kernels& k = kernels::select_kernels();
  const corpus::Signatures signatures(*tokenizer, k);
  const corpus::Signatures portable(*tokenizer, kernels::reference_kernels());
  std::size_t listed = 0;
  for (std::uint32_t t = 0; t < vocabulary; ++t) listed += signatures.ranks(t).size();
  fmt::print("{} tokens, {} features, {:.1f} of a token; {} kernels\n", vocabulary,
             signatures.features(), static_cast<double>(listed) / vocabulary, k.name);
  bench::print_load();

  RandomStream random(1, 0);
  std::vector<std::uint32_t> tokens(2 * kPairs);
  for (std::uint32_t& token : tokens) token = static_cast<std::uint32_t>(random.below(vocabulary));
  AlignedBuffer<float> table(vocabulary * kChannels[2]);
  for (float& x : table.span()) x = static_cast<float>(random.uniform());

  const auto of_pairs = [&](const auto& similarity) {
    return [&, similarity] {
      float sum = 0;
      for (std::size_t i = 0; i < tokens.size(); i += 2) {
        sum += similarity(tokens[i], tokens[i + 1]);
      }
      sink = sum;
    };
  };
  std::vector<bench::Contender> pairs = {
      {"primes", kPairs,
       of_pairs([&](std::uint32_t a, std::uint32_t b) { return signatures.similarity(a, b); })},
      {"primes, portable implementation", kPairs,
       of_pairs([&](std::uint32_t a, std::uint32_t b) { return portable.similarity(a, b); })}};
  AlignedBuffer<float> dots(vocabulary), products(kQueries * vocabulary);
  const corpus::RelativeIndex index(signatures);
  corpus::RelativeIndex::Scratch scratch(index);
  std::vector<bench::Contender> queries = {
      {"primes, inverted index", kQueries,
       [&] {
         for (std::size_t i = 0; i < kQueries; ++i) {
           sink = index.relatives(tokens[i], 10, scratch)[0].similarity;
         }
       }},
      {"primes, pair by pair", kQueries, [&] {
         for (std::size_t i = 0; i < kQueries; ++i) {
           for (std::uint32_t t = 0; t < vocabulary; ++t) {
             sink = signatures.similarity(tokens[i], t);
           }
         }
       }}};
  for (const std::size_t c : kChannels) {
    const std::string name = fmt::format("dot product, C = {}", c);
    pairs.push_back({name, kPairs, of_pairs([&, c](std::uint32_t a, std::uint32_t b) {
                       float dot = 0;
                       k.row_dots(&table[a * c], &table[b * c], &dot, 1, c, c, c);
                       return dot;
                     })});
    // A stride of 0: every row against the same one.
    queries.push_back({name, kQueries, [&, c] {
                         for (std::size_t i = 0; i < kQueries; ++i) {
                           k.row_dots(table.data(), &table[tokens[i] * c], dots.data(), vocabulary,
                                      c, c, 0);
                         }
                         sink = dots[0];
                       }});
    queries.push_back({fmt::format("matrix product of {} queries", kQueries), kQueries, [&, c] {
                         kernels::sgemm(kernels::Transpose::kNo, kernels::Transpose::kYes, kQueries,
                                        vocabulary, c, 1.0f, table.data(), c, table.data(), c, 0.0f,
                                        products.data(), vocabulary);
                         sink = products[0];
                       }});
  }
  fmt::print("random pairs\n");
  print_ratios(pairs, rounds, 1, "ns");
  fmt::print("one against all\n");
  print_ratios(queries, rounds, 1e-3, "us");
}

}  // namespace
}  // namespace cllm

int main(int count, char** arguments) {
  try {
    if (count < 2) cllm::fail("give a text file");
    cllm::kernels::prepare_blas(1);
    cllm::run(arguments[1], count > 2 ? static_cast<std::uint32_t>(std::atoi(arguments[2])) : 8192,
              count > 3 ? std::atoi(arguments[3]) : 21);
  } catch (const cllm::Error& error) {
    fmt::print(stderr, "primes_bench: {}\n", error.what());
    return 1;
  }
}
