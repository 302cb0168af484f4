#include "cllm/cli/machine/measured_figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cllm/cli/program.h"
#include "cllm/collectives/cost_model.h"
#include "cllm/collectives/simulated_sums.h"
#include "cllm/model/config.h"
#include "cllm/model/layout.h"
#include "cllm/plan/step_time.h"
#include "cllm/ranks/placement.h"

namespace cllm::cli {
namespace {

/// An update is at least so much of what it was measured to take; the rest are products.
constexpr double kLeastMemory = 0.2;

std::size_t count_hosts(const Machine& machine) {
  std::vector<std::string> hosts;
  for (const ranks::Site& site : machine.sites) hosts.push_back(site.host);
  std::ranges::sort(hosts);
  return static_cast<std::size_t>(std::unique(hosts.begin(), hosts.end()) - hosts.begin());
}

/// Seconds of a processor that sums took away from computation for each byte that a rank sent.
/// `longer`: what computation took longer than without sums, that of the batch's tokens, which
/// nothing is computed behind, among it.
double stolen_per_byte(const model::Layout& layout, double longer, int threads, std::size_t hosts,
                       std::size_t ranks_per_host, const ranks::Costs& costs) {
  collectives::SimulatedSums sums(hosts, ranks_per_host, costs);
  const collectives::Choice choice = collectives::choose(sums.cluster(), costs);
  const auto seconds_and_bytes = [&](std::size_t elements) {
    const std::size_t bytes = elements * sizeof(std::int32_t);
    return sums.even(collectives::Collective::kAllReduce, bytes, choice.pattern(bytes));
  };
  if (layout.trains_table()) longer -= seconds_and_bytes(layout.config().vocabulary + 1).seconds;
  return std::max(0.0, longer) * threads / seconds_and_bytes(layout.trained_size()).bytes;
}

void set_network(const ranks::Costs& costs, FigureTable& figures) {
  const auto set = [&](const char* name, double value) {
    figures.set(name, value, Origin::kMeasured);
  };
  set("add-gbyte", 1e-9 / costs.per_added_byte);
  set("copy-gbyte", 1e-9 / costs.per_copied_byte);
  if (costs.network.per_byte == 0) return;
  set("gbit", 8e-9 / costs.network.per_byte);
  set("latency-us", 1e6 * costs.network.latency);
  set("message-us", 1e6 * costs.per_message);
}

}  // namespace

FigureTable measure_figures(const TrainSettings& settings, const StepSeconds& step,
                            const Machine& machine, const std::optional<ranks::Costs>& costs,
                            double disk, ranks::ProcessGroup& process_group) {
  const auto ranks = static_cast<std::size_t>(process_group.size());
  const StepSeconds alone =
      ranks == 1 ? step : measure_step_alone(settings, machine, process_group);
  const model::Layout layout(settings.shape, settings.freeze);
  const int threads = machine.sites.front().threads;
  const train::TrainerOptions options = trainer_options(settings, threads);
  const auto here = static_cast<std::size_t>(ranks::ranks_beside(machine.sites, 0));

  FigureTable figures;
  const auto set = [&](const char* name, double value) {
    figures.set(name, value, Origin::kMeasured);
  };
  const double core_flops = plan::relative_compute(layout, options, ranks) *
                            plan::micro_batch_flops(layout, options) / alone.compute;
  set("cores", static_cast<double>(here) * threads);
  set("core-gflops", core_flops / 1e9);
  const double products = plan::update_flops(layout, options.optimizer, 1) / (core_flops * threads);
  const double memory = std::max(alone.update - products, kLeastMemory * alone.update);
  set("update-gbyte", static_cast<double>(here) * plan::update_traffic(layout) / memory / 1e9);
  if (disk > 0) set("disk-gbyte", disk / 1e9);
  if (costs) {
    set_network(*costs, figures);
    const std::size_t hosts = count_hosts(machine);
    if (hosts > 1) {
      set("sum-ns", 1e9 * stolen_per_byte(layout, step.compute - alone.compute, threads, hosts,
                                          here, *costs));
    }
  }
  return figures;
}

std::string figures_file(const FigureTable& figures, const TrainSettings& settings,
                         const Machine& machine) {
  const nlohmann::ordered_json all = {{"program", fmt::format("cllm-dist {}", version())},
                                      {"measured_with",
                                       {{"hosts", count_hosts(machine)},
                                        {"ranks", machine.sites.size()},
                                        {"threads", machine.sites.front().threads},
                                        {"processor", machine.sites.front().model},
                                        {"preset", settings.preset},
                                        {"model", model::shape_text(settings.shape)},
                                        {"optimizer", settings.optimizer.name},
                                        {"batch", settings.batch},
                                        {"micro_batch", settings.micro_batch}}},
                                      {"figures", nlohmann::ordered_json::parse(figures.json())}};
  return all.dump(2) + "\n";
}

}  // namespace cllm::cli
