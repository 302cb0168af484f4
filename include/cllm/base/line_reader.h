#pragma once

#include <cstddef>
#include <string>

namespace cllm {

/// Lines as they come in from a file descriptor, such as standard input. Not thread-safe.
class LineReader {
 public:
  enum class Result { kLine, kEnd, kInterrupted };

  /// The descriptor stays open when this object ends.
  explicit LineReader(int descriptor) : descriptor_(descriptor) {}

  /// Waits for a line and gives it without its end, which may be Windows' too. The last may have
  /// none. A signal that comes while it waits ends the waiting (kInterrupted); what came in before
  /// is kept. Throws Error where the descriptor can't be read.
  Result next(std::string& line);

 private:
  Result wait_for_more();

  int descriptor_;
  std::string buffer_;        // what came in and was not given out
  std::size_t searched_ = 0;  // of it, bytes without a newline
};

}  // namespace cllm
