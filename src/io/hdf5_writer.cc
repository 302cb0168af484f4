#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numeric>

#include "cllm/base/error.h"
#include "cllm/io/hdf5.h"
#include "hdf5_internal.h"
#include "output_driver.h"

namespace cllm::io {
namespace {

/// A property list without creation times, so that equal content gives equal files.
Handle without_times(hid_t list_class) {
  Handle list(H5Pcreate(list_class), H5Pclose);
  H5Pset_obj_track_times(list.get(), false);
  return list;
}

/// The fixed-length type of `text`. HDF5 has no strings of length 0: an empty one is a single NUL.
Handle text_type(std::string_view text) {
  Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.get(), std::max<std::size_t>(text.size(), 1));
  H5Tset_strpad(type.get(), H5T_STR_NULLPAD);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  return type;
}

/// The bytes that go with `text_type(text)`.
const char* text_data(std::string_view text) { return text.empty() ? "" : text.data(); }

Handle scalar_space() { return {H5Screate(H5S_SCALAR), H5Sclose}; }

Handle space_of(std::span<const std::uint64_t> shape) {
  const std::vector<hsize_t> extent(shape.begin(), shape.end());
  return {H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr), H5Sclose};
}

std::string_view advice(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return "free some space there or write elsewhere with --out";
    case EFBIG:
      return "raise the limit on file sizes (ulimit -f)";
    default:
      return "check the directory or write elsewhere with --out";
  }
}

}  // namespace

Hdf5Writer::Hdf5Writer(const std::filesystem::path& path, const std::filesystem::path& shown)
    : shown_(shown),
      manifest_(std::make_unique<Manifest>()),
      output_(std::make_unique<OutputFile>(path)) {
  silence_hdf5();
  check(true);
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  // From 1.8 on, all metadata carry checksums.
  H5Pset_libver_bounds(access.get(), H5F_LIBVER_V18, H5F_LIBVER_V18);
  check(output_->set_driver(access.get()));
  const Handle creation = without_times(H5P_FILE_CREATE);
  file_ = Handle(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation.get(), access.get()), H5Fclose);
  check(file_.is_valid());
}

Hdf5Writer::Hdf5Writer(Hdf5Writer&&) noexcept = default;
Hdf5Writer::~Hdf5Writer() = default;

void Hdf5Writer::check(bool succeeded) const {
  if (const int error = output_->error(); error != 0) {
    fail("cannot write {}: {}; {}", shown_.string(), std::strerror(error), advice(error));
  }
  if (!succeeded) fail("cannot write {}: {}; {}", shown_.string(), hdf5_reason(), advice(0));
}

void Hdf5Writer::create_group(const std::string& group) {
  const Handle creation = without_times(H5P_GROUP_CREATE);
  // All links and attributes in the object header, which the reader can check before HDF5 does.
  constexpr unsigned kMost = 0xffff;
  H5Pset_link_phase_change(creation.get(), kMost, 0);
  H5Pset_attr_phase_change(creation.get(), kMost, 0);
  Handle created(H5Gcreate2(file_.get(), group.c_str(), H5P_DEFAULT, creation.get(), H5P_DEFAULT),
                 H5Gclose);
  check(created.is_valid());
}

