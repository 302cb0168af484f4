#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "cllm/base/error.h"
#include "cllm/base/quantities.h"
#include "cllm/cli/commands/commands.h"
#include "cllm/cli/machine/machine.h"
#include "cllm/cli/machine/step_bench.h"
#include "cllm/cli/run/checkpoints.h"
#include "cllm/kernels/blas.h"
#include "cllm/kernels/products.h"
#include "cllm/model/flops.h"
#include "cllm/ranks/agreement.h"
#include "cllm/train/progress.h"
#include "cllm/train/trainer.h"

namespace cllm::cli {
namespace {

using ranks::ProcessGroup;

/// The size of the matrix product that a training step is measured against.
constexpr std::size_t kProduct = 2048;

/// How often it is measured in a run.
constexpr std::uint64_t kProducts = 10;

/// Thread-seconds of a step by activity, added up over the rank's threads.
struct Shares {
  double matrix = 0, attention = 0, head = 0, elementwise = 0, node_sum = 0, update = 0,
         orthogonalise = 0, wait = 0;

  void add(const Recorder& r) {
    matrix += r.seconds(Activity::kMatrix);
    attention += r.seconds(Activity::kAttention);
    head += r.seconds(Activity::kLmHead);
    elementwise += r.seconds(Activity::kForward) + r.seconds(Activity::kBackward);
    node_sum += r.seconds(Activity::kNodeSum);
    update += r.seconds(Activity::kUpdate);
    orthogonalise += r.seconds(Activity::kOrthogonalise);
    wait += r.seconds(Activity::kWait);
  }
};

}  // namespace

void declare_bench_options(CLI::App& app, BenchSettings& s) {
  s.train.preset = "gpt2-124m";
  s.train.batch = 4;
  declare_step_options(app, s.train);
  add_option(app, "--steps", s.steps, "steps that are measured")
      ->type_name("N")
      ->capture_default_str();
  app.add_flag("--json", s.json, "print one JSON object");
}

void bench_command(const CLI::App& app, BenchSettings& settings, ProcessGroup& process_group) {
  TrainSettings& s = settings.train;
  ranks::in_agreement(process_group, [&] {
    if (settings.steps < 1) fail("--steps 0: give at least 1");
    resolve_step(app, s);
  });
  const Machine machine = prepare_machine(s.threads, s.products, process_group);
  const int threads = machine.threads;
  ranks::in_agreement(process_group, [&] { process_group.use(s.allreduce); });
  StepBench bench(s, machine, process_group);
  std::optional<ProductBench> product;
  ranks::in_agreement(process_group, [&] {
    product.emplace(bench.trainer().pool(), kProduct, kernels::find_products("openblas"));
  });

  // The product is measured now and then between the steps, so that both see the same machine.
  std::vector<double> products, peaks, seconds, exposed, hidden;
  double first_loss = 0, last_loss = 0;
  Shares shares;
  constexpr std::uint64_t kWarmUp = 2;
  const std::uint64_t product_every = (kWarmUp + settings.steps + kProducts - 1) / kProducts;
  for (std::uint64_t step = 0; step < kWarmUp + settings.steps; ++step) {
    if (step % product_every == 0) products.push_back(product->run());
    peaks.push_back(register_peak(bench.trainer().pool()));
    for (Recorder& recorder : bench.trainer().pool().recorders()) recorder.reset();
    const train::StepReport report = bench.step();
    if (step == 0) first_loss = report.loss;
    last_loss = report.loss;
    if (step < kWarmUp) continue;
    seconds.push_back(report.seconds());
    exposed.push_back(report.communication_seconds);
    hidden.push_back(report.hidden_communication_seconds);
    for (const Recorder& recorder : bench.trainer().pool().recorders()) shares.add(recorder);
  }
  std::vector<std::int64_t> rate = {static_cast<std::int64_t>(median(products)),
                                    static_cast<std::int64_t>(median(peaks))};
  process_group.all_reduce(rate);
  if (process_group.rank() != 0) return;

  const double step_seconds = median(seconds);
  const double tokens = static_cast<double>(s.batch * s.shape.context) / step_seconds;
  const double flops = tokens * model::training_flops_per_token(bench.layout());
  const auto sgemm = static_cast<double>(rate[0]), peak = static_cast<double>(rate[1]);
  double all = 0;
  for (const double each : seconds) all += each;
  all *= threads;
  const nlohmann::ordered_json result = {{"tokens_per_s", tokens},
                                         {"step_seconds", step_seconds},
                                         {"share_of_peak", flops / peak},
                                         {"peak_gflops", peak / 1e9},
                                         {"share_of_sgemm", flops / sgemm},
                                         {"sgemm_gflops", sgemm / 1e9},
                                         {"model_gflops", flops / 1e9},
                                         {"parameters", bench.layout().parameter_count()},
                                         {"ranks", process_group.size()},
                                         {"threads", threads},
                                         {"teams", bench.trainer().teams()},
                                         {"micro_batch", s.micro_batch},
                                         {"token_block", s.token_block},
                                         {"reduce", reduce_format().write(s.reduce)},
                                         {"optimizer", s.optimizer.name},
                                         {"kernels", machine.kernels.name},
                                         {"products", kernels::products().name},
                                         {"blas", kernels::blas_description()},
                                         {"communication_seconds", median(exposed)},
                                         {"hidden_communication_seconds", median(hidden)},
                                         {"first_loss", first_loss},
                                         {"last_loss", last_loss},
                                         {"shares",
                                          {{"matrix_products", shares.matrix / all},
                                           {"attention", shares.attention / all},
                                           {"head", shares.head / all},
                                           {"elementwise", shares.elementwise / all},
                                           {"node_sum", shares.node_sum / all},
                                           {"communication", median(exposed) / step_seconds},
                                           {"update", shares.update / all},
                                           {"orthogonalise", shares.orthogonalise / all},
                                           {"waiting", shares.wait / all}}}};
  if (settings.json) {
    fmt::print("{}\n", result.dump());
    return;
  }
  fmt::print("model           {}: {}; {} parameters\n", s.preset, model::shape_text(s.shape),
             count_text(static_cast<double>(bench.layout().parameter_count())));
  fmt::print("batch           {} x {} tokens in micro-batches of {}, token blocks of {}\n", s.batch,
             s.shape.context, s.micro_batch, s.token_block);
  fmt::print("machine         {} rank{} with {} thread{} in {} team{}, {} kernels, {}; {}\n",
             process_group.size(), process_group.size() == 1 ? "" : "s", threads,
             threads == 1 ? "" : "s", bench.trainer().teams().size(),
             bench.trainer().teams().size() == 1 ? "" : "s", machine.kernels.name,
             kernels::products_text(), kernels::blas_description());
  fmt::print("optimizer       {}\n", s.optimizer.name);
  fmt::print("step            {:.4f} s, median of {}\n", step_seconds, settings.steps);
  fmt::print("tokens/s        {}\n", count_text(tokens));
  fmt::print("model FLOP/s    {:.1f} G\n", flops / 1e9);
  fmt::print("register peak   {:.1f} G\n", peak / 1e9);
  fmt::print("share of peak   {:.3f}\n", flops / peak);
  fmt::print("OpenBLAS {}^3  {:.1f} G\n", kProduct, sgemm / 1e9);
  fmt::print("share of that   {:.3f}\n", flops / sgemm);
  fmt::print("of the threads' time:\n");
  for (const auto& [name, share] : result["shares"].items()) {
    std::string label = name;
    std::ranges::replace(label, '_', ' ');
    fmt::print("  {:<15} {:5.1f} %\n", label, 100 * share.get<double>());
  }
}

}  // namespace cllm::cli
