#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace cllm {

/// What a user can act on: one sentence that names the file or option and says what to do.
/// Thrown anywhere, caught in one place in `main`.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// An `Error` that every rank throws alike, at the same place of the program. Rank 0 prints it and
/// all ranks leave together; any other error aborts the job from the rank that met it.
class ReplicatedError : public Error {
 public:
  using Error::Error;
};

/// Throws an `Error` with a formatted message.
template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace cllm
