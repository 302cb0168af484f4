#include "cllm/cli/run/mixing.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>

#include "cllm/base/error.h"

namespace cllm::cli {
namespace {

using Counts = std::vector<std::uint64_t>;

/// What a run mixed until it was saved.
struct Before {
  data::Mixture mixture;
  std::vector<std::string> digests;  // of the sources
  std::uint64_t sequences;           // read
};

/// Nothing of a checkpoint that says nothing of its sources: all was one, from the beginning.
std::optional<Before> mixture_before(const StartingPoint& start) {
  const nlohmann::json state = nlohmann::json::parse(start.state);
  if (!state.contains("mixture")) return {};
  try {
    const nlohmann::json& facts = state.at("mixture");
    Counts parts, taken;
    std::vector<std::string> digests;
    for (const nlohmann::json& source : facts.at("sources")) {
      digests.push_back(source.at("digest"));
      parts.push_back(source.at("parts"));
      taken.push_back(source.at("taken"));
    }
    const std::uint64_t from = facts.at("from"), sequences = state.at("sequences");
    if (from > sequences) fail("it begins behind the sequences that were read");
    return Before{data::Mixture(parts, from, taken), digests, sequences};
  } catch (const nlohmann::json::exception&) {
    fail("{}: its /run/state says nothing sensible of its sources; use another checkpoint",
         start.checkpoint);
  } catch (const Error& error) {
    fail("{}: the mixture in its /run/state: {}; use another checkpoint", start.checkpoint,
         error.what());
  }
}

std::vector<std::string> digests_of(const data::PreparedMixture& data) {
  std::vector<std::string> digests;
  for (const data::PreparedData& source : data.sources) digests.push_back(source.digest());
  return digests;
}

std::string facts_of(const data::Mixture& mixture, const data::PreparedMixture& data) {
  const Counts taken = mixture.taken(mixture.from());
  if (mixture.size() == 1 && mixture.from() == 0 && taken[0] == 0) return {};
  nlohmann::json sources = nlohmann::json::array();
  for (std::size_t i = 0; i < mixture.size(); ++i) {
    sources.push_back({{"data", data.names[i]},
                       {"digest", data.sources[i].digest()},
                       {"parts", mixture.parts()[i]},
                       {"taken", taken[i]}});
  }
  return nlohmann::json{{"from", mixture.from()}, {"sources", sources}}.dump();
}

}  // namespace

Mixing find_mixing(const StartingPoint& start, const data::PreparedMixture& data) {
  const auto mixing = [&](data::Mixture mixture, std::vector<std::string> lines = {}) {
    std::string facts = facts_of(mixture, data);
    return Mixing{std::move(mixture), std::move(facts), std::move(lines)};
  };
  data::Mixture now(data.parts);
  if (!start.resumes()) return mixing(std::move(now));
  std::optional<Before> before = mixture_before(start);
  if (!before) {
    // One text in place of another goes on where that was, as ever.
    if (data.sources.size() == 1) return mixing(std::move(now));
    const nlohmann::json state = nlohmann::json::parse(start.state);
    before = Before{
        data::Mixture({1}), {state.value("data", "")}, state.value("sequences", std::uint64_t{0})};
  }
  const std::vector<std::string> digests = digests_of(data);
  if (digests == before->digests && now.parts() == before->mixture.parts()) {
    return mixing(before->mixture);
  }
  const Counts read = before->mixture.taken(before->sequences);
  Counts taken;
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < digests.size(); ++i) {
    const auto known = std::ranges::find(before->digests, digests[i]);
    const bool is_new = known == before->digests.end();
    taken.push_back(is_new ? 0 : read[static_cast<std::size_t>(known - before->digests.begin())]);
    lines.push_back(fmt::format(
        "changed {} is {:.3g} % of the sequences from now on, and {}", data.names[i],
        100 * now.share(i),
        is_new ? "begins at its beginning"
               : fmt::format("goes on behind the {} that were read of it", taken.back())));
  }
  return mixing(data::Mixture(data.parts, before->sequences, taken), std::move(lines));
}

}  // namespace cllm::cli
