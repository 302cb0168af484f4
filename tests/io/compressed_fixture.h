#pragma once

#include <string>
#include <vector>

#include "checkpoint_fixture.h"
#include "cllm/io/compressed_model.h"
#include "cllm/lattice/certificates/certificate_code.h"
#include "cllm/lattice/coded_matrix.h"

namespace cllm::io {

/// A model with matrices of columns that E8 has whole blocks for, and of others.
inline constexpr model::ModelConfig kCompressedModel{
    .layers = 1, .heads = 2, .channels = 10, .context = 5, .vocabulary = 17};

/// A compressed model of random weights, whose errors all cost the same.
struct CompressedContent {
  explicit CompressedContent(lattice::Method method)
      : content(random_content(kCompressedModel, 1)),
        matrices{.method = method,
                 .codes = std::vector<std::string>(content.layout.tensors().size()),
                 .certificates = std::vector<std::string>(content.layout.tensors().size())} {
    content.run.compression = R"({"bits": 4})";
    RandomStream random(3, 0);
    for (std::size_t i = 0; i < content.layout.tensors().size(); ++i) {
      const model::Tensor& tensor = content.layout[i];
      const auto buffer = content.parameters.span().subspan(tensor.offset, tensor.size());
      for (float& value : buffer) value = static_cast<float>(random.normal());
      if (!tensor.is_matrix()) continue;
      std::vector<double> unit(tensor.columns * tensor.columns);
      for (std::size_t c = 0; c < tensor.columns; ++c) unit[c * (tensor.columns + 1)] = 1;
      const std::vector<double> rows(tensor.rows, 1.0);
      const lattice::WeightLattice lattice(unit, rows, {.method = method});
      const lattice::CodedMatrix coded = lattice::code_matrix(lattice, buffer, 0.25, 1);
      coded.decode(lattice.kind(), buffer);  // what is to come back
      matrices.codes[i] = coded.pack();
      matrices.certificates[i] = lattice::encode_certificates(lattice.certificates());
    }
  }

  void write(const std::filesystem::path& path) const {
    write_compressed_model(path, content.run, content.layout, matrices, content.parameters.span());
  }

  Content content;
  CompressedMatrices matrices;
};

}  // namespace cllm::io
