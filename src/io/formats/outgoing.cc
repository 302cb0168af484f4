#include <algorithm>
#include <memory>

#include "naming.h"

namespace cllm::io {
namespace {

/// Gives rows of a model's tensors, its table of tokens multiplied out to one matrix, by tokens.
class Rows {
 public:
  Rows(const model::Layout& layout, std::span<const float> parameters,
       std::span<const std::uint32_t> token_rows)
      : layout_(layout),
        parameters_(parameters),
        token_rows_(token_rows.begin(), token_rows.end()) {
    for (const model::Tensor& tensor : layout.tensors()) place_of_[tensor.name] = tensor.offset;
  }

  /// Values of a tensor from (row, 0) on, in whichever order they are asked for.
  const float* row(const model::Tensor& tensor, std::size_t row) const {
    return parameters_.data() + place_of_.at(tensor.name) + row * tensor.columns;
  }

  /// Whether the tensor isn't one of the model's as it is.
  bool is_made(const model::Tensor& tensor) const { return !place_of_.contains(tensor.name); }

  /// The token's row of the embedding or of the head.
  void make(const model::Tensor& tensor, std::size_t token, std::span<float> values) const {
    const std::size_t row = token_rows_.empty() ? token : token_rows_[token];
    const auto bands = tensor.name == "wte.weight" ? layout_.embedding() : layout_.lm_head();
    const model::TableBand& band =
        *std::ranges::find_if(bands, [&](const model::TableBand& b) { return b.has(row); });
    const model::Tensor& table = layout_[band.tensor];
    const float* const code =
        parameters_.data() + table.offset + (row - band.first_row) * table.columns;
    if (!band.basis) {
      std::copy_n(code, values.size(), values.begin());
      return;
    }
    const model::Tensor& basis = layout_[*band.basis];
    std::vector<double> sums(values.size());
    for (std::size_t r = 0; r < table.columns; ++r) {
      const float* const of_basis = parameters_.data() + basis.offset + r * basis.columns;
      for (std::size_t c = 0; c < sums.size(); ++c) {
        sums[c] += static_cast<double>(code[r]) * static_cast<double>(of_basis[c]);
      }
    }
    std::ranges::transform(sums, values.begin(), [](double x) { return static_cast<float>(x); });
  }

 private:
  const model::Layout& layout_;
  std::span<const float> parameters_;
  std::vector<std::uint32_t> token_rows_;
  std::map<std::string, std::size_t> place_of_;
};

/// What all outgoing tensors share.
struct Source {
  Source(const model::Layout& layout, std::span<const float> parameters,
         std::span<const std::uint32_t> token_rows)
      : dense(dense_config(layout.config())), rows(layout, parameters, token_rows) {}

  static model::ModelConfig dense_config(model::ModelConfig config) {
    config.embedding_rank = 0;
    config.bands = {};
    return config;
  }

  model::Layout dense;
  Rows rows;
};

void fill(const Rows& rows, const Binding& binding, std::size_t row, std::span<float> values) {
  const model::Tensor& ours = *binding.ours;
  if (rows.is_made(ours)) return rows.make(ours, row, values);
  if (!ours.is_matrix()) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = *rows.row(ours, binding.first_row + binding.our_row(i));
    }
  } else if (binding.form == Form::kTransposed) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = rows.row(ours, binding.first_row + i)[row];
    }
  } else {
    std::copy_n(rows.row(ours, binding.first_row + binding.our_row(row)), values.size(),
                values.begin());
  }
}

}  // namespace

std::vector<OutgoingTensor> outgoing_tensors(const Naming& naming, const model::Layout& layout,
                                             std::span<const float> parameters,
                                             std::span<const std::uint32_t> token_rows,
                                             ElementType matrices, ElementType vectors) {
  const auto source = std::make_shared<const Source>(layout, parameters, token_rows);
  std::vector<OutgoingTensor> tensors;
  for (const Binding& binding : bindings(naming, source->dense)) {
    tensors.push_back({.name = binding.theirs,
                       .type = binding.ours->is_matrix() ? matrices : vectors,
                       .shape = binding.shape(),
                       .fill = [source, binding](std::size_t row, std::span<float> values) {
                         fill(source->rows, binding, row, values);
                       }});
  }
  return tensors;
}

}  // namespace cllm::io
