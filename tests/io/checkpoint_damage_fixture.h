#pragma once

#include <hdf5.h>

#include <fstream>
#include <functional>

#include "checkpoint_fixture.h"
#include "cllm/base/digest.h"
#include "cllm/base/file.h"
#include "cllm/io/hdf5.h"

namespace cllm::io {

inline constexpr const char* kTensor = "/params/h.0.attn.c_attn.weight";  // (18, 6)

/// A good checkpoint and ways to spoil it.
class CheckpointDamageTest : public testing::Test {
 protected:
  void SetUp() override { content_.write(path_); }
  void TearDown() override {
    EXPECT_EQ(H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL), 0) << "left open";
    EXPECT_EQ(open_descriptors(), descriptors_) << "left open";
  }

  /// Opens the file by HDF5's own means and lets `change` spoil it.
  void edit(const std::function<void(hid_t file)>& change) const {
    const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
    H5Pset_libver_bounds(access.get(), H5F_LIBVER_V18, H5F_LIBVER_V18);
    const Handle file(H5Fopen(path_.c_str(), H5F_ACC_RDWR, access.get()), H5Fclose);
    ASSERT_TRUE(file.is_valid());
    change(file.get());
  }

  /// Puts a dataset of this type and shape, filled with zeros, with a right digest, at `kTensor`.
  void replace_tensor(hid_t type, std::vector<hsize_t> shape, hid_t creation = H5P_DEFAULT) const {
    edit([&](hid_t file) {
      ASSERT_GE(H5Ldelete(file, kTensor, H5P_DEFAULT), 0);
      const Handle space(H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr),
                         H5Sclose);
      const Handle dataset(
          H5Dcreate2(file, kTensor, type, space.get(), H5P_DEFAULT, creation, H5P_DEFAULT),
          H5Dclose);
      const auto size = static_cast<std::size_t>(H5Sget_simple_extent_npoints(space.get()));
      const std::vector<std::byte> zeros(size * H5Tget_size(type));
      ASSERT_GE(H5Dwrite(dataset.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, zeros.data()), 0);
      set_digest(dataset.get(), digest_hex(zeros));
    });
  }

  static void set_digest(hid_t dataset, const std::string& digest) {
    set_text(dataset, kDigestAttribute, digest);
  }

  static void set_text(hid_t object, const char* name, const std::string& text) {
    const Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
    H5Tset_size(type.get(), text.size());
    const Handle space(H5Screate(H5S_SCALAR), H5Sclose);
    const Handle attribute(
        H5Acreate2(object, name, type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    ASSERT_GE(H5Awrite(attribute.get(), type.get(), text.data()), 0);
  }

  void set_run_attribute(const char* name, std::uint64_t value) const {
    edit([&](hid_t file) {
      const Handle run(H5Gopen2(file, "/run", H5P_DEFAULT), H5Gclose);
      const Handle attribute(H5Aopen(run.get(), name, H5P_DEFAULT), H5Aclose);
      ASSERT_GE(H5Awrite(attribute.get(), H5T_NATIVE_UINT64, &value), 0);
    });
  }

  /// Where the data of a dataset begin in the file.
  std::size_t offset_of(const char* dataset) const {
    std::size_t offset = 0;
    edit([&](hid_t file) {
      const Handle opened(H5Dopen2(file, dataset, H5P_DEFAULT), H5Dclose);
      offset = H5Dget_offset(opened.get());
    });
    return offset;
  }

  void overwrite(const std::string& bytes) const {
    std::ofstream(path_, std::ios::binary) << bytes;
  }

  std::string parameters_error() const {
    Content content(kSmallModel);
    return error_of(path_,
                    [&] { read_parameters(path_, content.layout, content.parameters.span()); });
  }
  std::string run_error() const {
    return error_of(path_, [&] { read_run_state(path_); });
  }

  support::ScratchDirectory directory_;
  const std::filesystem::path path_ = directory_.path() / "step-00000001.h5";
  const Content content_ = random_content(kSmallModel, 1);
  const std::size_t descriptors_ = open_descriptors();
};

}  // namespace cllm::io
