#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cllm/base/file.h"
#include "cllm/data/sampler.h"
#include "cllm/data/token_marks.h"

namespace cllm::data {

/// What came of packing documents into rows.
struct PackingFigures {
  std::uint64_t documents = 0;
  std::uint64_t rows = 0;
  std::uint64_t padding = 0;    ///< positions of rows that hold no target
  std::uint64_t long_ones = 0;  ///< documents that are longer than a row
  std::uint64_t continued = 0;  ///< further rows that these go on in
};

/// Note [Packing]. Documents are taken in their order. A row has T+1 tokens, and takes whole
/// documents one after the other as long as they fit; one that doesn't begins the next row, and
/// what is left of the row is padding. A document of more than T+1 tokens begins a row and goes on
/// in further ones, each of which begins with the last token of the row before, so that every token
/// but a document's first, in front of a row, is a target once; behind its end others may follow.
/// Nothing is left out. Calls sink(row) for each row.
PackingFigures pack_documents(const Documents& documents, std::uint64_t context,
                              const std::function<void(const Row&)>& sink);

/// The rows of a part's documents: a table in memory, or in a file that is mapped, of 16 bytes for
/// each row. Reading is thread-safe.
class DocumentRows {
 public:
  /// Packs them in memory.
  DocumentRows(const Documents& documents, std::uint64_t tokens, std::uint64_t context);
  /// Opens what `write` wrote for so many tokens and this context. Throws Error that names the file
  /// where it is not that; with `reads_all`, also where its rows don't have their digest.
  DocumentRows(const std::filesystem::path& path, std::uint64_t tokens, std::uint64_t context,
               bool reads_all = false);
  /// Packs them into a file, whole or not at all. Throws Error that names it.
  static void write(const std::filesystem::path& path, const Documents& documents,
                    std::uint64_t tokens, std::uint64_t context);

  std::uint64_t size() const { return rows_.size() / 2; }
  /// Throws Error where the table leads out of the tokens: it was changed.
  Row operator[](std::uint64_t i) const;
  std::uint64_t context() const { return context_; }
  const PackingFigures& figures() const { return figures_; }

 private:
  MappedFile file_;
  std::vector<std::uint64_t> memory_;
  std::span<const std::uint64_t> rows_;  // first and count of each
  std::uint64_t tokens_, context_;
  PackingFigures figures_;
};

/// The order in which training reads rows of documents: each once in an epoch, in the order of a
/// `Permutation`. Immutable and thread-safe.
class DocumentOrder final : public RowOrder {
 public:
  DocumentOrder(std::uint64_t seed, std::shared_ptr<const DocumentRows> rows)
      : rows_(std::move(rows)), permutation_(order_key(seed), rows_->size()) {}

  Row row(std::uint64_t sequence_index) const override {
    const std::uint64_t size = rows_->size();
    return (*rows_)[permutation_.at(sequence_index / size, sequence_index % size)];
  }
  std::uint64_t rows_per_epoch() const override { return rows_->size(); }
  bool has_whole_rows() const override { return rows_->figures().padding == 0; }
  std::uint64_t context() const override { return rows_->context(); }

 private:
  std::shared_ptr<const DocumentRows> rows_;
  Permutation permutation_;
};

}  // namespace cllm::data
