#pragma once

#include <cstddef>

namespace cllm::model {

/// Consecutive rows of a micro-batch, and the number of the token block that they are in.
struct Rows {
  std::size_t first, count, block;
};

/// Rows of `columns` floats, `stride` apart, whose owner is elsewhere.
template <typename Float>
struct BasicView {
  Float* data;
  std::size_t columns;
  std::size_t stride;

  Float* row(std::size_t index) const { return data + index * stride; }
  /// From this row on.
  BasicView from(std::size_t row) const { return {data + row * stride, columns, stride}; }
  /// `count` of the columns, from the `first` on.
  BasicView columns_from(std::size_t first, std::size_t count) const {
    return {data + first, count, stride};
  }
};
using View = BasicView<float>;
using ConstView = BasicView<const float>;

}  // namespace cllm::model
