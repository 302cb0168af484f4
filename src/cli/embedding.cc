#include "cllm/cli/embedding.h"

#include <fmt/format.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "cllm/base/memory.h"
#include "cllm/io/checkpoint.h"
#include "cllm/train/corpus_start.h"
#include "cllm/train/corpus_vectors.h"
#include "cllm/train/progress.h"

namespace cllm::cli {
namespace {

/// The tensors that make up the token table: one, or codes and basis.
std::vector<std::span<float>> table_of(const model::Layout& layout, std::span<float> parameters) {
  std::vector<std::span<float>> parts;
  const std::size_t end = layout.config().is_reduced() ? layout.basis() + 1 : layout.table() + 1;
  for (std::size_t index = layout.table(); index < end; ++index) {
    parts.push_back(parameters.subspan(layout[index].offset, layout[index].size()));
  }
  return parts;
}

std::string bytes_of(const std::vector<std::span<float>>& parts) {
  std::string bytes;
  for (const auto& part : parts) {
    bytes.append(reinterpret_cast<const char*>(part.data()), part.size_bytes());
  }
  return bytes;
}

void fill(const std::string& bytes, const std::vector<std::span<float>>& parts) {
  const char* from = bytes.data();
  for (const auto& part : parts) {
    std::memcpy(part.data(), from, part.size_bytes());
    from += part.size_bytes();
  }
}

}  // namespace

TableHistory table_history(const Origin& origin) {
  return {.facts = table_facts(origin.state),
          .lattice = io::read_run_state(origin.checkpoint).lattice};
}

TableHistory start_table(const TableStart& start, train::Collective& collective,
                         std::span<float> parameters) {
  const TrainSettings& s = start.settings;
  TableHistory history;
  if (!parse_corpus_init(s.embedding_init)) {
    history.facts = nlohmann::json{{"init", "random"}}.dump();
    return history;
  }
  train::CorpusVectors vectors = train::corpus_vectors(
      collective, start.crew, start.kernels, start.data.train.tokens, start.data.vocabulary,
      {.rank = start.layout.config().table_width(),
       .seed = s.seed,
       .cache = start.cache,
       .free_bytes = [&] { return available_memory() / start.ranks_here; }},
      start.say);
  const auto parts = table_of(start.layout, parameters);
  const std::string bytes = train::on_rank_0(collective, [&] {
    std::optional<data::Signatures> signatures;
    if (start.data.tokenizer) signatures.emplace(*start.data.tokenizer, start.kernels);
    const train::StartedTable table = train::start_from_corpus(
        start.layout, vectors, signatures ? &*signatures : nullptr,
        {.lattice = parse_lattice_basis(s.embedding_basis), .rare_below = s.rare_tokens},
        start.crew, parameters);
    history.lattice = table.lattice;
    history.facts = nlohmann::json{{"init", "corpus"},
                                   {"energy_kept", vectors.energy_kept()},
                                   {"rare_tokens", table.rare.rare},
                                   {"from_relatives", table.rare.started}}
                        .dump();
    start.say(fmt::format(
        "table   from the corpus in {:.1f} s{}: {:.3f} of the energy of {} co-occurrences in {} "
        "dimensions; {} of {} rare tokens from their relatives",
        vectors.seconds, vectors.from_cache ? " (from the cache)" : "", vectors.energy_kept(),
        train::count_text(static_cast<double>(vectors.nonzeros)), vectors.rank, table.rare.started,
        table.rare.rare));
    return bytes_of(parts);
  });
  fill(bytes, parts);
  return history;
}

}  // namespace cllm::cli
