#include "cllm/corpus/corpus_vectors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "cllm/base/digest.h"
#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/corpus/corpus_cache.h"
#include "cllm/kernels/blas.h"
#include "support/error_of.h"
#include "support/reference_cooccurrence.h"
#include "support/scratch_directory.h"
#include "support/thread_ranks.h"

namespace cllm::corpus {
namespace {

using support::ScratchDirectory;
using support::uneven_tokens;
using testing::Contains;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr std::size_t kVocabulary = 90;

struct Outcome {
  CorpusVectors vectors;
  std::vector<std::string> messages;
  std::string error;
};

/// What the last of the ranks has.
Outcome vectors_of(const std::vector<std::uint32_t>& tokens, std::size_t vocabulary,
                   const CorpusOptions& options, int ranks = 1, int threads = 1) {
  Outcome outcome;
  kernels::prepare_blas(threads);
  support::ThreadRanks(ranks).run([&](ranks::ProcessGroup& process_group) {
    ThreadPool pool(threads);
    const bool is_last = process_group.rank() == ranks - 1;
    try {
      CorpusVectors mine = corpus_vectors(process_group, pool, kernels::select_kernels(),
                                          data::TokenView(std::span<const std::uint32_t>(tokens)),
                                          vocabulary, options, [&](const std::string& message) {
                                            EXPECT_EQ(process_group.rank(), 0);
                                            outcome.messages.push_back(message);
                                          });
      if (is_last) outcome.vectors = std::move(mine);
    } catch (const Error& error) {
      if (is_last) outcome.error = error.what();
    }
  });
  return outcome;
}

/// All but how it was come by.
std::string bits(const CorpusVectors& vectors) { return serialise(vectors, std::string(32, '0')); }

TEST(CorpusVectorsTest, AreTheLeadingPartOfPpmi) {
  const std::vector<std::uint32_t> tokens = uneven_tokens(3000, kVocabulary, 1);
  const auto counts = support::reference_cooccurrence(tokens, kVocabulary, 4);
  const std::vector<double> ppmi = support::reference_ppmi(counts, kVocabulary, 0.75);
  std::vector<double> gram(ppmi.size());
  double energy = 0;
  for (const double value : ppmi) energy += value * value;
  kernels::prepare_blas(1);
  kernels::dgemm(kernels::Transpose::kNo, kernels::Transpose::kYes, kVocabulary, kVocabulary,
                 kVocabulary, 1, ppmi.data(), kVocabulary, ppmi.data(), kVocabulary, 0, gram.data(),
                 kVocabulary);
  const std::vector<double> eigenvalues = kernels::lapack_symmetric_eigen(gram.data(), kVocabulary);

  constexpr std::size_t kRank = 12;
  const CorpusVectors vectors = vectors_of(tokens, kVocabulary, {.rank = kRank}, 2, 2).vectors;
  // Elements are rounded to float, and r + 16 columns of products as well. The spectrum is flat, so
  // that the last of the vectors are only nearly found.
  EXPECT_NEAR(vectors.energy, energy, 1e-6 * energy);
  EXPECT_EQ(vectors.nonzeros, static_cast<std::uint64_t>(std::ranges::count_if(
                                  ppmi, [](double value) { return value > 0; })));
  double kept = 0;
  for (std::size_t j = 0; j < kRank; ++j) {
    const double eigenvalue = eigenvalues[kVocabulary - 1 - j];
    EXPECT_NEAR(vectors.singular_values[j], std::sqrt(eigenvalue), 1e-4 * std::sqrt(eigenvalue));
    kept += eigenvalue;
    // The eigenvectors, at its place, times the fourth root of the eigenvalue.
    const double* exact = &gram[(kVocabulary - 1 - j) * kVocabulary];
    double inner = 0, squares = 0;
    for (std::size_t i = 0; i < kVocabulary; ++i) {
      const double component = vectors.vectors[i * kRank + j];
      inner += component * exact[i];
      squares += component * component;
    }
    EXPECT_NEAR(squares, std::sqrt(eigenvalue), 1e-4 * std::sqrt(eigenvalue));
    if (j < 6) {
      EXPECT_NEAR(inner * inner, squares, 1e-3 * squares) << j;
    }
  }
  EXPECT_NEAR(vectors.energy_kept(), kept / energy, 1e-4);
  for (std::size_t i = 0; i < kVocabulary; ++i) {
    EXPECT_EQ(vectors.token_counts[i], static_cast<std::uint64_t>(std::ranges::count(tokens, i)));
    if (vectors.token_counts[i] > 0) continue;
    EXPECT_THAT(vectors.vectors.span().subspan(i * kRank, kRank), Each(0.0f));
  }
  EXPECT_THAT(vectors.token_counts, Contains(0u));
}

TEST(CorpusVectorsTest, SameBitsForAnyRanksAndThreads) {
  const std::vector<std::uint32_t> tokens = uneven_tokens(4000, 300, 2);
  const CorpusOptions options{.window = 3, .rank = 70};
  const std::string reference = bits(vectors_of(tokens, 300, options).vectors);
  // Each stage is tried over more of these in the tests of its own.
  for (const auto& [ranks, threads] : {std::pair{1, 4}, {2, 1}, {2, 2}, {3, 2}}) {
    EXPECT_TRUE(bits(vectors_of(tokens, 300, options, ranks, threads).vectors) == reference)
        << ranks << " × " << threads;
  }
}

TEST(CorpusVectorsTest, SmallestCorpora) {
  const CorpusOptions options{.window = 8, .rank = 3};
  const CorpusVectors one_token = vectors_of(std::vector<std::uint32_t>(50), 1, options).vectors;
  EXPECT_THAT(one_token.vectors.span(), ElementsAre(0, 0, 0));
  EXPECT_EQ(one_token.energy_kept(), 1);
  EXPECT_THAT(one_token.token_counts, ElementsAre(50));
  const CorpusVectors alone = vectors_of({1}, 2, options).vectors;
  EXPECT_THAT(alone.vectors.span(), Each(0.0f));
  // n_12 = n_21 = 1 and all else 0, so M = (0 a; a 0) and both singular values are a = log 2.
  const CorpusVectors pair = vectors_of({1, 2}, 4, options, 3, 2).vectors;
  EXPECT_FLOAT_EQ(static_cast<float>(pair.singular_values[0]), std::log(2.0f));
  EXPECT_FLOAT_EQ(static_cast<float>(pair.singular_values[1]), std::log(2.0f));
  EXPECT_EQ(pair.singular_values[2], 0);
  EXPECT_NEAR(pair.energy_kept(), 1, 1e-6);
}

TEST(CorpusVectorsTest, RefusesOptionsOutOfRange) {
  ranks::SingleProcess process_group;
  ThreadPool pool(1);
  const auto error = [&](const CorpusOptions& options) {
    return support::error_of([&] {
      corpus_vectors(process_group, pool, kernels::select_kernels(), data::TokenView(), 1, options);
    });
  };
  EXPECT_THAT(error({.window = 17, .rank = 1}), HasSubstr("give 1 to 16"));
  EXPECT_THAT(error({.smoothing = 2, .rank = 1}), HasSubstr("give 0 to 1"));
}

class CorpusCacheTest : public testing::Test {
 protected:
  Outcome again(int ranks = 1) { return vectors_of(tokens_, kVocabulary, options_, ranks); }
  std::filesystem::path file() const {
    return corpus_file(options_.cache,
                       corpus_key(data::TokenView(std::span<const std::uint32_t>(tokens_)),
                                  kVocabulary, options_));
  }
  void write(const std::string& bytes) {
    write_atomically(file(), std::as_bytes(std::span(bytes)));
  }

