#include "input_driver.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <vector>

#include "cllm/base/error.h"
#include "hdf5_internal.h"
#include "metadata_check.h"

namespace cllm::io {
namespace {

/// What HDF5 holds of an open file; it takes the first member for the whole.
struct Open {
  H5FD_t base;
  const InputFile* input;
  haddr_t allocated;  ///< end of the space that HDF5 believes to be in use
  haddr_t expected =
      HADDR_UNDEF;  ///< where the rest of a piece that was checked begins, or HADDR_UNDEF
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

constexpr const char* kUnknown = "metadata that cllm-dist does not write";

/// Gives HDF5 the reason, which it hands on.
herr_t refuse(const char* reason) {
  H5Epush2(H5E_DEFAULT, __FILE__, __func__, __LINE__, H5E_ERR_CLS, H5E_IO, H5E_READERROR, "%s",
           reason);
  return -1;
}

/// HDF5 reads metadata piece by piece: from its beginning, but of one that turns out longer than it
/// guessed, the rest comes next. Each piece is checked whole before HDF5 sees any of it.
herr_t read_file(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t address, size_t size, void* buffer) {
  Open& opened = of(file);
  const InputFile& input = *opened.input;
  const std::span bytes(static_cast<std::byte*>(buffer), size);
  if (!input.holds(address, size)) return refuse("an address outside of the file");
  if (const int error = input.read(address, bytes); error != 0) return refuse(std::strerror(error));
  const bool is_rest = address == opened.expected;
  opened.expected = HADDR_UNDEF;
  if (is_rest) return 0;
  const std::uint64_t whole = size_of_piece(bytes.first(std::min(size, kPieceBeginning)));
  if (whole <= size) return may_parse(bytes, input.size()) ? 0 : refuse(kUnknown);
  opened.expected = address + size;
  if (!input.holds(address, whole)) return refuse("an address outside of the file");
  std::vector<std::byte> piece(whole);
  if (const int error = input.read(address, piece); error != 0) return refuse(std::strerror(error));
  return may_parse(piece, input.size()) ? 0 : refuse(kUnknown);
}

herr_t refuse_write(H5FD_t*, H5FD_mem_t, hid_t, haddr_t, size_t, const void*) { return -1; }

H5FD_class_t description() {
  H5FD_class_t driver = basic_driver("cllm-input");
  driver.open = open_file;
  driver.close = close_file;
  driver.query = query;
  driver.get_eoa = get_allocated;
  driver.set_eoa = set_allocated;
  driver.get_eof = get_size;
  driver.read = read_file;
  driver.write = refuse_write;
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
