#pragma once

#include <string_view>
#include <vector>

#include "cllm/kernels/kernels.h"

namespace cllm::kernels {

/// Those that this processor and this build run, the usual one first, the reference last.
std::vector<const Kernels*> runnable_kernels();

/// The one of that name. Throws Error where there is none, or it doesn't run here.
const Kernels& find_kernels(std::string_view name);

}  // namespace cllm::kernels
