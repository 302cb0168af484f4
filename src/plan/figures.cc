#include "cllm/plan/figures.h"

#include <cmath>

#include "cllm/base/error.h"

namespace cllm::plan {
namespace {

void check_positive(const char* what, double value) {
  if (value > 0 && std::isfinite(value)) return;
  fail("{} {:g}: give a number above 0", what, value);
}

}  // namespace

void validate(const Figures& f, std::size_t hosts) {
  if (f.cores < 1) fail("--cores {}: give the cores of a host that compute, at least 1", f.cores);
  check_positive("--core-gflops", f.core_flops / 1e9);
  check_positive("--update-gbyte", f.update_bytes / 1e9);
  check_positive("--disk-gbyte", f.disk_bytes / 1e9);
  check_positive("--add-gbyte", 1e-9 / f.costs.per_added_byte);
  check_positive("--copy-gbyte", 1e-9 / f.costs.per_copied_byte);
  if (f.stolen_per_byte && !(*f.stolen_per_byte >= 0 && std::isfinite(*f.stolen_per_byte))) {
    fail("--sum-ns {:g}: give a number from 0 upward", *f.stolen_per_byte * 1e9);
  }
  if (hosts == 1) return;
  check_positive("--gbit", 8e-9 / f.costs.network.per_byte);
  const auto check_time = [](const char* what, double seconds) {
    if (!(seconds >= 0) || !std::isfinite(seconds)) {
      fail("{} {:g}: give a number from 0 upward", what, seconds * 1e6);
    }
  };
  check_time("--latency-us", f.costs.network.latency);
  check_time("--message-us", f.costs.per_message);
}

}  // namespace cllm::plan
