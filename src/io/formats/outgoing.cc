#include <algorithm>
#include <memory>

#include "naming.h"

namespace cllm::io {
namespace {

/// Gives rows of a model's tensors, its factorised table multiplied out.
class Rows {
 public:
  Rows(const model::Layout& dense, const model::Layout& layout, std::span<const float> parameters)
      : layout_(layout), parameters_(parameters) {
    for (std::size_t i = 0, j = 0; i < dense.tensors().size(); ++i, ++j) {
      if (i == 0 && layout.config().is_factorised()) j = layout.embedding_basis();
      place_of_[dense[i].name] = layout[j].offset;
    }
  }

  /// Value (row, column) of a tensor, in whichever order they are asked for.
  const float* row(const model::Tensor& tensor, std::size_t row) const {
    return parameters_.data() + place_of_.at(tensor.name) + row * tensor.columns;
  }

  bool is_product(const model::Tensor& tensor) const {
    return layout_.config().is_factorised() && tensor.name == "wte.weight";
  }

  /// Codes times basis.
  void multiply(std::size_t row, std::span<float> values) const {
    const model::Tensor& codes = layout_[layout_.embedding()];
    const model::Tensor& basis = layout_[layout_.embedding_basis()];
    const float* const code = parameters_.data() + codes.offset + row * codes.columns;
    std::vector<double> sums(values.size());
    for (std::size_t r = 0; r < codes.columns; ++r) {
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
  std::map<std::string, std::size_t> place_of_;
};

/// What all outgoing tensors share.
struct Source {
  Source(const model::Layout& layout, std::span<const float> parameters)
      : dense(dense_config(layout.config())), rows(dense, layout, parameters) {}

  static model::ModelConfig dense_config(model::ModelConfig config) {
    config.embedding_rank = 0;
    return config;
  }

  model::Layout dense;
  Rows rows;
};

void fill(const Rows& rows, const Binding& binding, std::size_t row, std::span<float> values) {
  const model::Tensor& ours = *binding.ours;
  if (rows.is_product(ours)) return rows.multiply(row, values);
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
                                             ElementType matrices, ElementType vectors) {
  const auto source = std::make_shared<const Source>(layout, parameters);
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
