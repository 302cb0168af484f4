#include "cllm/model/places.h"

#include <algorithm>
#include <numeric>

namespace cllm::model {

Places::Places(const Layout& layout) {
  place(layout, [&](std::size_t tensor) { return layout[tensor].size(); });
}

Places::Places(const Layout& layout, bool (*has)(Role)) {
  place(layout, [&](std::size_t tensor) {
    const Tensor& t = layout[tensor];
    return t.is_trained && has(t.role) ? t.size() : 0;
  });
}

Places::Places(const Layout& layout, std::span<const std::size_t> sizes) {
  place(layout, [&](std::size_t tensor) { return sizes[tensor]; });
}

template <typename Size>
void Places::place(const Layout& layout, const Size& size) {
  places_.resize(layout.tensors().size());
  std::vector<std::size_t> order(places_.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](std::size_t tensor) { return layout[tensor].offset; });
  for (const std::size_t tensor : order) {
    const std::size_t elements = size(tensor);
    if (elements == 0) continue;
    places_[tensor] = size_;
    size_ += Layout::aligned(elements);
  }
}

}  // namespace cllm::model
