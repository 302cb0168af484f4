#pragma once

#include "cllm/ranks/costs.h"

namespace cllm::collectives {

using ranks::Costs;
using ranks::LinkCosts;

}  // namespace cllm::collectives
