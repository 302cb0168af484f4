#include "cllm/io/hdf5.h"

#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <utility>

#include "hdf5_internal.h"

namespace cllm::io {
namespace {

static_assert(std::is_same_v<hid_t, std::int64_t> && std::is_same_v<herr_t, int>,
              "Handle stands for HDF5's types in a header that doesn't include theirs");

}  // namespace

Handle::Handle(Handle&& other) noexcept
    : id_(std::exchange(other.id_, -1)), close_(std::exchange(other.close_, nullptr)) {}

Handle& Handle::operator=(Handle&& other) noexcept {
  std::swap(id_, other.id_);
  std::swap(close_, other.close_);
  return *this;
}

bool Handle::close() { return !is_valid() || close_(std::exchange(id_, -1)) >= 0; }

std::string shape_text(std::span<const std::uint64_t> shape) {
  return fmt::format("({})", fmt::join(shape, ", "));
}

void silence_hdf5() { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }

std::string hdf5_reason() {
  std::string reason;
  const auto take_first = [](unsigned depth, const H5E_error2_t* error, void* text) -> herr_t {
    if (depth == 0 && error->desc != nullptr) *static_cast<std::string*>(text) = error->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_first, &reason);  // the innermost comes first
  constexpr std::string_view kNumber = "errno = ";
  if (const std::size_t at = reason.find(kNumber); at != std::string::npos) {
    const int number = std::atoi(reason.c_str() + at + kNumber.size());
    if (number != 0) return std::strerror(number);
  }
  return reason.empty() ? "HDF5 gives no reason" : reason;
}

}  // namespace cllm::io
