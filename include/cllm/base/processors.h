#pragma once

#include <string>
#include <vector>

namespace cllm {

/// The numbers of the processors that this process may run on (its affinity mask), ascending; never
/// empty.
std::vector<int> available_processors();

/// The name of this host.
std::string host_name();

/// What its processors call themselves: "AMD EPYC 7302 16-Core Processor".
std::string processor_model();

}  // namespace cllm
