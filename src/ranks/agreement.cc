#include "cllm/ranks/agreement.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <new>
#include <vector>

#include "cllm/base/error.h"
#include "cllm/base/processors.h"
#include "cllm/ranks/ranks.h"

namespace cllm::ranks {
namespace {

/// Agreements that this thread is in, each within the one before.
thread_local int depth = 0;

class Deeper {
 public:
  Deeper() { ++depth; }
  Deeper(const Deeper&) = delete;
  Deeper& operator=(const Deeper&) = delete;
  ~Deeper() { --depth; }
};

/// What a rank says at the end of an agreement.
struct Said {
  int depth;
  std::string host, message;  // both empty where all went well

  std::string text() const { return fmt::format("{} {} {}", depth, host, message); }
};

Said parse(const std::string& text) {
  const std::size_t host = text.find(' ') + 1, message = text.find(' ', host) + 1;
  return {std::stoi(text), text.substr(host, message - 1 - host), text.substr(message)};
}

/// What all ranks say. Where some are in an agreement within this one, which this rank failed to
/// reach, they hear of it there, leave that with its message, and then come here.
std::vector<Said> said_by_all(ProcessGroup& process_group, const std::string& message) {
  const Said mine{depth, message.empty() ? "" : host_name(), message};
  while (true) {
    std::vector<Said> all;
    for (const std::string& text : process_group.all_gather(mine.text()))
      all.push_back(parse(text));
    if (std::ranges::all_of(all, [](const Said& said) { return said.depth <= depth; })) return all;
  }
}

}  // namespace

void in_agreement(ProcessGroup& process_group, const std::function<void()>& work) {
  const Deeper deeper;
  std::string message;
  try {
    work();
  } catch (const std::bad_alloc&) {
    message = "out of memory; use a smaller model or --micro-batch, or fewer ranks per host";
  } catch (const std::exception& error) {
    message = error.what();
  }
  const std::vector<Said> all = said_by_all(process_group, message);
  const auto first =
      std::ranges::find_if(all, [](const Said& said) { return !said.message.empty(); });
  if (first == all.end()) return;
  const bool everywhere =
      std::ranges::count(all, first->message, &Said::message) == std::ssize(all);
  if (everywhere || first == all.begin()) throw ReplicatedError(first->message);
  std::vector<std::string> hosts;
  for (const Said& said : all) hosts.push_back(said.host);
  const auto rank = static_cast<std::size_t>(first - all.begin());
  throw ReplicatedError(fmt::format("{}: {}", ranks_text({rank}, hosts), first->message));
}

std::string on_rank_0(ProcessGroup& process_group, const std::function<std::string()>& work) {
  std::string result;
  in_agreement(process_group, [&] {
    if (process_group.rank() == 0) result = work();
  });
  return process_group.broadcast(result);
}

}  // namespace cllm::ranks