void Hdf5Writer::store_attribute(const std::string& object, const std::string& name,
                                 std::int64_t type, const void* value) {
  const Handle space = scalar_space();
  const Handle attribute(H5Acreate_by_name(file_.get(), object.c_str(), name.c_str(), type,
                                           space.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                         H5Aclose);
  check(attribute.is_valid());
  check(H5Awrite(attribute.get(), type, value) >= 0);
}

void Hdf5Writer::store_text(const std::string& object, const std::string& name,
                            std::string_view text) {
  const Handle type = text_type(text);
  store_attribute(object, name, type.get(), text_data(text));
}

void Hdf5Writer::write_attribute(const std::string& object, const std::string& name,
                                 std::uint64_t value) {
  store_attribute(object, name, H5T_STD_U64LE, &value);
  manifest_->add(object, name, value);
}

void Hdf5Writer::write_attribute(const std::string& object, const std::string& name,
                                 std::string_view text) {
  if (text.find('\0') != std::string_view::npos) {
    fail("cannot write {}: the text for attribute {} of {} has a NUL byte; remove it",
         shown_.string(), name, object);
  }
  store_text(object, name, text);
  manifest_->add(object, name, text);
}

bool Hdf5Writer::write_dataset(const std::string& dataset, std::int64_t type, const Handle& space,
                               std::size_t size, const std::function<void(const Put&)>& give,
                               bool floats) {
  const Handle creation = without_times(H5P_DATASET_CREATE);
  // Its place in the file is needed before any data are in it.
  H5Pset_alloc_time(creation.get(), H5D_ALLOC_TIME_EARLY);
  H5Pset_fill_time(creation.get(), H5D_FILL_TIME_NEVER);
  Handle created(H5Dcreate2(file_.get(), dataset.c_str(), type, space.get(), H5P_DEFAULT,
                            creation.get(), H5P_DEFAULT),
                 H5Dclose);
  check(created.is_valid());
  const std::uint64_t offset = H5Dget_offset(created.get());
  check(size == 0 || offset != HADDR_UNDEF);
  BlockCheck passed(floats);
  std::size_t written = 0;
  give([&](std::span<const std::byte> data) {
    for (std::size_t done = 0; done < data.size(); done += kBlockBytes) {
      const auto block = data.subspan(done, std::min(kBlockBytes, data.size() - done));
      passed.update(block);
      output_->write(offset + written, block);
      written += block.size();
    }
  });
  const Handle stored(H5Dget_type(created.get()), H5Tclose);
  manifest_->add(dataset, {shape_of(created), type_name(stored), passed.digest()});
  check(created.close());
  store_text(dataset, kDigestAttribute, passed.digest());
  return passed.is_finite();
}

void Hdf5Writer::write_dataset(const std::string& dataset, std::int64_t type, const Handle& space,
                               std::span<const std::byte> data) {
  write_dataset(dataset, type, space, data.size(), [&](const Put& put) { put(data); });
}

void Hdf5Writer::write_floats(const std::string& dataset, std::span<const std::uint64_t> shape,
                              std::span<const float> values) {
  write_floats(dataset, shape, [&](const Put& put) { put(std::as_bytes(values)); });
}

void Hdf5Writer::write_floats(const std::string& dataset, std::span<const std::uint64_t> shape,
                              const std::function<void(const Put& put)>& give) {
  const std::size_t size =
      std::accumulate(shape.begin(), shape.end(), sizeof(float), std::multiplies<>());
  if (!write_dataset(dataset, H5T_IEEE_F32LE, space_of(shape), size, give, true)) {
    fail(
        "{} is not written: {} holds values that are not finite; resume from an earlier "
        "checkpoint with a lower --lr",
        shown_.string(), dataset);
  }
}

void Hdf5Writer::write_integers(const std::string& dataset, std::span<const std::uint64_t> shape,
                                std::span<const std::int64_t> values) {
  write_dataset(dataset, H5T_STD_I64LE, space_of(shape), std::as_bytes(values));
}

void Hdf5Writer::write_text(const std::string& dataset, std::string_view text) {
  if (text.find('\0') != std::string_view::npos) {
    fail("cannot write {}: the text for {} has a NUL byte; remove it", shown_.string(), dataset);
  }
  const Handle type = text_type(text);
  write_dataset(dataset, type.get(), scalar_space(),
                std::as_bytes(std::span(text_data(text), text.size())));
}

void Hdf5Writer::write_bytes(const std::string& dataset, std::string_view bytes) {
  const std::uint64_t size = bytes.size();
  write_dataset(dataset, H5T_STD_U8LE, space_of({&size, 1}),
                std::as_bytes(std::span(text_data(bytes), bytes.size())));
}

void Hdf5Writer::close() {
  store_text("/", kDigestAttribute, manifest_->digest());
  const bool closed = file_.close();
  output_->sync();
  check(closed);
}

}  // namespace cllm::io
