#include "output_driver.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "hdf5_internal.h"

namespace cllm::io {

/// The callbacks of the HDF5 driver (HDF5 Virtual File Layer, `H5FD_class_t`).
struct OutputDriver {
  /// What HDF5 holds of an open file; it takes the first member for the whole.
  struct Open {
    H5FD_t base;
    OutputFile* output;
    haddr_t allocated;  ///< end of the space that HDF5 has given out
  };

  static Open& of(H5FD_t* file) { return *reinterpret_cast<Open*>(file); }
  static const Open& of(const H5FD_t* file) { return *reinterpret_cast<const Open*>(file); }

  static H5FD_t* open(const char*, unsigned, hid_t file_access, haddr_t) {
    // The driver's information is a copy of the pointer that set_driver stored.
    const void* information = H5Pget_driver_info(file_access);
    if (information == nullptr) return nullptr;
    auto* opened = new (std::nothrow) Open{};
    if (opened == nullptr) return nullptr;
    opened->output = *static_cast<OutputFile* const*>(information);
    return &opened->base;
  }

  static herr_t close(H5FD_t* file) {
    delete &of(file);
    return 0;
  }

  static herr_t query(const H5FD_t*, unsigned long* flags) {
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA |
             H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
    return 0;
  }

  static haddr_t get_allocated(const H5FD_t* file, H5FD_mem_t) { return of(file).allocated; }
  static herr_t set_allocated(H5FD_t* file, H5FD_mem_t, haddr_t address) {
    of(file).allocated = address;
    return 0;
  }
  static haddr_t get_written(const H5FD_t* file, H5FD_mem_t) { return of(file).output->size_; }

  static herr_t read(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t address, size_t size, void* buffer) {
    const OutputFile& output = *of(file).output;
    auto* bytes = static_cast<char*>(buffer);
    while (size > 0) {
      const ssize_t got = ::pread(output.descriptor_, bytes, size, static_cast<off_t>(address));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return -1;
      if (got == 0) break;  // past the end: zeros
      bytes += got;
      address += static_cast<haddr_t>(got);
      size -= static_cast<size_t>(got);
    }
    std::memset(bytes, 0, size);
    return 0;
  }

  static herr_t write(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t address, size_t size,
                      const void* buffer) {
    of(file).output->write(address, std::span(static_cast<const std::byte*>(buffer), size));
    return 0;
  }

  static herr_t truncate(H5FD_t* file, hid_t, hbool_t) {
    const Open& opened = of(file);
    OutputFile& output = *opened.output;
    if (output.is_good() && opened.allocated != output.size_ &&
        ::ftruncate(output.descriptor_, static_cast<off_t>(opened.allocated)) != 0) {
      output.error_ = errno;
    }
    output.size_ = opened.allocated;
    return 0;
  }

  static H5FD_class_t description() {
    H5FD_class_t driver = basic_driver("cllm-output");
    driver.open = open;
    driver.close = close;
    driver.query = query;
    driver.get_eoa = get_allocated;
    driver.set_eoa = set_allocated;
    driver.get_eof = get_written;
    driver.read = read;
    driver.write = write;
    driver.truncate = truncate;
    return driver;
  }
};

OutputFile::OutputFile(const std::filesystem::path& path)
    : descriptor_(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) error_ = errno;
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void OutputFile::sync() {
  if (is_good() && ::fsync(descriptor_) != 0) error_ = errno;
}

bool OutputFile::set_driver(hid_t file_access) {
  static const H5FD_class_t kDriver = OutputDriver::description();
  static const hid_t kIdentifier = H5FDregister(&kDriver);
  OutputFile* const information = this;
  return H5Pset_driver(file_access, kIdentifier, &information) >= 0;
}

void OutputFile::write(std::uint64_t offset, std::span<const std::byte> bytes) {
  size_ = std::max(size_, offset + bytes.size());
  while (is_good() && !bytes.empty()) {
    const ssize_t put =
        ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) {
      error_ = errno;
      break;
    }
    offset += static_cast<std::uint64_t>(put);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
  start_write_back();
}

void OutputFile::start_write_back() {
#ifdef __linux__
  constexpr std::uint64_t kStride = std::uint64_t{8} << 20;
  if (size_ < written_back_ + kStride) return;
  // Only a hint: what fails here fails again where the file is synced.
  ::sync_file_range(descriptor_, static_cast<off_t>(written_back_),
                    static_cast<off_t>(size_ - written_back_), SYNC_FILE_RANGE_WRITE);
  written_back_ = size_;
#endif
}

}  // namespace cllm::io
