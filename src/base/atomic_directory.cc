#include "cllm/base/atomic_directory.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/base/processors.h"

namespace cllm {

namespace fs = std::filesystem;

namespace {

/// So that the names in it outlive a crash of the host; errors name `shown`.
void sync_directory(const fs::path& directory, const fs::path& shown) {
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool is_synced = descriptor >= 0 && ::fsync(descriptor) == 0;
  const int error = errno;
  if (descriptor >= 0) ::close(descriptor);
  if (!is_synced) fail("cannot write {}: {}", shown.string(), std::strerror(error));
}

}  // namespace

AtomicDirectory::AtomicDirectory(fs::path path)
    : path_(std::move(path)),
      // Host and process keep two writers of one path apart; the rename decides between them.
      temporary_(path_.parent_path() / fmt::format(".{}.{}.{}.cllm-tmp", path_.filename().string(),
                                                   host_name(), ::getpid())) {
  std::error_code code;
  fs::remove_all(temporary_, code);  // of a process that had this number before
  if (!fs::create_directory(temporary_, code)) {
    fail("cannot create the directory {}: {}", path_.string(), code.message());
  }
}

AtomicDirectory::~AtomicDirectory() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
}

void AtomicDirectory::commit() {
  sync_directory(temporary_, path_);
  // rename(2) would replace an empty directory.
  std::error_code unknown;
  if (fs::exists(path_, unknown)) {
    fail("{} exists already; remove it or give another name", path_.string());
  }
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    fail("cannot write {}: {}", path_.string(), std::strerror(errno));
  }
  temporary_.clear();
  sync_directory(path_.has_parent_path() ? path_.parent_path() : ".", path_);
}

}  // namespace cllm
