#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cllm/io/formats/tensor_archive.h"
#include "cllm/model/layout.h"

namespace cllm::io {

/// How the rows of a foreign tensor lie against ours.
enum class Form {
  kSame,
  kTransposed,  ///< (in, out), as transformers' Conv1D has them
  /// Of queries and keys: within a head, the halves are exchanged. transformers' NanoChat turns
  /// pairs of numbers the other way round, and so does this; scores are the same.
  kHalvesSwapped,
  /// Of queries and keys: within a head, the numbers that are turned together, which are half a
  /// head apart with us, stand side by side. llama.cpp has that of its architecture "llama".
  kPairsTogether,
};

/// A foreign tensor. A '*' in a name stands for the number of a layer.
struct ForeignTensor {
  std::string_view name;
  Form form = Form::kSame;
};

/// One of our tensors and those that it is made of, one below the other in its pieces.
struct TensorRule {
  std::string_view ours;
  std::vector<ForeignTensor> theirs;
};

/// All names of a format and family.
struct Naming {
  std::vector<TensorRule> rules;
  /// Names of what is no weight and may be left out.
  std::vector<std::string_view> ignored = {};
  /// What files of a model without a head of its own lack in front of all names.
  std::string_view prefix = {};
};

/// The names of transformers, by model_type: gpt2, llama, qwen3 or nanochat.
const Naming& transformers_naming(std::string_view model_type);
/// The names of GGUF files, by general.architecture: gpt2, llama or qwen3.
const Naming& gguf_naming(std::string_view architecture);
/// The names that the tensors of llm.c are listed under, which has none: ours.
const Naming& llm_c_naming();

/// A part of one of our tensors and the foreign one that it goes to or comes from.
struct Binding {
  std::string theirs;
  const model::Tensor* ours;
  std::size_t first_row, rows;  ///< of ours
  Form form;
  std::size_t head_size;  ///< d

  /// The row of ours that row `row` of theirs is. Not for Form::kTransposed.
  std::size_t our_row(std::size_t row) const;
  /// Of theirs: (rows, columns), (columns, rows) or (rows).
  std::vector<std::uint64_t> shape() const;
};

/// All bindings of a model, with the layout's tensors, which must outlive them. Throws Error where
/// a tensor has no name there.
std::vector<Binding> bindings(const Naming& naming, const model::Layout& layout);

/// Throws Error, one sentence that names a file of the archive, which came from `path`: where a
/// tensor is missing, has another shape or a type that weights don't have, where the archive has
/// one that the model has no place for, and where the output layer that a tied model has beside its
/// table is another matrix. Then the archive has as many numbers as the layout.
void check_weights(const TensorArchive& archive, const Naming& naming, const std::string& path,
                   const model::Layout& layout);

/// Fills a flat buffer of the layout from an archive that was checked. Throws Error where a number
/// isn't finite.
void read_weights(const TensorArchive& archive, const Naming& naming, const model::Layout& layout,
                  std::span<float> parameters);

/// The tensors to write, under foreign names, in the order of the layout: matrices with one type,
/// vectors with another. They refer to `parameters`, a flat buffer of the layout, and to the
/// layout, which must outlive them. A table of tokens that is factorised or has bands becomes one
/// matrix, multiplied out in double, whose rows are tokens again; `token_rows`: io::RunState.
std::vector<OutgoingTensor> outgoing_tensors(const Naming& naming, const model::Layout& layout,
                                             std::span<const float> parameters,
                                             std::span<const std::uint32_t> token_rows,
                                             ElementType matrices, ElementType vectors);

}  // namespace cllm::io
