#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <numeric>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/io/hdf5.h"
#include "hdf5_internal.h"
#include "input_driver.h"

namespace cllm::io {
namespace {

Handle type_of_dataset(const Handle& dataset) { return {H5Dget_type(dataset.get()), H5Tclose}; }

bool is_scalar(const Handle& space) { return H5Sget_simple_extent_type(space.get()) == H5S_SCALAR; }

/// Stored text without what fills it up to its type's length.
std::string without_padding(std::string text) {
  text.resize(text.find_last_not_of('\0') + 1);
  return text;
}

/// Whether a message may show a name, which then stays one line.
bool is_printable(const std::string& name) {
  return std::ranges::all_of(name, [](char letter) { return letter >= ' ' && letter <= '~'; });
}

}  // namespace

Hdf5Reader::Hdf5Reader(const std::filesystem::path& path)
    : path_(path), input_(std::make_unique<InputFile>(path)) {
  silence_hdf5();
  constexpr char kSignature[] = {'\x89', 'H', 'D', 'F', '\r', '\n', '\x1a', '\n'};
  std::array<std::byte, sizeof(kSignature) + 1> start{};
  if (input_->holds(0, start.size())) {
    if (const int error = input_->read(0, start); error != 0) {
      fail("cannot read {}: {}; check the file", path.string(), std::strerror(error));
    }
  }
  if (std::memcmp(start.data(), kSignature, sizeof(kSignature)) != 0) {
    fail("{} is not an HDF5 file; give the path of a checkpoint", path.string());
  }
  // The version of the superblock. Before 2, metadata have no checksums.
  if (const int version = std::to_integer<int>(start.back()); version < 2) {
    fail("{} is an HDF5 file of an older kind ({}) than checkpoints are; use another file",
         path.string(), version);
  }
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  if (input_->set_driver(access.get())) {
    file_ = Handle(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose);
  }
  if (!file_.is_valid()) {
    fail("{} is truncated or damaged ({}); use another checkpoint", path.string(), hdf5_reason());
  }
}

Hdf5Reader::Hdf5Reader(Hdf5Reader&&) noexcept = default;
Hdf5Reader::~Hdf5Reader() = default;

std::uint64_t Hdf5Reader::file_size() const { return input_->size(); }

void Hdf5Reader::fail_damaged(const std::string& object) const {
  fail("{} is damaged at {} ({}); use another checkpoint", path_.string(), object, hdf5_reason());
}

void Hdf5Reader::require_printable(const std::vector<std::string>& names,
                                   const std::string& object) const {
  if (!std::ranges::all_of(names, is_printable)) {
    fail("{} is damaged at {}: it holds a name that is not plain text; use another checkpoint",
         path_.string(), object);
  }
}

Handle Hdf5Reader::open(const std::string& object) const {
  // Every link on the way; the root has none.
  for (std::size_t end = 0; object != "/" && end != std::string::npos;) {
    end = object.find('/', end + 1);
    const std::string prefix = object.substr(0, end);
    const htri_t exists = H5Lexists(file_.get(), prefix.c_str(), H5P_DEFAULT);
    if (exists < 0) fail_damaged(prefix);
    if (exists == 0) {
      fail("{} has no {}, so it is not a whole checkpoint; use another one", path_.string(),
           prefix);
    }
    H5L_info_t link;
    if (H5Lget_info(file_.get(), prefix.c_str(), &link, H5P_DEFAULT) < 0) fail_damaged(prefix);
    if (link.type != H5L_TYPE_HARD) {
      fail(
          "{} has a link to elsewhere in place of {}, and links are not followed; use a "
          "checkpoint that holds its data itself",
          path_.string(), prefix);
    }
  }
  Handle opened(H5Oopen(file_.get(), object.c_str(), H5P_DEFAULT), H5Oclose);
  if (!opened.is_valid()) fail_damaged(object);
  return opened;
}

Handle Hdf5Reader::open_dataset(const std::string& dataset) const {
  Handle opened = open(dataset);
  if (H5Iget_type(opened.get()) != H5I_DATASET) {
    fail("{} has something other than a dataset at {}; use another checkpoint", path_.string(),
         dataset);
  }
  // Any other storage may be compressed, or lie in other files.
  const Handle creation(H5Dget_create_plist(opened.get()), H5Pclose);
  if (H5Pget_layout(creation.get()) != H5D_CONTIGUOUS ||
      H5Pget_external_count(creation.get()) != 0) {
    fail("{} does not store {} contiguously in itself; use a checkpoint as cllm-dist writes it",
         path_.string(), dataset);
  }
  return opened;
}

Handle Hdf5Reader::open_attribute(const Handle& owner, const std::string& object,
                                  const std::string& name) const {
  const htri_t exists = H5Aexists(owner.get(), name.c_str());
  if (exists < 0) fail_damaged(object);
  if (exists == 0) {
    fail("{} has no attribute {} at {}, so it is not a whole checkpoint; use another one",
         path_.string(), name, object);
  }
  Handle attribute(H5Aopen(owner.get(), name.c_str(), H5P_DEFAULT), H5Aclose);
  if (!attribute.is_valid()) fail_damaged(object);
  return attribute;
}

std::vector<std::string> Hdf5Reader::names(const std::string& group) const {
  const Handle opened = open(group);
  std::vector<std::string> names;
  const auto add = [](hid_t, const char* name, const H5L_info_t*, void* list) -> herr_t {
    static_cast<std::vector<std::string>*>(list)->emplace_back(name);
    return 0;
  };
  // In HDF5's own order: to sort, it makes a table, and crashes when it can't finish that because
  // the group is damaged.
  if (H5Literate(opened.get(), H5_INDEX_NAME, H5_ITER_NATIVE, nullptr, add, &names) < 0) {
    fail_damaged(group);
  }
  require_printable(names, group);
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> Hdf5Reader::attribute_names(const Handle& owner,
                                                     const std::string& object) const {
  std::vector<std::string> names;
  const auto add = [](hid_t, const char* name, const H5A_info_t*, void* list) -> herr_t {
    static_cast<std::vector<std::string>*>(list)->emplace_back(name);
    return 0;
  };
  if (H5Aiterate2(owner.get(), H5_INDEX_NAME, H5_ITER_NATIVE, nullptr, add, &names) < 0) {
    fail_damaged(object);
  }
  require_printable(names, object);
  return names;
}

bool Hdf5Reader::has_attribute(const std::string& object, const std::string& name) const {
  const Handle owner = open(object);
  const htri_t exists = H5Aexists(owner.get(), name.c_str());
  if (exists < 0) fail_damaged(object);
  return exists > 0;
}

std::uint64_t Hdf5Reader::integer_of(const Handle& attribute, const std::string& object,
                                     const std::string& name) const {
  const Handle type(H5Aget_type(attribute.get()), H5Tclose);
  const Handle space(H5Aget_space(attribute.get()), H5Sclose);
  if (H5Tequal(type.get(), H5T_STD_U64LE) <= 0 || !is_scalar(space)) {
    fail("{}: attribute {} of {} is not one uint64 but {}; use another checkpoint", path_.string(),
         name, object, type_name(type));
  }
  std::uint64_t value = 0;
  if (H5Aread(attribute.get(), H5T_NATIVE_UINT64, &value) < 0) fail_damaged(object);
  return value;
}

std::string Hdf5Reader::text_of(const Handle& attribute, const std::string& object,
                                const std::string& name) const {
  const Handle type(H5Aget_type(attribute.get()), H5Tclose);
  const Handle space(H5Aget_space(attribute.get()), H5Sclose);
  if (!is_text(type) || !is_scalar(space) || H5Tget_size(type.get()) > file_size()) {
    fail("{}: attribute {} of {} is not one text of fixed length but {}; use another checkpoint",
         path_.string(), name, object, type_name(type));
  }
  std::string text(H5Tget_size(type.get()), '\0');
  if (H5Aread(attribute.get(), type.get(), text.data()) < 0) fail_damaged(object);
  return without_padding(std::move(text));
}

std::uint64_t Hdf5Reader::integer_attribute(const std::string& object,
                                            const std::string& name) const {
  return integer_of(open_attribute(open(object), object, name), object, name);
}

std::string Hdf5Reader::text_attribute(const std::string& object, const std::string& name) const {
  return text_of(open_attribute(open(object), object, name), object, name);
}

DatasetInfo Hdf5Reader::info(const std::string& dataset) const {
  const Handle opened = open_dataset(dataset);
  DatasetInfo info{shape_of(opened), type_name(type_of_dataset(opened)), {}};
  if (H5Aexists(opened.get(), kDigestAttribute) > 0) {
    info.digest =
        text_of(open_attribute(opened, dataset, kDigestAttribute), dataset, kDigestAttribute);
  }
  return info;
}

void Hdf5Reader::read_bytes_at(std::uint64_t offset, std::span<std::byte> bytes,
                               const std::string& dataset) const {
  if (const int error = input_->read(offset, bytes); error != 0) {
    fail("cannot read {} of {}: {}; check the disk, or use another checkpoint", dataset,
         path_.string(), std::strerror(error));
  }
}

std::uint64_t Hdf5Reader::place_of(const Handle& opened, const std::string& dataset,
                                   std::uint64_t size) const {
  const std::uint64_t offset = H5Dget_offset(opened.get());
  // A dataset that was never written has no place; without data it needs none.
  if (size > 0 && !input_->holds(offset, size)) {
    fail("{} does not hold the data of {}: it is truncated or damaged; use another checkpoint",
         path_.string(), dataset);
  }
  return offset;
}

void Hdf5Reader::check_digest(const Handle& opened, const std::string& dataset,
                              const std::string& found) const {
  if (text_of(open_attribute(opened, dataset, kDigestAttribute), dataset, kDigestAttribute) !=
      found) {
    fail("{} is damaged: the data of {} do not match their digest; use another checkpoint",
         path_.string(), dataset);
  }
}

template <typename Room, typename Taken>
void Hdf5Reader::read_values(const Handle& opened, const std::string& dataset, std::size_t size,
                             const Room& room, const Taken& taken, bool floats) const {
  const std::uint64_t offset = place_of(opened, dataset, size);
  BlockCheck passed(floats);
  for (std::size_t done = 0; done < size; done += kBlockBytes) {
    const std::span<std::byte> block = room(done, std::min(kBlockBytes, size - done));
    read_bytes_at(offset + done, block, dataset);
    passed.update(block);
    taken(block);
  }
  check_digest(opened, dataset, passed.digest());
  if (!passed.is_finite()) {
    fail("{}: {} holds values that are not finite; use an earlier checkpoint", path_.string(),
         dataset);
  }
}

void Hdf5Reader::read_values(const Handle& opened, const std::string& dataset,
                             std::span<std::byte> target, bool floats) const {
  read_values(
      opened, dataset, target.size(),
      [&](std::size_t done, std::size_t bytes) { return target.subspan(done, bytes); },
      [](std::span<const std::byte>) {}, floats);
}

Handle Hdf5Reader::open_values(const std::string& dataset, std::int64_t type, const char* name,
                               std::span<const std::uint64_t> shape) const {
  Handle opened = open_dataset(dataset);
  const Handle stored = type_of_dataset(opened);
  if (H5Tequal(stored.get(), type) <= 0) {
    fail("{}: {} holds {} in place of {}; use another checkpoint", path_.string(), dataset,
         type_name(stored), name);
  }
  const std::vector<std::uint64_t> found = shape_of(opened);
  if (!std::equal(found.begin(), found.end(), shape.begin(), shape.end())) {
    fail("{}: {} has shape {} in place of {}; use a checkpoint of the same model", path_.string(),
         dataset, shape_text(found), shape_text(shape));
  }
  return opened;
}

void Hdf5Reader::read_floats(const std::string& dataset, std::span<const std::uint64_t> shape,
                             std::span<float> values) const {
  const Handle opened = open_values(dataset, H5T_IEEE_F32LE, "float32", shape);
  read_values(opened, dataset, std::as_writable_bytes(values), true);
}

void Hdf5Reader::read_floats(const std::string& dataset, std::span<const std::uint64_t> shape,
                             const std::function<void(std::span<const float>)>& take) const {
  const std::size_t size =
      std::accumulate(shape.begin(), shape.end(), std::size_t{1}, std::multiplies<>());
  const Handle opened = open_values(dataset, H5T_IEEE_F32LE, "float32", shape);
  std::vector<float> buffer(std::min(size, kBlockBytes / sizeof(float)));
  read_values(
      opened, dataset, size * sizeof(float),
      [&](std::size_t, std::size_t bytes) {
        return std::as_writable_bytes(std::span(buffer)).first(bytes);
      },
      [&](std::span<const std::byte> block) {
        take(std::span<const float>(buffer).first(block.size() / sizeof(float)));
      },
      true);
}

void Hdf5Reader::check_floats(const std::string& dataset,
                              std::span<const std::uint64_t> shape) const {
  read_floats(dataset, shape, [](std::span<const float>) {});
}

void Hdf5Reader::read_integers(const std::string& dataset, std::span<const std::uint64_t> shape,
                               std::span<std::int64_t> values) const {
  const Handle opened = open_values(dataset, H5T_STD_I64LE, "int64", shape);
  read_values(opened, dataset, std::as_writable_bytes(values), false);
}

std::string Hdf5Reader::read_text(const std::string& dataset) const {
  const Handle opened = open_dataset(dataset);
  const Handle type = type_of_dataset(opened);
  const Handle space(H5Dget_space(opened.get()), H5Sclose);
  if (!is_text(type) || !is_scalar(space) || H5Tget_size(type.get()) > file_size()) {
    fail("{}: {} is not one text of fixed length but {} {}; use another checkpoint", path_.string(),
         dataset, type_name(type), shape_text(shape_of(opened)));
  }
  std::string text(H5Tget_size(type.get()), '\0');
  read_bytes_at(place_of(opened, dataset, text.size()), std::as_writable_bytes(std::span(text)),
                dataset);
  text = without_padding(std::move(text));
  check_digest(opened, dataset, digest_hex(std::as_bytes(std::span(text))));
  return text;
}

std::string Hdf5Reader::read_bytes(const std::string& dataset) const {
  const Handle opened = open_dataset(dataset);
  const Handle type = type_of_dataset(opened);
  const std::vector<std::uint64_t> shape = shape_of(opened);
  if (H5Tequal(type.get(), H5T_STD_U8LE) <= 0 || shape.size() != 1 || shape[0] > file_size()) {
    fail("{}: {} is not a vector of uint8 but {} {}; use another checkpoint", path_.string(),
         dataset, type_name(type), shape_text(shape));
  }
  std::string bytes(shape[0], '\0');
  const auto data = std::as_writable_bytes(std::span(bytes));
  read_bytes_at(place_of(opened, dataset, data.size()), data, dataset);
  check_digest(opened, dataset, digest_hex(data));
  return bytes;
}

std::string Hdf5Reader::contents_digest(std::span<const std::string> groups) const {
  Manifest manifest;
  for (const std::string& group : groups) {
    const Handle opened = open(group);
    for (const std::string& name : attribute_names(opened, group)) {
      const Handle attribute = open_attribute(opened, group, name);
      const Handle type(H5Aget_type(attribute.get()), H5Tclose);
      if (is_text(type)) {
        manifest.add(group, name, text_of(attribute, group, name));
      } else {
        manifest.add(group, name, integer_of(attribute, group, name));
      }
    }
    for (const std::string& name : names(group)) {
      const std::string dataset = fmt::format("{}/{}", group, name);
      manifest.add(dataset, info(dataset));
    }
  }
  return manifest.digest();
}

}  // namespace cllm::io
