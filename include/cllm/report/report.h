#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "cllm/report/run_record.h"

namespace cllm::report {

/// An HTML page about runs, which have been read: one file that loads nothing. It has every run in
/// its tables, curves of the best 64 by validation, of which eight have colours, and details of
/// these; a curve has at most 2,000 points and a plot 20,000. `now`: seconds since 1970; `version`
/// of the program.
std::string report_page(const std::vector<RunRecord>& runs, std::int64_t now,
                        std::string_view version);

/// Whether the file is one that `report_page` made.
bool is_report(const std::filesystem::path& path);

}  // namespace cllm::report
