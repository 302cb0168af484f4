#include "naming.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <set>

#include "cllm/base/error.h"

namespace cllm::io {
namespace {

constexpr std::string_view kTable = "wte.weight", kHead = "lm_head.weight";

/// "h.3.ln_1.weight" is of "h.*.ln_1.weight"; gives "3". Nothing where the name is of another rule.
std::optional<std::string_view> layer_in(std::string_view name, std::string_view pattern) {
  const std::size_t star = pattern.find('*');
  if (star == pattern.npos) {
    if (name != pattern) return std::nullopt;
    return std::string_view();
  }
  const std::string_view before = pattern.substr(0, star), after = pattern.substr(star + 1);
  if (name.size() <= before.size() + after.size() || !name.starts_with(before) ||
      !name.ends_with(after)) {
    return std::nullopt;
  }
  const auto layer = name.substr(before.size(), name.size() - before.size() - after.size());
  if (layer.find_first_not_of("0123456789") != layer.npos) return std::nullopt;
  return layer;
}

std::string with_layer(std::string_view pattern, std::string_view layer) {
  std::string name(pattern);
  if (const std::size_t star = name.find('*'); star != name.npos) name.replace(star, 1, layer);
  return name;
}

/// The rule of a tensor, and its layer.
std::pair<const TensorRule*, std::string> rule_of(const Naming& naming, const std::string& name) {
  for (const TensorRule& rule : naming.rules) {
    if (const auto layer = layer_in(name, rule.ours)) return {&rule, std::string(*layer)};
  }
  fail("{} has no name in that format", name);
}

bool is_ignored(const Naming& naming, std::string_view name) {
  return std::ranges::any_of(naming.ignored, [&](std::string_view pattern) {
    return layer_in(name, pattern) || (pattern.starts_with(naming.prefix) &&
                                       layer_in(name, pattern.substr(naming.prefix.size())));
  });
}

/// A tensor by its name, with the prefix or without.
const std::pair<const std::string, StoredTensor>* find(const TensorArchive& archive,
                                                       const Naming& naming,
                                                       const std::string& name) {
  auto found = archive.tensors.find(name);
  if (found == archive.tensors.end() && name.starts_with(naming.prefix)) {
    found = archive.tensors.find(name.substr(naming.prefix.size()));
  }
  return found == archive.tensors.end() ? nullptr : &*found;
}

/// Throws Error unless weights of that shape can be read from it.
void check_tensor(const std::string& name, const StoredTensor& tensor,
                  const std::vector<std::uint64_t>& shape) {
  if (tensor.shape != shape) {
    fail("{}: {} has the shape {}, and the model needs {}", tensor.file, name,
         shape_in_words(tensor.shape), shape_in_words(shape));
  }
  if (!tensor.type) {
    fail("{}: {} has the type {}, which no weights are read from; save it as F32, F16 or BF16",
         tensor.file, name, tensor.type_name);
  }
}

/// Row `row` of a tensor whose last extent is the length of `values`.
void read_row(const std::string& name, const StoredTensor& tensor, std::size_t row,
              std::span<float> values) {
  const std::size_t bytes = bytes_of(*tensor.type, values.size());
  decode(*tensor.type, tensor.bytes.subspan(row * bytes, bytes), values);
  const bool is_finite =
      std::ranges::all_of(values, [](float value) { return std::isfinite(value); });
  if (!is_finite) {
    fail("{}: {} holds a number that is not finite, so the model can't be used", tensor.file, name);
  }
}

void read_binding(const Binding& binding, const std::string& name, const StoredTensor& tensor,
                  float* ours) {
  const std::size_t columns = binding.ours->columns;
  ours += binding.first_row * columns;
  if (binding.form == Form::kTransposed) {
    std::vector<float> row(binding.rows);
    for (std::size_t i = 0; i < columns; ++i) {
      read_row(name, tensor, i, row);
      for (std::size_t j = 0; j < row.size(); ++j) ours[j * columns + i] = row[j];
    }
    return;
  }
  // A vector of ours has one column, and one row of theirs.
  if (binding.ours->is_matrix()) {
    for (std::size_t i = 0; i < binding.rows; ++i) {
      read_row(name, tensor, i, {ours + binding.our_row(i) * columns, columns});
    }
  } else {
    std::vector<float> values(binding.rows);
    read_row(name, tensor, 0, values);
    for (std::size_t i = 0; i < values.size(); ++i) ours[binding.our_row(i)] = values[i];
  }
}

bool is_head(const Naming& naming, std::string_view name) {
  return std::ranges::any_of(naming.rules, [&](const TensorRule& rule) {
    return rule.ours == kHead && rule.theirs.front().name == name;
  });
}

/// Throws Error unless the head is the table once more.
void require_same_head(const TensorArchive& archive, const Naming& naming, const std::string& name,
                       const StoredTensor& head) {
  const auto rule = std::ranges::find(naming.rules, kTable, &TensorRule::ours);
  const auto* table = find(archive, naming, std::string(rule->theirs.front().name));
  if (head.type_name != table->second.type_name ||
      !std::ranges::equal(head.bytes, table->second.bytes)) {
    fail("{}: {} is another matrix than {}, but the model says that they are tied", head.file, name,
         table->first);
  }
}

}  // namespace

std::size_t Binding::our_row(std::size_t row) const {
  const std::size_t d = head_size, in_head = row % d, head = row - in_head;
  switch (form) {
    case Form::kHalvesSwapped:
      return head + (in_head + d / 2) % d;
    case Form::kPairsTogether:
      return head + in_head % 2 * (d / 2) + in_head / 2;
    case Form::kSame:
    case Form::kTransposed:
      break;
  }
  return row;
}

std::vector<std::uint64_t> Binding::shape() const {
  if (!ours->is_matrix()) return {rows};
  if (form == Form::kTransposed) return {ours->columns, rows};
  return {rows, ours->columns};
}

std::vector<Binding> bindings(const Naming& naming, const model::Layout& layout) {
  std::vector<Binding> result;
  for (const model::Tensor& tensor : layout.tensors()) {
    const auto [rule, layer] = rule_of(naming, tensor.name);
    // A bias has the pieces of its matrix, which stands before it.
    std::vector<std::size_t> pieces = tensor.pieces;
    if (rule->theirs.size() > 1 && pieces.empty()) pieces = (&tensor)[-1].pieces;
    if (rule->theirs.size() == 1) pieces = {tensor.rows};
    std::size_t first = 0;
    for (std::size_t i = 0; i < rule->theirs.size(); ++i) {
      result.push_back({with_layer(rule->theirs[i].name, layer), &tensor, first, pieces[i],
                        tensor.is_matrix() || rule->theirs[i].form != Form::kTransposed
                            ? rule->theirs[i].form
                            : Form::kSame,
                        layout.config().head_size});
      first += pieces[i];
    }
  }
  return result;
}

void check_weights(const TensorArchive& archive, const Naming& naming, const std::string& path,
                   const model::Layout& layout) {
  std::set<std::string_view> taken;
  for (const Binding& binding : bindings(naming, layout)) {
    const auto* found = find(archive, naming, binding.theirs);
    if (found == nullptr) fail("{} lacks the tensor {}", path, binding.theirs);
    check_tensor(found->first, found->second, binding.shape());
    taken.insert(found->first);
  }
  for (const auto& [name, tensor] : archive.tensors) {
    if (taken.contains(name) || is_ignored(naming, name)) continue;
    if (!is_head(naming, name)) {
      fail("{}: the model has no place for {}; its configuration describes another model",
           tensor.file, name);
    }
    require_same_head(archive, naming, name, tensor);
  }
}

void read_weights(const TensorArchive& archive, const Naming& naming, const model::Layout& layout,
                  std::span<float> parameters) {
  for (const Binding& binding : bindings(naming, layout)) {
    const auto* found = find(archive, naming, binding.theirs);
    read_binding(binding, found->first, found->second, parameters.data() + binding.ours->offset);
  }
}

}  // namespace cllm::io
