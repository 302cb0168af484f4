#include "cllm/train/collective.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <new>

#include "cllm/base/error.h"
#include "cllm/base/processors.h"
#include "cllm/train/ranks.h"

namespace cllm::train {

void in_agreement(Collective& collective, const std::function<void()>& work) {
  std::string message;
  try {
    work();
  } catch (const std::bad_alloc&) {
    message = "out of memory; use a smaller model or --micro-batch, or fewer ranks per host";
  } catch (const std::exception& error) {
    message = error.what();
  }
  const std::vector<std::string> messages = collective.all_gather(message);
  const auto first = std::ranges::find_if(messages, [](const auto& m) { return !m.empty(); });
  if (first == messages.end()) return;
  const bool everywhere = std::ranges::count(messages, *first) == std::ssize(messages);
  if (everywhere || first == messages.begin()) throw ReplicatedError(*first);
  const std::vector<std::string> hosts = collective.all_gather(host_name());
  const auto rank = static_cast<std::size_t>(first - messages.begin());
  throw ReplicatedError(fmt::format("{}: {}", ranks_text({rank}, hosts), *first));
}

std::string on_rank_0(Collective& collective, const std::function<std::string()>& work) {
  std::string result;
  in_agreement(collective, [&] {
    if (collective.rank() == 0) result = work();
  });
  return collective.broadcast(result);
}

}  // namespace cllm::train
