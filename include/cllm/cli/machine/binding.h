#pragma once

#include <functional>

#include "cllm/ranks/placement.h"

namespace cllm::cli {

/// What decides the processors of a process: its launcher's choice, or somebody else's.
struct Binder {
  bool is_default = false;   ///< its launcher bound it, and nobody asked for that
  std::string remedy = {};   ///< what would give it more
  bool is_launched = false;  ///< by Open MPI, whose own processors are then the most to be had
};

/// From what launchers say in the environment. `variable(name)`: its value, or nullptr.
Binder read_binder(const std::function<const char*(const char*)>& variable);

/// Fills in what this process could run on, and why it doesn't; see Note [Binding].
void read_binding(ranks::Site& site);

}  // namespace cllm::cli
