#include "cllm/cli/run/recompute.h"

#include <fmt/format.h>

#include <algorithm>

#include "cllm/base/error.h"
#include "cllm/cli/machine/machine.h"
#include "cllm/model/network.h"
#include "cllm/model/workspace.h"
#include "cllm/ranks/agreement.h"

namespace cllm::cli {

Format<std::optional<std::uint64_t>> recompute_format() {
  return {.values = "auto|N",
          .read = [](const std::string& text) -> std::optional<std::uint64_t> {
            if (text == "auto") return std::nullopt;
            const auto number = read_number<std::uint64_t>(text);
            if (!number) fail("give auto, or a number of layers");
            return number;
          },
          .write =
              [](const std::optional<std::uint64_t>& layers) {
                return layers ? fmt::format("{}", *layers) : "auto";
              }};
}

void check_recompute(const std::optional<std::uint64_t>& asked, const model::Layout& layout) {
  const std::size_t most = model::Workspace::most_recomputed(model::Network(layout));
  if (!asked || *asked <= most) return;
  fail(
      "--recompute {}: backward goes through layers of which at most {} can be computed again; "
      "give that number, or auto",
      *asked, most);
}

std::size_t choose_recompute(
    const std::optional<std::uint64_t>& asked, const model::Layout& layout,
    const std::function<train::MemoryBudget(std::size_t recompute)>& budget_of,
    const std::vector<ranks::Site>& sites, ranks::ProcessGroup& process_group) {
  std::size_t fewest = 0;
  ranks::in_agreement(process_group, [&] {
    check_recompute(asked, layout);
    if (asked) return;
    const std::size_t most = model::Workspace::most_recomputed(model::Network(layout));
    while (fewest < most && !fits_memory(budget_of(fewest), sites, process_group.rank())) ++fewest;
  });
  if (asked) return *asked;
  std::size_t of_all = 0;
  for (const std::string& one : process_group.all_gather(fmt::format("{}", fewest))) {
    of_all = std::max(of_all, read_number<std::size_t>(one).value());
  }
  return of_all;
}

std::string recompute_text(
    std::size_t recompute, std::size_t layers,
    const std::function<train::MemoryBudget(std::size_t recompute)>& budget_of) {
  if (recompute == 0) return "";
  const auto gigabytes = [&](std::size_t n) {
    return static_cast<double>(budget_of(n).total()) / 1e9;
  };
  return fmt::format(
      "; activations of {} of {} layers are computed again in backward, which saves {:.2f} GB per "
      "rank",
      recompute, layers, gigabytes(0) - gigabytes(recompute));
}

}  // namespace cllm::cli
