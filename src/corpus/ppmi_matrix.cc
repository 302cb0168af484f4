#include "ppmi_matrix.h"

#include <algorithm>
#include <bit>
#include <exception>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "cllm/base/elementary.h"
#include "cllm/corpus/cooccurrence.h"
#include "cllm/corpus/ppmi.h"
#include "cllm/corpus/token_counts.h"
#include "cllm/ranks/agreement.h"
#include "cllm/ranks/merge.h"

namespace cllm::corpus {
namespace {

/// Rows that a thread counts and multiplies at a time; few, because those of frequent tokens are
/// long.
constexpr std::size_t kRowsAtATime = 4;

/// One row in so many is surveyed, where there are enough.
constexpr std::size_t kSurveyed = 16;
constexpr std::size_t kFewRows = 2048;

/// Classes of shares, the largest share in the last; 16 an octave, 64 octaves.
constexpr std::size_t kClasses = 1024;

/// The class of count / total, 0 < count <= total.
std::size_t class_of(std::uint64_t count, std::uint64_t total) {
  constexpr int kBelowClass = 48;  // bits of a double below the exponent and four of the mantissa
  const double share = static_cast<double>(count) / static_cast<double>(total);
  const std::uint64_t below = (std::bit_cast<std::uint64_t>(1.0) >> kBelowClass) -
                              (std::bit_cast<std::uint64_t>(share) >> kBelowClass);
  return kClasses - 1 - std::min<std::uint64_t>(below, kClasses - 1);
}

/// What a rank counts some rows of the matrix with.
class RowMaker {
 public:
  RowMaker(ThreadPool& pool, const TokenSample& sample, std::span<const std::uint64_t> token_counts,
           const CorpusOptions& options, std::vector<std::uint32_t> tokens, std::size_t least_class)
      : tokens_(std::move(tokens)),
        least_class_(least_class),
        weights_(options.window),
        totals_(corpus::cooccurrence_totals(sample, token_counts, weights_)),
        ppmi_(totals_, options.smoothing),
        positions_(sample, token_counts.size(), tokens_, pool) {
    for (int i = 0; i < pool.size(); ++i) {
      counters_.emplace_back(sample, token_counts.size(), weights_);
    }
  }

  std::size_t rows() const { return tokens_.size(); }
  std::size_t token(std::size_t row) const { return tokens_[row]; }

  /// visit(column, element, element of the transpose, class) for what is not 0 in both, and not
  /// below the least class.
  template <typename Visit>
  void count(std::size_t row, std::size_t thread, const Visit& visit) {
    const std::size_t token = tokens_[row];
    counters_[thread].count(positions_[row], [&](std::size_t other, std::uint64_t count) {
      const std::size_t share_class = class_of(count, std::min(totals_[token], totals_[other]));
      if (share_class < least_class_) return;
      const double log_count = logarithm(static_cast<double>(count));
      const float value = ppmi_(token, other, log_count);
      const float transposed = ppmi_(other, token, log_count);
      if (value != 0 || transposed != 0) visit(other, value, transposed, share_class);
    });
  }

