#include "cllm/base/output.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace cllm {
namespace {

/// Drops what the stream holds, and all that will be written to it.
void drop(std::FILE* stream) {
  const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (nowhere < 0) return;
  ::dup2(nowhere, ::fileno(stream));
  ::close(nowhere);
  std::fflush(stream);
  std::clearerr(stream);
}

/// A file on a disk that fails says EIO, too, and has a reader all the same.
bool is_file(std::FILE* stream) {
  const int before = errno;
  struct stat status {};
  const bool result = ::fstat(::fileno(stream), &status) == 0 && S_ISREG(status.st_mode);
  errno = before;
  return result;
}

}  // namespace

void put(std::FILE* stream, std::string_view text) {
  errno = 0;
  std::fwrite(text.data(), 1, text.size(), stream);
  std::fflush(stream);
  // What both return is not to be relied on: of a terminal that is gone, success.
  if (std::ferror(stream) == 0) return;
  const bool is_gone = errno == EPIPE || (errno == EIO && !is_file(stream));
  if (!is_gone) return;
  drop(stream);
  if (stream != stdout) return;
  put(stderr, "cllm-dist: nobody reads the output any more; the work goes on without it\n");
}

void outlive_readers() { ::signal(SIGPIPE, SIG_IGN); }

}  // namespace cllm
