#include "cllm/base/line_reader.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "cllm/base/error.h"

namespace cllm {

LineReader::Result LineReader::next(std::string& line) {
  std::size_t end;
  while ((end = buffer_.find('\n', searched_)) == buffer_.npos) {
    searched_ = buffer_.size();
    const Result result = wait_for_more();
    if (result == Result::kLine) continue;
    if (result == Result::kInterrupted || buffer_.empty()) return result;
    end = buffer_.size();
    break;
  }
  line = buffer_.substr(0, end);
  if (line.ends_with('\r')) line.pop_back();
  buffer_.erase(0, end + 1);
  searched_ = 0;
  return Result::kLine;
}

/// kLine where there is more, of whatever length.
LineReader::Result LineReader::wait_for_more() {
  // A read goes on after a signal whose handler asks for it (SA_RESTART); a poll never does.
  pollfd input{.fd = descriptor_, .events = POLLIN, .revents = 0};
  if (::poll(&input, 1, -1) < 0 && errno == EINTR) return Result::kInterrupted;
  char bytes[4096];
  const ssize_t count = ::read(descriptor_, bytes, sizeof(bytes));
  if (count < 0 && errno == EINTR) return Result::kInterrupted;
  if (count < 0) fail("cannot read standard input: {}", std::strerror(errno));
  buffer_.append(bytes, static_cast<std::size_t>(count));
  return count == 0 ? Result::kEnd : Result::kLine;
}

}  // namespace cllm