 private:
  std::vector<std::uint32_t> tokens_;  // of the rows
  std::size_t least_class_;
  WindowWeights weights_;
  std::vector<std::uint64_t> totals_;
  Ppmi ppmi_;
  TokenPositions positions_;
  std::vector<RowCounter> counters_;  // one per thread
};

/// `thread pool.deal`, for work that may throw.
template <typename Work>
void deal(ThreadPool& pool, std::size_t count, const Work& work) {
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(pool.size()));
  pool.deal(count, [&](std::size_t i, std::size_t thread) {
    try {
      work(i, thread);
    } catch (...) {  // a thread of a thread pool must not throw
      errors[thread] = std::current_exception();
    }
  });
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

/// The rank's share of `tokens`: every so-manieth, because neighbouring ones have rows of like
/// length.
std::vector<std::uint32_t> share_of(const ranks::ProcessGroup& process_group,
                                    std::span<const std::uint32_t> tokens) {
  std::vector<std::uint32_t> share;
  for (auto i = static_cast<std::size_t>(process_group.rank()); i < tokens.size();
       i += static_cast<std::size_t>(process_group.size())) {
    share.push_back(tokens[i]);
  }
  return share;
}

/// One in `step` of all tokens, evenly spaced by frequency.
std::vector<std::uint32_t> surveyed_tokens(std::span<const std::uint64_t> token_counts,
                                           std::size_t step) {
  std::vector<std::uint32_t> tokens(token_counts.size()), result;
  std::iota(tokens.begin(), tokens.end(), std::uint32_t{0});
  std::ranges::stable_sort(
      tokens, [&](std::uint32_t a, std::uint32_t b) { return token_counts[a] > token_counts[b]; });
  for (std::size_t i = step / 2; i < tokens.size(); i += step) result.push_back(tokens[i]);
  return result;
}

}  // namespace

PairSurvey survey_pairs(ranks::ProcessGroup& process_group, ThreadPool& pool,
                        const TokenSample& sample, std::size_t vocabulary,
                        const CorpusOptions& options) {
  PairSurvey survey;
  std::vector<std::int64_t> pairs(kClasses);
  const std::size_t step = std::clamp<std::size_t>(vocabulary / kFewRows, 1, kSurveyed);
  ranks::in_agreement(process_group, [&] {
    survey.token_counts = count_tokens(sample, vocabulary, pool);
    const auto tokens = surveyed_tokens(survey.token_counts, step);
    RowMaker maker(pool, sample, survey.token_counts, options, share_of(process_group, tokens), 0);
    std::vector<std::vector<std::int64_t>> counts(static_cast<std::size_t>(pool.size()),
                                                  std::vector<std::int64_t>(kClasses));
    deal(pool, maker.rows(), [&](std::size_t row, std::size_t thread) {
      maker.count(row, thread, [&](std::size_t, float, float, std::size_t share_class) {
        ++counts[thread][share_class];
      });
    });
    for (const auto& mine : counts) std::ranges::transform(mine, pairs, pairs.begin(), std::plus());
  });
  process_group.all_reduce(std::span(pairs));
  survey.least_class = kClasses;
  for (std::uint64_t kept = 0; survey.least_class > 0; --survey.least_class) {
    kept += step * static_cast<std::uint64_t>(pairs[survey.least_class - 1]);
    if (kept > options.most_pairs) break;
    survey.pairs = kept;
  }
  return survey;
}

PpmiMatrix make_matrix(ranks::ProcessGroup& process_group, ThreadPool& pool,
                       const TokenSample& sample, const PairSurvey& survey,
                       const CorpusOptions& options) {
  PpmiMatrix result;
  SparseRows& blocks = result.matrix.rows;
  const std::size_t vocabulary = survey.token_counts.size();
  result.matrix.size = vocabulary;
  ranks::in_agreement(process_group, [&] {
    std::vector<std::uint32_t> tokens(vocabulary);
    std::iota(tokens.begin(), tokens.end(), std::uint32_t{0});
    RowMaker maker(pool, sample, survey.token_counts, options, share_of(process_group, tokens),
                   survey.least_class);
    blocks.resize((maker.rows() + kRowsAtATime - 1) / kRowsAtATime);
    std::vector<SparseBlock> rooms(static_cast<std::size_t>(pool.size()));
    deal(pool, blocks.size(), [&](std::size_t block, std::size_t thread) {
      SparseBlock& room = rooms[thread];
      room.clear();
      const std::size_t end = std::min(maker.rows(), (block + 1) * kRowsAtATime);
      for (std::size_t row = block * kRowsAtATime; row < end; ++row) {
        maker.count(row, thread,
                    [&](std::size_t other, float value, float transposed, std::size_t) {
                      room.add(other, value, transposed);
                    });
        room.end_row(maker.token(row));
      }
      blocks[block] = room;  // which takes no more than there is in it
    });
  });
  std::vector<double> squares(vocabulary);
  std::int64_t nonzeros = 0;
  for (const SparseBlock& block : blocks) {
    block.add_squares(squares);
    nonzeros += static_cast<std::int64_t>(block.nonzeros());
  }
  process_group.all_reduce(std::span(&nonzeros, 1));
  merge(process_group, std::span(squares));
  result.nonzeros = static_cast<std::uint64_t>(nonzeros);
  result.energy = std::accumulate(squares.begin(), squares.end(), 0.0);
  return result;
}

std::uint64_t counting_bytes(std::uint64_t tokens, std::uint64_t vocabulary, int ranks,
                             int threads) {
  const auto shares = static_cast<std::uint64_t>(ranks);
  const std::uint64_t of_a_thread = sizeof(std::uint64_t) * vocabulary +  // counts of a row
                                    2 * SparseBlock::kBytes * kRowsAtATime * vocabulary / 4;
  return TokenPositions::bytes_for(tokens / shares, vocabulary / shares, vocabulary, threads) +
         of_a_thread * static_cast<std::uint64_t>(threads);
}

}  // namespace cllm::corpus
