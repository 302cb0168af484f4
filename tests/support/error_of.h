#pragma once

#include <gtest/gtest.h>

#include <string>

#include "cllm/base/error.h"

namespace cllm::support {

/// The message of the Error that `action` throws; a failed test where it throws none.
template <typename Action>
std::string error_of(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no Error was thrown";
  return {};
}

}  // namespace cllm::support
