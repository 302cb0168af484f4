#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace cllm::ranks {

/// The ranks whose value is another than rank 0's, ascending.
std::vector<std::size_t> unlike_rank_0(const std::vector<std::string>& values);

/// "a", "a and b", "a, b and c"; of many the first few, "and 61 more".
std::string list_text(const std::vector<std::string>& names);

/// "rank 3 (host b)", or "ranks 1, 3 and 4 (hosts b and c)". `hosts`: of all ranks.
std::string ranks_text(const std::vector<std::size_t>& ranks,
                       const std::vector<std::string>& hosts);

}  // namespace cllm::ranks
