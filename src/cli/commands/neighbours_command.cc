#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <utility>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/cli/commands/commands.h"
#include "cllm/cli/run/checkpoints.h"
#include "cllm/corpus/signatures.h"
#include "cllm/kernels/blas.h"
#include "cllm/ranks/agreement.h"

namespace cllm::cli {
namespace {

/// How many tokens of a text that is not one are named.
constexpr std::size_t kMostNamed = 12;

/// The vectors that stand for tokens, as rows (V, C).
std::vector<float> token_vectors(const LoadedModel& model) {
  const model::Layout& layout = model.model.layout();
  const auto tensor = [&](std::size_t index) {
    return model.parameters.span().subspan(layout[index].offset, layout[index].size());
  };
  const std::size_t v = layout.config().vocabulary, c = layout.config().channels;
  std::vector<float> by_rows(v * c);
  for (const model::TableBand& band : layout.embedding()) {
    const std::span<const float> rows = tensor(band.tensor);
    float* const place = by_rows.data() + band.first_row * c;
    if (band.basis) {
      const std::size_t r = layout[band.tensor].columns;
      kernels::sgemm(kernels::Transpose::kNo, kernels::Transpose::kNo, band.rows, c, r, 1.0f,
                     rows.data(), r, tensor(*band.basis).data(), c, 0.0f, place, c);
    } else {
      std::ranges::copy(rows, place);
    }
  }
  const std::vector<std::uint32_t>& row_of = model.run.token_rows;
  if (row_of.empty()) return by_rows;
  std::vector<float> by_tokens(v * c);
  for (std::size_t token = 0; token < v; ++token) {
    std::copy_n(by_rows.data() + row_of[token] * c, c, by_tokens.data() + token * c);
  }
  return by_tokens;
}

/// "▁state (#123)".
std::string name_of(const data::Tokenizer& tokenizer, std::uint32_t token) {
  return fmt::format("{} (#{})", tokenizer.piece(token), token);
}

/// The token that is given as "#123" or as its text.
std::uint32_t parse_token(const data::Tokenizer& tokenizer, const std::string& text) {
  if (text.starts_with("#") && text.size() > 1) {
    std::uint32_t token = 0;
    const char* end = text.data() + text.size();
    const auto [stop, code] = std::from_chars(text.data() + 1, end, token);
    if (code == std::errc() && stop == end) {
      if (token >= tokenizer.vocabulary()) {
        fail("TOKEN {}: there is no such token; give #0 to #{}", text, tokenizer.vocabulary() - 1);
      }
      return token;
    }
  }
  const auto [tokens, lost] = tokenizer.encode_counting(text);
  if (lost > 0) fail("TOKEN {:?}: {}; give #ID", text, data::lost_text(lost, text.size()));
  if (tokens.size() == 1) return tokens[0];
  if (tokens.empty()) fail("TOKEN: give the text of a token, or #ID");
  std::string names;
  for (std::size_t i = 0; i < std::min(tokens.size(), kMostNamed); ++i) {
    names += fmt::format("{}{}", i > 0 ? ", " : "", name_of(tokenizer, tokens[i]));
  }
  if (tokens.size() > kMostNamed) names += ", …";
  fail("TOKEN {:?} is {} tokens: {}; give one of them, as #ID", text, tokens.size(), names);
}

/// Cosines of two tokens' vectors; 0 where one is zero or too large.
class Cosines {
 public:
  Cosines(std::span<const float> vectors, std::size_t channels)
      : vectors_(vectors), channels_(channels) {}

  double operator()(std::uint32_t a, std::uint32_t b) const {
    const double norms = std::sqrt(dot(a, a) * dot(b, b));
    return norms > 0 && std::isfinite(norms) ? dot(a, b) / norms : 0;
  }

 private:
  double dot(std::uint32_t a, std::uint32_t b) const {
    double sum = 0;
    for (std::size_t i = 0; i < channels_; ++i) {
      sum += static_cast<double>(vectors_[a * channels_ + i]) *
             static_cast<double>(vectors_[b * channels_ + i]);
    }
    return sum;
  }

  std::span<const float> vectors_;
  std::size_t channels_;
};

/// The `count` tokens whose rows have the largest cosines with the token's, the largest first.
std::vector<std::uint32_t> nearest_rows(const Cosines& cosine, std::uint32_t token,
                                        std::size_t vocabulary, std::size_t count) {
  std::vector<std::pair<double, std::uint32_t>> by_distance;
  for (std::uint32_t other = 0; other < vocabulary; ++other) {
    if (other != token) by_distance.emplace_back(-cosine(token, other), other);
  }
  const auto end =
      by_distance.begin() + static_cast<std::ptrdiff_t>(std::min(count, by_distance.size()));
  std::partial_sort(by_distance.begin(), end, by_distance.end());
  std::vector<std::uint32_t> nearest;
  std::transform(by_distance.begin(), end, std::back_inserter(nearest),
                 [](const auto& each) { return each.second; });
  return nearest;
}

}  // namespace

void declare_neighbours_options(CLI::App& app, NeighboursSettings& s) {
  add_option(app, "--checkpoint", s.checkpoint, kModelHelp)->type_name("PATH")->required();
  add_option(app, "token", s.token, "the token's text, or #ID", Blank::kText)->required();
  add_option(app, "--count", s.count, "tokens to list")->type_name("N")->capture_default_str();
}

void neighbours_command(const NeighboursSettings& settings, ranks::ProcessGroup& process_group) {
  ranks::in_agreement(process_group, [&] {
    if (process_group.rank() != 0) return;
    if (settings.count == 0) fail("--count 0: give at least 1");
    const LoadedModel loaded(settings.checkpoint);
    const data::Tokenizer& tokenizer = loaded.require_tokenizer();
    const std::uint32_t token = parse_token(tokenizer, settings.token);

    kernels::prepare_blas(1);
    const std::vector<float> vectors = token_vectors(loaded);
    const Cosines cosine(vectors, loaded.run.model.channels);
    const std::vector<std::uint32_t> by_embedding =
        nearest_rows(cosine, token, tokenizer.vocabulary(), settings.count);
    const corpus::Signatures signatures(tokenizer, loaded.kernels);
    const corpus::RelativeIndex index(signatures);
    corpus::RelativeIndex::Scratch scratch(index);
    const auto by_primes = index.relatives(token, settings.count, scratch);

    fmt::print("neighbours of {}\n", name_of(tokenizer, token));
    fmt::print("{:<44} {}\n", "by the embedding", "by spelling (primes)");
    fmt::print("{0:>6} {1:>6}  {2:<28} {0:>6} {1:>6}  {2}\n", "cosine", "primes", "token");
    const auto column = [&](std::uint32_t other) {
      return fmt::format("{:>6.3f} {:>6.3f}  {:<28}", cosine(token, other),
                         signatures.similarity(token, other), name_of(tokenizer, other));
    };
    for (std::size_t i = 0; i < std::max(by_embedding.size(), by_primes.size()); ++i) {
      const std::string left =
          i < by_embedding.size() ? column(by_embedding[i]) : std::string(44, ' ');
      const std::string right = i < by_primes.size() ? column(by_primes[i].token) : "";
      const std::string line = left + " " + right;
      fmt::print("{}\n", line.substr(0, line.find_last_not_of(' ') + 1));
    }
    std::fflush(stdout);
  });
}

}  // namespace cllm::cli
