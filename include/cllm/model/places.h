#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "cllm/model/layout.h"

namespace cllm::model {

/// Where tensors lie in a buffer that has some of them alone: one behind the other in the order of
/// flat buffers, and aligned alike. Immutable, so thread-safe.
class Places {
 public:
  /// Of all tensors: where the layout has them.
  explicit Places(const Layout& layout);
  /// Of the tensors that are trained, of some roles. `has`: whether the buffer has those of a role.
  Places(const Layout& layout, bool (*has)(Role));
  /// Of so many elements of each tensor; it lacks those with none.
  Places(const Layout& layout, std::span<const std::size_t> sizes);

  /// The first element of a tensor, by its index in the layout; nothing where the buffer lacks it.
  std::optional<std::size_t> operator[](std::size_t tensor) const { return places_[tensor]; }
  /// Floats of the buffer.
  std::size_t size() const { return size_; }

 private:
  /// size(tensor): of its elements, or 0.
  template <typename Size>
  void place(const Layout& layout, const Size& size);

  std::vector<std::optional<std::size_t>> places_;
  std::size_t size_ = 0;
};

/// For `Places`: tensors of all roles.
constexpr bool every_role(Role) { return true; }

}  // namespace cllm::model