  ScratchDirectory scratch_;
  std::vector<std::uint32_t> tokens_ = uneven_tokens(500, kVocabulary, 3);
  CorpusOptions options_{.rank = 5, .cache = scratch_.path() / "token-cache"};
};

TEST_F(CorpusCacheTest, IsReadByTheNextRun) {
  const Outcome first = again(2);
  EXPECT_FALSE(first.vectors.from_cache);
  EXPECT_THAT(first.messages,
              ElementsAre(HasSubstr("within 4 tokens of each other, in 500 of 500")));
  EXPECT_TRUE(std::filesystem::exists(file()));
  for (const int ranks : {1, 2}) {
    const Outcome second = again(ranks);
    EXPECT_TRUE(second.vectors.from_cache);
    EXPECT_TRUE(second.messages.empty());
    EXPECT_TRUE(bits(second.vectors) == bits(first.vectors));
  }
}

TEST_F(CorpusCacheTest, OtherTokensAndOptionsAreOtherFiles) {
  again();
  const CorpusOptions options = options_;
  const std::function<void()> changes[] = {
      [&] { options_.window = 5; }, [&] { options_.smoothing = 0.5; }, [&] { options_.rank = 6; },
      [&] { options_.seed = 1; },   [&] { tokens_.pop_back(); },
  };
  for (const auto& change : changes) {
    options_ = options;
    change();
    EXPECT_FALSE(again().vectors.from_cache);
    EXPECT_TRUE(again().vectors.from_cache);
  }
  EXPECT_FALSE(vectors_of(tokens_, kVocabulary + 1, options).vectors.from_cache);
}

TEST_F(CorpusCacheTest, WhatIsBrokenIsMadeAnew) {
  const std::string good = bits(again().vectors);
  const std::string bytes = read_file(file());
  std::vector<std::string> broken = {"", "something else", bytes.substr(0, 50),
                                     bytes.substr(0, bytes.size() - 1), bytes + "x"};
  // Magic, version, digest, key, vocabulary, rank, energy, and the three arrays.
  for (const std::size_t at : {std::size_t{0}, std::size_t{8}, std::size_t{20}, std::size_t{50},
                               std::size_t{80}, std::size_t{88}, std::size_t{104}, std::size_t{112},
                               bytes.size() - 725, bytes.size() - 1}) {
    broken.push_back(bytes);
    broken.back()[at] = static_cast<char>(broken.back()[at] ^ 1);
  }
  for (const std::string& content : broken) {
    write(content);
    const Outcome outcome = again(2);
    EXPECT_FALSE(outcome.vectors.from_cache);
    EXPECT_THAT(outcome.messages, Contains(HasSubstr(file().string() + " is not used")));
    EXPECT_TRUE(bits(outcome.vectors) == good);
    EXPECT_TRUE(read_file(file()) == bytes) << "it was not mended";
  }
}

TEST_F(CorpusCacheTest, WholeFilesOfOtherCorporaAreNotUsed) {
  const Outcome other = vectors_of(uneven_tokens(500, kVocabulary, 4), kVocabulary, options_);
  again();
  write(bits(other.vectors));  // with the right digest, for another key
  const Outcome outcome = again();
  EXPECT_FALSE(outcome.vectors.from_cache);
  EXPECT_THAT(outcome.messages, Contains(HasSubstr("it is of another corpus")));
}

TEST_F(CorpusCacheTest, SizesThatOverflowAreRefused) {
  const std::string key(32, 'a');
  const std::string bytes = serialise(CorpusVectors{}, key);
  EXPECT_EQ(parse_corpus_vectors(bytes, key).rank, 0u);
  // 4 V r + 8 r + 8 V is 0 modulo 2^64 for all of these.
  for (const auto& [vocabulary, rank] : {std::pair<std::uint64_t, std::uint64_t>{1ull << 61, 0},
                                         {0, 1ull << 61},
                                         {1ull << 61, 1ull << 61}}) {
    std::string odd = bytes;
    std::memcpy(odd.data() + 80, &vocabulary, sizeof(vocabulary));
    std::memcpy(odd.data() + 88, &rank, sizeof(rank));
    digest_hex(std::as_bytes(std::span(odd)).subspan(48)).copy(odd.data() + 16, 32);
    EXPECT_THAT(support::error_of([&] { parse_corpus_vectors(odd, key); }),
                HasSubstr("it is damaged"));
  }
}

TEST_F(CorpusCacheTest, WithoutACacheNothingIsWritten) {
  options_.cache.clear();
  again();
  EXPECT_FALSE(std::filesystem::exists(scratch_.path() / "token-cache"));
  EXPECT_FALSE(again().vectors.from_cache);
}

TEST_F(CorpusCacheTest, WhereItCannotBeWrittenTheRunGoesOn) {
  scratch_.write("token-cache", "a file where the directory should be");
  const Outcome outcome = again(2);
  EXPECT_THAT(outcome.messages, Contains(HasSubstr("not cached: ")));
  EXPECT_GT(outcome.vectors.energy_kept(), 0.1);
}

TEST(CorpusVectorsTest, ASampleHasTheSameBitsForAnyRanksAndThreads) {
  const std::vector<std::uint32_t> tokens = uneven_tokens(4000, 300, 2);
  const data::TokenView all{std::span<const std::uint32_t>(tokens)};
  const TokenSample sample(all, 1000);
  EXPECT_EQ(sample.size(), 1000u);
  const CorpusOptions options{.window = 3, .rank = 20};
  const auto vectors_on = [&](int ranks, int threads) {
    std::string result;
    kernels::prepare_blas(threads);
    support::ThreadRanks(ranks).run([&](ranks::ProcessGroup& process_group) {
      ThreadPool pool(threads);
      const CorpusVectors vectors =
          corpus_vectors(process_group, pool, kernels::select_kernels(), sample, 300, options);
      if (process_group.rank() == ranks - 1) result = bits(vectors);
    });
    return result;
  };
  const std::string reference = vectors_on(1, 1);
  EXPECT_TRUE(vectors_on(3, 2) == reference);
  EXPECT_FALSE(bits(vectors_of(tokens, 300, options).vectors) == reference);
}

TEST(CorpusVectorsTest, KeepAsManyPairsAsThereIsRoomFor) {
  const std::vector<std::uint32_t> tokens = uneven_tokens(60'000, 300, 5);
  const CorpusOptions all{.rank = 20}, some{.rank = 20, .most_pairs = 4000};
  const Outcome whole = vectors_of(tokens, 300, all), pruned = vectors_of(tokens, 300, some);
  ASSERT_GT(whole.vectors.nonzeros, 2 * some.most_pairs);
  EXPECT_LE(pruned.vectors.nonzeros, some.most_pairs);
  EXPECT_GT(pruned.vectors.nonzeros, some.most_pairs / 2);
  for (const auto& [ranks, threads] : {std::pair{1, 3}, {2, 2}, {3, 1}}) {
    EXPECT_TRUE(bits(vectors_of(tokens, 300, some, ranks, threads).vectors) == bits(pruned.vectors))
        << ranks << " × " << threads;
  }
  // Every token that has a neighbour keeps one, however rare it is.
  for (std::size_t token = 0; token < 300; ++token) {
    const auto row = pruned.vectors.vectors.span().subspan(token * 20, 20);
    EXPECT_EQ(std::ranges::any_of(row, [](float x) { return x != 0; }),
              pruned.vectors.token_counts[token] > 0)
        << token;
  }
}

TEST(CorpusVectorsTest, KnowWhatTheyTakeBeforeAllPairsAreCounted) {
  constexpr std::size_t kWide = 20'000;  // of which one row in nine is surveyed
  const std::vector<std::uint32_t> tokens = uneven_tokens(200'000, kWide, 6);
  kernels::prepare_blas(2);
  std::vector<std::uint64_t> bytes(2);
  std::vector<std::uint64_t> nonzeros(2);
  support::ThreadRanks(2).run([&](ranks::ProcessGroup& process_group) {
    ThreadPool pool(1);
    CorpusStudy study(process_group, pool, kernels::select_kernels(),
                      data::TokenView(std::span<const std::uint32_t>(tokens)), kWide, {.rank = 2});
    const auto rank = static_cast<std::size_t>(process_group.rank());
    bytes[rank] = study.bytes();
    nonzeros[rank] = study.vectors().nonzeros;
  });
  EXPECT_EQ(bytes[0], bytes[1]);
  const double without = static_cast<double>(corpus_bytes(tokens.size(), 0, kWide, 2, 2, 1));
  // An element of the matrix or of its transpose is 12 bytes, on one of both ranks.
  const double pairs = (static_cast<double>(bytes[0]) - without) / 6;
  EXPECT_GT(pairs, 0.95 * static_cast<double>(nonzeros[0]));
  EXPECT_LT(pairs, 1.25 * static_cast<double>(nonzeros[0]));
}

TEST(CorpusVectorsTest, WorkGrowsWithTheSampleUntilThePairsAreAllThatAreKept) {
  const double few = corpus_work(1'000'000, 50'000, 64),
               many = corpus_work(100'000'000, 50'000, 64);
  EXPECT_GT(many, 2 * few);
  EXPECT_LT(many, 100 * few);
  EXPECT_GT(corpus_work(1'000'000, 50'000, 768), 5 * few);
}

}  // namespace
}  // namespace cllm::corpus
