#include "cllm/base/fail_point.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <new>
#include <string>

#include "cllm/base/error.h"

namespace cllm {
namespace {

struct Plan {
  std::string name;
  int visits = 1;  // until the signal
  int signal = SIGKILL;
  std::string exception;  // instead of the signal
};

/// The number before the next colon of `text`, which is cut off; `otherwise` where there is none.
int next_number(std::string_view& text, int otherwise) {
  const std::size_t end = std::min(text.find(':'), text.size());
  std::from_chars(text.data(), text.data() + end, otherwise);
  text.remove_prefix(std::min(end + 1, text.size()));
  return otherwise;
}

Plan plan_of_environment() {
  Plan plan;
  const char* const setting = std::getenv("CLLM_FAIL_POINT");
  if (setting == nullptr) return plan;
  std::string_view text = setting;
  plan.name = text.substr(0, text.find(':'));
  text.remove_prefix(std::min(plan.name.size() + 1, text.size()));
  plan.visits = next_number(text, plan.visits);
  if (text == "error" || text == "memory") plan.exception = text;
  plan.signal = next_number(text, plan.signal);
  return plan;
}

}  // namespace

void fail_point(std::string_view name) {
  static const Plan plan = plan_of_environment();
  if (plan.name != name) return;
  static std::atomic<int> visits = 0;
  if (++visits != plan.visits) return;
  if (plan.exception == "error") fail("the fail point {} was reached", name);
  if (plan.exception == "memory") throw std::bad_alloc();
  ::kill(::getpid(), plan.signal);
}

}  // namespace cllm
