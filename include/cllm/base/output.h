#pragma once

#include <cstdio>
#include <string_view>

namespace cllm {

/// Writes to standard output or standard error, and flushes. Where nobody is there to read it (a
/// pipe that `head` has left, a terminal that is closed), it and all that follows is dropped: what
/// the program does goes on. Standard error then tells so of standard output. What else prevents
/// writing, a full disk say, is left for std::ferror. One thread at a time for a stream.
void put(std::FILE* stream, std::string_view text);

/// From here on, a pipe that nobody reads is an error for who writes into it, and no longer ends
/// the program: for work that is worth more than its output.
void outlive_readers();

}  // namespace cllm
