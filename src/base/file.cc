#include "cllm/base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <system_error>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/base/fail_point.h"
#include "cllm/base/processors.h"

namespace cllm {
namespace {

/// How the names of files that are being written end; they begin with a dot.
constexpr std::string_view kUnfinished = ".cllm-tmp";

/// A file descriptor that closes itself. Opening a pipe that nobody writes does not wait. Errors
/// name `shown`, for which it is opened.
class Descriptor {
 public:
  Descriptor(const std::filesystem::path& path, int flags) : Descriptor(path, flags, path) {}
  Descriptor(const std::filesystem::path& path, int flags, const std::filesystem::path& shown)
      : fd_(::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK, 0666)) {
    if (fd_ < 0) fail("cannot open {}: {}", shown.string(), std::strerror(errno));
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { ::close(fd_); }
  int get() const { return fd_; }

 private:
  int fd_;
};

std::size_t size_of_regular_file(const Descriptor& file, const std::filesystem::path& path) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) {
    fail("cannot read {}: {}", path.string(), std::strerror(errno));
  }
  if (!S_ISREG(status.st_mode)) fail("{} is not a regular file", path.string());
  return static_cast<std::size_t>(status.st_size);
}

/// Syncs what is at `place`; errors name `path`, for which it is done.
void sync(const std::filesystem::path& place, int flags, const std::filesystem::path& path) {
  const Descriptor file(place, flags, path);
  if (::fsync(file.get()) != 0) fail("cannot write {}: {}", path.string(), std::strerror(errno));
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
  const Descriptor file(path, O_RDONLY);
  size_ = size_of_regular_file(file, path);
  if (size_ == 0) return;
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.get(), 0);
  if (address == MAP_FAILED) fail("cannot map {}: {}", path.string(), std::strerror(errno));
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

std::string read_file(const std::filesystem::path& path) {
  const Descriptor file(path, O_RDONLY);
  std::string text(size_of_regular_file(file, path), '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t got = ::read(file.get(), text.data() + done, text.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("cannot read {}: {}", path.string(), std::strerror(errno));
    if (got == 0) fail("{} became shorter while it was read", path.string());
    done += static_cast<std::size_t>(got);
  }
  return text;
}

AtomicFile::AtomicFile(std::filesystem::path path)
    : path_(std::move(path)),
      // Host and process keep two writers of one path apart; the rename decides between them.
      temporary_(path_.parent_path() / fmt::format(".{}.{}.{}{}", path_.filename().string(),
                                                   host_name(), ::getpid(), kUnfinished)),
      // "h5" of checkpoints; of a file without an extension its name.
      kind_(path_.has_extension() ? path_.extension().string().substr(1)
                                  : path_.filename().string()) {}

AtomicFile::~AtomicFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::sync() {
  fail_point(kind_ + ".written");
  cllm::sync(temporary_, O_RDONLY, path_);
  fail_point(kind_ + ".synced");
}

void AtomicFile::commit() {
  fail_point(kind_ + ".checked");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    fail("cannot write {}: {}", path_.string(), std::strerror(errno));
  }
  temporary_.clear();
  fail_point(kind_ + ".renamed");
  cllm::sync(path_.has_parent_path() ? path_.parent_path() : ".", O_RDONLY | O_DIRECTORY, path_);
}

void write_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  AtomicFile atomic(path);
  {
    const Descriptor file(atomic.temporary(), O_WRONLY | O_CREAT | O_TRUNC, path);
    std::size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t put = ::write(file.get(), bytes.data() + done, bytes.size() - done);
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) fail("cannot write {}: {}", path.string(), std::strerror(errno));
      done += static_cast<std::size_t>(put);
    }
    // Some file systems tell of a full disk only now, and only here.
    if (::fsync(file.get()) != 0) fail("cannot write {}: {}", path.string(), std::strerror(errno));
  }
  atomic.sync();
  atomic.commit();
}

void remove_unfinished(const std::filesystem::path& directory) {
  std::error_code code;
  for (const auto& entry : std::filesystem::directory_iterator(directory, code)) {
    const std::string name = entry.path().filename().string();
    std::error_code ignored;
    if (name.starts_with('.') && name.ends_with(kUnfinished)) {
      std::filesystem::remove(entry.path(), ignored);
    }
  }
}

void make_directories(const std::filesystem::path& path) {
  std::error_code code;
  if (std::filesystem::create_directories(path, code)) {
    const std::filesystem::path parent = std::filesystem::absolute(path).parent_path();
    sync(parent, O_RDONLY | O_DIRECTORY, path);
  }
  if (code) fail("cannot create the directory {}: {}", path.string(), code.message());
}

}  // namespace cllm
