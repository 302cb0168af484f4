#include "cllm/io/hdf5.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <type_traits>
#include <utility>

#include "cllm/base/error.h"
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

std::string hdf5_version() {
  unsigned major = 0, minor = 0, release = 0;
  if (H5get_libversion(&major, &minor, &release) < 0) fail("HDF5 doesn't say its version");
  return fmt::format("{}.{}.{}", major, minor, release);
}

std::string shape_text(std::span<const std::uint64_t> shape) {
  return fmt::format("({})", fmt::join(shape, ", "));
}

H5FD_class_t basic_driver(const char* name) {
  H5FD_class_t driver{};
  driver.name = name;
  driver.maxaddr = (haddr_t{1} << 63) - 1;  // of off_t
  driver.fc_degree = H5F_CLOSE_WEAK;
  driver.fapl_size = sizeof(void*);
  const H5FD_mem_t kinds[] = H5FD_FLMAP_DICHOTOMY;  // as the default driver has it
  std::copy(std::begin(kinds), std::end(kinds), driver.fl_map);
  return driver;
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

std::vector<std::uint64_t> shape_of(const Handle& dataset) {
  const Handle space(H5Dget_space(dataset.get()), H5Sclose);
  const int rank = H5Sget_simple_extent_ndims(space.get());
  std::vector<hsize_t> extent(static_cast<std::size_t>(std::max(rank, 0)));
  H5Sget_simple_extent_dims(space.get(), extent.data(), nullptr);
  return {extent.begin(), extent.end()};
}

bool is_text(const Handle& type) {
  return H5Tget_class(type.get()) == H5T_STRING && H5Tis_variable_str(type.get()) == 0;
}

std::string type_name(const Handle& type) {
  const std::size_t bits = 8 * H5Tget_size(type.get());
  const char* order = bits > 8 && H5Tget_order(type.get()) == H5T_ORDER_BE ? " (big-endian)" : "";
  switch (H5Tget_class(type.get())) {
    case H5T_FLOAT:
      return fmt::format("float{}{}", bits, order);
    case H5T_INTEGER:
      return fmt::format("{}int{}{}", H5Tget_sign(type.get()) == H5T_SGN_NONE ? "u" : "", bits,
                         order);
    case H5T_STRING:
      return is_text(type) ? "text" : "text of variable length";
    default:
      return "another type";
  }
}

void BlockCheck::update(std::span<const std::byte> block) {
  digest_.update(block);
  if (!floats_) return;
  // All ones in the exponent: infinite or NaN. An or over all values, without a branch, vectorises.
  constexpr std::uint32_t kExponent = 0x7f800000;
  bool found = false;
  for (std::size_t at = 0; at < block.size(); at += sizeof(float)) {
    std::uint32_t value = 0;
    std::memcpy(&value, block.data() + at, sizeof(value));
    found |= (value & kExponent) == kExponent;
  }
  finite_ &= !found;
}

void Manifest::add(const std::string& object, const std::string& attribute, std::uint64_t value) {
  lines_.push_back(fmt::format("attribute {} {} uint64 {}\n", object, attribute, value));
}

void Manifest::add(const std::string& object, const std::string& attribute, std::string_view text) {
  // With its length, because a text may have lines of its own.
  lines_.push_back(
      fmt::format("attribute {} {} text {} {}\n", object, attribute, text.size(), text));
}

void Manifest::add(const std::string& dataset, const DatasetInfo& info) {
  lines_.push_back(fmt::format("dataset {} {} {} {}\n", dataset, info.type, shape_text(info.shape),
                               info.digest));
}

std::string Manifest::digest() const {
  std::vector<std::string> sorted = lines_;
  std::sort(sorted.begin(), sorted.end());
  Digest digest;
  for (const std::string& line : sorted) digest.update(line);
  return digest.hex();
}

}  // namespace cllm::io
