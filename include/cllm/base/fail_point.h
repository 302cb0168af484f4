#pragma once

#include <string_view>

namespace cllm {

/// A place where tests can end or stop the program, so that they can show what a crash there leaves
/// behind. The environment variable CLLM_FAIL_POINT is "NAME" or "NAME:N" or "NAME:N:SIGNAL": the
/// process sends itself SIGNAL (a number, else SIGKILL) when it is at NAME for the Nth time (else
/// the first). For SIGNAL there may be "error" or "memory": it throws Error, or std::bad_alloc.
/// Does nothing without it. Thread-safe.
void fail_point(std::string_view name);

}  // namespace cllm
