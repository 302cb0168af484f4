#include "cllm/model/places.h"

#include <algorithm>
#include <numeric>

namespace cllm::model {

Places::Places(const Layout& layout) {
  place(layout, [](const Tensor&) { return true; });
}

Places::Places(const Layout& layout, bool (*has)(Role)) {
  place(layout, [&](const Tensor& tensor) { return tensor.is_trained && has(tensor.role); });
}

template <typename Has>
void Places::place(const Layout& layout, const Has& has) {
  places_.resize(layout.tensors().size());
  std::vector<std::size_t> order(places_.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](std::size_t tensor) { return layout[tensor].offset; });
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (!has(layout[order[i]])) continue;
    places_[order[i]] = size_;
    const std::size_t next =
        i + 1 < order.size() ? layout[order[i + 1]].offset : layout.flat_size();
    size_ += next - layout[order[i]].offset;
  }
}

}  // namespace cllm::model
