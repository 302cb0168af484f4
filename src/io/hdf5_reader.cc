#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "cllm/base/digest.h"
#include "cllm/base/error.h"
#include "cllm/io/hdf5.h"
#include "hdf5_internal.h"

namespace cllm::io {
namespace {

Handle type_of_dataset(const Handle& dataset) { return {H5Dget_type(dataset.get()), H5Tclose}; }

std::vector<std::uint64_t> shape_of(const Handle& dataset) {
  const Handle space(H5Dget_space(dataset.get()), H5Sclose);
  const int rank = H5Sget_simple_extent_ndims(space.get());
  std::vector<hsize_t> extent(static_cast<std::size_t>(std::max(rank, 0)));
  H5Sget_simple_extent_dims(space.get(), extent.data(), nullptr);
  return {extent.begin(), extent.end()};
}

bool is_scalar(const Handle& space) { return H5Sget_simple_extent_type(space.get()) == H5S_SCALAR; }

/// A string of fixed length, as the writer makes them.
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

/// Stored text without what fills it up to its type's length.
std::string without_padding(std::string text) {
  text.resize(text.find_last_not_of('\0') + 1);
  return text;
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

}  // namespace

Hdf5Reader::Hdf5Reader(const std::filesystem::path& path) : path_(path) {
  silence_hdf5();
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    fail("cannot open {}: {}; give the path of a checkpoint", path.string(), std::strerror(errno));
  }
  // Opening a pipe would wait for its writer.
  if (!S_ISREG(status.st_mode)) {
    fail("{} is not a regular file; give the path of a checkpoint", path.string());
  }
  file_size_ = static_cast<std::uint64_t>(status.st_size);

  const htri_t is_hdf5 = H5Fis_hdf5(path.c_str());
  if (is_hdf5 < 0) fail("cannot read {}: {}; check the file", path.string(), hdf5_reason());
  if (is_hdf5 == 0) fail("{} is not an HDF5 file; give the path of a checkpoint", path.string());

  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  // A file that is only ever renamed into place has no writer, and some cluster file systems
  // cannot lock.
  H5Pset_file_locking(access.get(), false, true);
  file_ = Handle(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose);
  if (!file_.is_valid()) {
    fail("{} is truncated or damaged ({}); use another checkpoint", path.string(), hdf5_reason());
  }
}

void Hdf5Reader::fail_damaged(const std::string& object) const {
  fail("{} is damaged at {} ({}); use another checkpoint", path_.string(), object, hdf5_reason());
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

std::uint64_t Hdf5Reader::count(const std::string& group) const {
  const Handle opened = open(group);
  H5G_info_t info;
  if (H5Gget_info(opened.get(), &info) < 0) fail_damaged(group);
  return info.nlinks;
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
  std::sort(names.begin(), names.end());
  return names;
}

std::uint64_t Hdf5Reader::integer_attribute(const std::string& object,
                                            const std::string& name) const {
  const Handle owner = open(object);
  const Handle attribute = open_attribute(owner, object, name);
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

std::string Hdf5Reader::text_attribute(const std::string& object, const std::string& name) const {
  const Handle owner = open(object);
  const Handle attribute = open_attribute(owner, object, name);
  const Handle type(H5Aget_type(attribute.get()), H5Tclose);
  const Handle space(H5Aget_space(attribute.get()), H5Sclose);
  if (!is_text(type) || !is_scalar(space) || H5Tget_size(type.get()) > file_size_) {
    fail("{}: attribute {} of {} is not one text of fixed length but {}; use another checkpoint",
         path_.string(), name, object, type_name(type));
  }
  std::string text(H5Tget_size(type.get()), '\0');
  if (H5Aread(attribute.get(), type.get(), text.data()) < 0) fail_damaged(object);
  return without_padding(std::move(text));
}

DatasetInfo Hdf5Reader::info(const std::string& dataset) const {
  const Handle opened = open_dataset(dataset);
  DatasetInfo info{shape_of(opened), type_name(type_of_dataset(opened)), {}};
  if (H5Aexists(opened.get(), kDigestAttribute) > 0) {
    info.digest = text_attribute(dataset, kDigestAttribute);
  }
  return info;
}

void Hdf5Reader::check_digest(const std::string& dataset, std::span<const std::byte> data) const {
  if (text_attribute(dataset, kDigestAttribute) != digest_hex(data)) {
    fail("{} is damaged: the data of {} do not match their digest; use another checkpoint",
         path_.string(), dataset);
  }
}

void Hdf5Reader::read_floats(const std::string& dataset, std::span<const std::uint64_t> shape,
                             std::span<float> values) const {
  const Handle opened = open_dataset(dataset);
  const Handle type = type_of_dataset(opened);
  if (H5Tequal(type.get(), H5T_IEEE_F32LE) <= 0) {
    fail("{}: {} holds {} in place of float32; use another checkpoint", path_.string(), dataset,
         type_name(type));
  }
  const std::vector<std::uint64_t> found = shape_of(opened);
  if (!std::equal(found.begin(), found.end(), shape.begin(), shape.end())) {
    fail("{}: {} has shape {} in place of {}; use a checkpoint of the same model", path_.string(),
         dataset, shape_text(found), shape_text(shape));
  }
  if (H5Dread(opened.get(), H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) < 0) {
    fail_damaged(dataset);
  }
  check_digest(dataset, std::as_bytes(values));
}

std::string Hdf5Reader::read_text(const std::string& dataset) const {
  const Handle opened = open_dataset(dataset);
  const Handle type = type_of_dataset(opened);
  const Handle space(H5Dget_space(opened.get()), H5Sclose);
  if (!is_text(type) || !is_scalar(space) || H5Tget_size(type.get()) > file_size_) {
    fail("{}: {} is not one text of fixed length but {} {}; use another checkpoint", path_.string(),
         dataset, type_name(type), shape_text(shape_of(opened)));
  }
  std::string text(H5Tget_size(type.get()), '\0');
  if (H5Dread(opened.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, text.data()) < 0) {
    fail_damaged(dataset);
  }
  text = without_padding(std::move(text));
  check_digest(dataset, bytes_of(text));
  return text;
}

std::string Hdf5Reader::read_bytes(const std::string& dataset) const {
  const Handle opened = open_dataset(dataset);
  const Handle type = type_of_dataset(opened);
  const std::vector<std::uint64_t> shape = shape_of(opened);
  if (H5Tequal(type.get(), H5T_STD_U8LE) <= 0 || shape.size() != 1 || shape[0] > file_size_) {
    fail("{}: {} is not a vector of uint8 but {} {}; use another checkpoint", path_.string(),
         dataset, type_name(type), shape_text(shape));
  }
  std::string bytes(shape[0], '\0');
  if (H5Dread(opened.get(), H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()) < 0) {
    fail_damaged(dataset);
  }
  check_digest(dataset, bytes_of(bytes));
  return bytes;
}

}  // namespace cllm::io
