#pragma once

#include <string>

#include "cllm/report/run_record.h"

namespace cllm::report {

/// What a report has of one run beside its losses: times, events, evaluations, samples,
/// checkpoints, starts and stops, options; as HTML.
std::string run_section(const RunRecord& run);

/// A status as a word of its colour; as HTML.
std::string status_html(const RunRecord& run);

}  // namespace cllm::report
