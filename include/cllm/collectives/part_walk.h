#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

#include "cllm/ranks/process_group.h"

namespace cllm::collectives {

/// Part `index` of `count` contiguous parts that a part falls into. The first ones have one element
/// more where it doesn't divide evenly.
inline ranks::Part part_of(ranks::Part whole, std::size_t count, std::size_t index) {
  const auto begin = [&](std::size_t part) {
    return part * (whole.size / count) + std::min(part, whole.size % count);
  };
  return {whole.offset + begin(index), begin(index + 1) - begin(index)};
}

/// A walk over all parts of an array in the order in which a ring has to do with them: one part
/// from its beginning to its end, then the one before it, and before the first the last; in pieces
/// of at most `longest` elements, none of which is empty. The parts must outlive it.
class PartWalk {
 public:
  PartWalk() = default;
  PartWalk(std::span<const ranks::Part> parts, std::size_t first, std::size_t longest)
      : parts_(parts), part_(first % parts.size()), longest_(longest) {
    for (const ranks::Part& part : parts) left_ += part.size;
    skip_empty();
  }

  bool at_end() const { return left_ == 0; }
  /// Elements before this piece, in the order of the walk.
  std::size_t walked() const { return walked_; }
  /// Where this piece begins in the array, and how long it is.
  std::size_t begin() const { return parts_[part_].offset + offset_; }
  std::size_t size() const { return std::min(longest_, parts_[part_].size - offset_); }

  void advance() {
    const std::size_t length = size();
    walked_ += length;
    left_ -= length;
    offset_ += length;
    skip_empty();
  }

 private:
  void skip_empty() {
    while (!at_end() && offset_ == parts_[part_].size) {
      part_ = (part_ + parts_.size() - 1) % parts_.size();
      offset_ = 0;
    }
  }

  std::span<const ranks::Part> parts_;
  std::size_t part_ = 0;
  std::size_t offset_ = 0;  ///< in the part
  std::size_t longest_ = 1;
  std::size_t walked_ = 0, left_ = 0;
};

}  // namespace cllm::collectives
