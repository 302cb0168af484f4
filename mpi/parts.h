#pragma once

#include <algorithm>
#include <cstddef>

namespace cllm::mpi {

/// An array that falls into contiguous parts. The first ones have one element more where it doesn't
/// divide evenly.
struct Parts {
  std::size_t elements = 0;
  std::size_t count = 1;  ///< of parts

  /// Where a part begins; also for `count`, which is the end of the last.
  std::size_t begin(std::size_t part) const {
    return part * (elements / count) + std::min(part, elements % count);
  }
  std::size_t size(std::size_t part) const { return begin(part + 1) - begin(part); }
};

/// A walk over all parts of an array in the order in which a ring has to do with them: one part
/// from its beginning to its end, then the one before it, and before the first the last; in pieces
/// of at most `longest` elements, none of which is empty.
class PartWalk {
 public:
  PartWalk() = default;
  PartWalk(Parts parts, std::size_t first_part, std::size_t longest)
      : parts_(parts), part_(first_part % parts.count), longest_(longest) {
    skip_empty();
  }

  bool at_end() const { return walked_ == parts_.elements; }
  /// Elements before this piece, in the order of the walk.
  std::size_t walked() const { return walked_; }
  /// Where this piece begins in the array, and how long it is.
  std::size_t begin() const { return parts_.begin(part_) + offset_; }
  std::size_t size() const { return std::min(longest_, parts_.size(part_) - offset_); }

  void advance() {
    const std::size_t length = size();
    walked_ += length;
    offset_ += length;
    skip_empty();
  }

 private:
  void skip_empty() {
    while (!at_end() && offset_ == parts_.size(part_)) {
      part_ = (part_ + parts_.count - 1) % parts_.count;
      offset_ = 0;
    }
  }

  Parts parts_;
  std::size_t part_ = 0;
  std::size_t offset_ = 0;  ///< in the part
  std::size_t longest_ = 1;
  std::size_t walked_ = 0;
};

}  // namespace cllm::mpi
