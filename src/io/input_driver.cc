#include "input_driver.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <new>

#include "cllm/base/error.h"

namespace cllm::io {
namespace {

/// What HDF5 holds of an open file; it takes the first member for the whole.
struct Open {
  H5FD_t base;
  const InputFile* input;
  haddr_t allocated;  ///< end of the space that HDF5 believes to be in use
};

Open& of(H5FD_t* file) { return *reinterpret_cast<Open*>(file); }
const Open& of(const H5FD_t* file) { return *reinterpret_cast<const Open*>(file); }

H5FD_t* open_file(const char*, unsigned, hid_t file_access, haddr_t) {
  // The driver's information is a copy of the pointer that set_driver stored.
  const void* information = H5Pget_driver_info(file_access);
  if (information == nullptr) return nullptr;
  auto* opened = new (std::nothrow) Open{};
  if (opened == nullptr) return nullptr;
  opened->input = *static_cast<const InputFile* const*>(information);
  return &opened->base;
}

herr_t close_file(H5FD_t* file) {
  delete &of(file);
  return 0;
}

herr_t query(const H5FD_t*, unsigned long* flags) {
  *flags = H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
  return 0;
}

haddr_t get_allocated(const H5FD_t* file, H5FD_mem_t) { return of(file).allocated; }

herr_t set_allocated(H5FD_t* file, H5FD_mem_t, haddr_t address) {
  of(file).allocated = address;
  return 0;
}

haddr_t get_size(const H5FD_t* file, H5FD_mem_t) { return of(file).input->size(); }

herr_t read_file(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t address, size_t size, void* buffer) {
  const InputFile& input = *of(file).input;
  if (!input.holds(address, size)) return -1;
  return input.read(address, std::span(static_cast<std::byte*>(buffer), size)) == 0 ? 0 : -1;
}

herr_t refuse_write(H5FD_t*, H5FD_mem_t, hid_t, haddr_t, size_t, const void*) { return -1; }

H5FD_class_t description() {
  H5FD_class_t driver{};
  driver.name = "cllm-input";
  driver.maxaddr = (haddr_t{1} << 63) - 1;  // of off_t
  driver.fc_degree = H5F_CLOSE_WEAK;
  driver.fapl_size = sizeof(const InputFile*);
  driver.open = open_file;
  driver.close = close_file;
  driver.query = query;
  driver.get_eoa = get_allocated;
  driver.set_eoa = set_allocated;
  driver.get_eof = get_size;
  driver.read = read_file;
  driver.write = refuse_write;
  const H5FD_mem_t kinds[] = H5FD_FLMAP_DICHOTOMY;  // as the default driver has it
  std::copy(std::begin(kinds), std::end(kinds), driver.fl_map);
  return driver;
}

}  // namespace

InputFile::InputFile(const std::filesystem::path& path)
    // Opening a pipe would wait for its writer.
    : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  struct stat status {};
  if (descriptor_ < 0 || ::fstat(descriptor_, &status) != 0) {
    const int error = errno;
    if (descriptor_ >= 0) ::close(descriptor_);
    fail("cannot open {}: {}; give the path of a checkpoint", path.string(), std::strerror(error));
  }
  if (!S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    fail("{} is not a regular file; give the path of a checkpoint", path.string());
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
}

InputFile::~InputFile() { ::close(descriptor_); }

bool InputFile::set_driver(hid_t file_access) const {
  static const H5FD_class_t kDriver = description();
  static const hid_t kIdentifier = H5FDregister(&kDriver);
  const InputFile* const information = this;
  return H5Pset_driver(file_access, kIdentifier, &information) >= 0;
}

int InputFile::read(std::uint64_t offset, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t got =
        ::pread(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    if (got == 0) return EIO;  // it became shorter since it was opened
    offset += static_cast<std::uint64_t>(got);
    bytes = bytes.subspan(static_cast<std::size_t>(got));
  }
  return 0;
}

}  // namespace cllm::io
