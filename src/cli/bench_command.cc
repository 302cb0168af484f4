#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "cllm/base/error.h"
#include "cllm/base/processors.h"
#include "cllm/base/random.h"
#include "cllm/base/stopwatch.h"
#include "cllm/cli/checkpoints.h"
#include "cllm/cli/commands.h"
#include "cllm/kernels/blas.h"
#include "cllm/model/flops.h"
#include "cllm/model/initialize.h"
#include "cllm/train/placement.h"
#include "cllm/train/progress.h"
#include "cllm/train/trainer.h"

namespace cllm::cli {
namespace {

using train::Collective;
using train::count_text;

/// The size of the matrix product that a training step is measured against.
constexpr std::size_t kProduct = 2048;

/// How often it is measured in a run.
constexpr std::uint64_t kProducts = 10;

/// Text is as long as that many batches, so that steps don't all see the same.
constexpr std::size_t kBatchesOfText = 8;

double median(std::vector<double> values) {
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::ranges::nth_element(values, middle);
  return *middle;
}

/// FLOP/s of this rank's threads, each multiplying matrices of its own at the same time.
class ProductBench {
 public:
  explicit ProductBench(Crew& crew) : crew_(crew) {
    for (int i = 0; i < crew.size(); ++i) {
      for (int matrix = 0; matrix < 3; ++matrix) {
        matrices_.emplace_back(kProduct * kProduct);
        matrices_.back().fill(0.5f);
      }
    }
  }
  double run() {
    Stopwatch clock;
    crew_.run([&](int thread, Recorder&) {
      Slab<float>* m = &matrices_[static_cast<std::size_t>(thread) * 3];
      kernels::sgemm(kernels::Transpose::kNo, kernels::Transpose::kNo, kProduct, kProduct, kProduct,
                     1.0f, m[0].data(), kProduct, m[1].data(), kProduct, 0.0f, m[2].data(),
                     kProduct);
    });
    const double n = kProduct;
    return 2 * n * n * n * crew_.size() / clock.lap();
  }

 private:
  Crew& crew_;
  std::vector<Slab<float>> matrices_;
};

/// Thread-seconds of a step by activity, added up over the rank's threads.
struct Shares {
  double matrix = 0, attention = 0, head = 0, elementwise = 0, node_sum = 0, update = 0, wait = 0;

  void add(const Recorder& r) {
    matrix += r.seconds(Activity::kMatrix);
    attention += r.seconds(Activity::kAttention);
    head += r.seconds(Activity::kHead);
    elementwise += r.seconds(Activity::kForward) + r.seconds(Activity::kBackward);
    node_sum += r.seconds(Activity::kNodeSum);
    update += r.seconds(Activity::kUpdate);
    wait += r.seconds(Activity::kWait);
  }
};

std::uint64_t default_vocabulary(const std::string& preset) {
  if (preset.starts_with("gpt2")) return 50257;
  return preset == "medium" ? 4096 : 256;
}

}  // namespace

void declare_bench_options(CLI::App& app, BenchSettings& s) {
  s.train.preset = "gpt2-124m";
  s.train.batch = 4;
  declare_machine_options(app, s.train);
  declare_model_options(app, s.train);
  add_option(app, "--vocabulary", s.train.shape.vocabulary,
             "tokens [50257 for gpt2-*, 4096 for medium, else 256]")
      ->type_name("N");
  add_option(app, "--batch", s.train.batch, "sequences of a step, over all ranks")
      ->type_name("N")
      ->capture_default_str();
  add_option(app, "--micro-batch", s.train.micro_batch,
             "sequences of a unit [from batch and context]")
      ->type_name("N");
  add_option(app, "--row-block", s.train.row_block,
             "positions that one thread of a team takes at a time [from batch]")
      ->type_name("N");
  add_option(app, "--reduce", s.train.reduce, "exact or fp32")
      ->type_name("KIND")
      ->capture_default_str();
  add_option(app, "--steps", s.steps, "steps that are measured")
      ->type_name("N")
      ->capture_default_str();
  app.add_flag("--json", s.json, "print one JSON object");
}

void bench_command(const CLI::App& app, BenchSettings& settings, Collective& collective) {
  TrainSettings& s = settings.train;
  train::in_agreement(collective, [&] {
    if (settings.steps < 1) fail("--steps 0: give at least 1");
    const std::uint64_t vocabulary = s.shape.vocabulary;
    resolve(app, s);
    s.shape.vocabulary = vocabulary > 0 ? vocabulary : default_vocabulary(s.preset);
    s.shape.embedding_rank = s.embedding_rank.empty() ? 0 : parse_embedding_rank(s.embedding_rank);
    model::validate(s.shape);
    s.row_block = std::min(s.row_block, s.micro_batch * s.shape.context);
  });
  const auto sites = train::gather_sites(
      {.host = host_name(), .processors = available_processors(), .threads = s.threads},
      collective);
  const int threads = sites[static_cast<std::size_t>(collective.rank())].threads;
  const kernels::Kernels* kernels = nullptr;
  std::optional<model::Gpt> gpt;
  std::optional<train::State> state;
  std::optional<data::WindowSampler> sampler;
  std::optional<train::Trainer> trainer;
  std::optional<ProductBench> product;
  std::vector<std::uint32_t> text;
  train::in_agreement(collective, [&] { kernels::prepare_blas(threads); });
  train::in_agreement(collective, [&] { collective.use(parse_allreduce(s.allreduce, sites)); });
  train::in_agreement(collective, [&] {
    kernels = &kernels::select_kernels();
    text.resize(std::max<std::size_t>(kBatchesOfText * s.batch, 2) * s.shape.context + 1);
    RandomStream random(1, 0);
    for (std::uint32_t& token : text) {
      token = static_cast<std::uint32_t>(random.below(s.shape.vocabulary));
    }
    gpt.emplace(s.shape, *kernels);
    state.emplace(gpt->layout());
    model::initialize(gpt->layout(), 1, state->parameters.span(), threads);
    sampler.emplace(1, text.size(), s.shape.context);
    trainer.emplace(*gpt, *kernels, trainer_options(s, threads),
                    data::TokenView(std::span<const std::uint32_t>(text)), *sampler, collective);
    product.emplace(trainer->crew());
  });

  // The product is measured now and then between the steps, so that both see the same machine.
  std::vector<double> products, seconds, exposed, hidden;
  double first_loss = 0, last_loss = 0;
  Shares shares;
  constexpr std::uint64_t kWarmUp = 2;
  const std::uint64_t product_every = (kWarmUp + settings.steps + kProducts - 1) / kProducts;
  for (std::uint64_t step = 0; step < kWarmUp + settings.steps; ++step) {
    if (step % product_every == 0) products.push_back(product->run());
    for (Recorder& recorder : trainer->crew().recorders()) recorder.reset();
    const train::StepReport report = trainer->step(*state);
    if (step == 0) first_loss = report.loss;
    last_loss = report.loss;
    if (step < kWarmUp) continue;
    seconds.push_back(report.seconds());
    exposed.push_back(report.communication_seconds);
    hidden.push_back(report.hidden_communication_seconds);
    for (const Recorder& recorder : trainer->crew().recorders()) shares.add(recorder);
  }
  std::vector<std::int64_t> rate = {static_cast<std::int64_t>(median(products))};
  collective.sum(rate);
  if (collective.rank() != 0) return;

  const double step_seconds = median(seconds);
  const double tokens = static_cast<double>(s.batch * s.shape.context) / step_seconds;
  const double flops = tokens * model::training_flops_per_token(gpt->layout());
  const auto sgemm = static_cast<double>(rate[0]);
  double all = 0;
  for (const double each : seconds) all += each;
  all *= threads;
  const nlohmann::ordered_json result = {{"tokens_per_s", tokens},
                                         {"step_seconds", step_seconds},
                                         {"share_of_sgemm", flops / sgemm},
                                         {"sgemm_gflops", sgemm / 1e9},
                                         {"model_gflops", flops / 1e9},
                                         {"parameters", gpt->layout().parameter_count()},
                                         {"ranks", collective.size()},
                                         {"threads", threads},
                                         {"teams", trainer->teams()},
                                         {"micro_batch", s.micro_batch},
                                         {"row_block", s.row_block},
                                         {"reduce", s.reduce},
                                         {"kernels", kernels->name},
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
                                           {"waiting", shares.wait / all}}}};
  if (settings.json) {
    fmt::print("{}\n", result.dump());
    return;
  }
  fmt::print("model           {}: {}; {} parameters\n", s.preset, model::shape_text(s.shape),
             count_text(static_cast<double>(gpt->layout().parameter_count())));
  fmt::print("batch           {} x {} tokens in units of {}, row blocks of {}\n", s.batch,
             s.shape.context, s.micro_batch, s.row_block);
  fmt::print("machine         {} rank{} with {} thread{} in {} team{}, {} kernels, {}\n",
             collective.size(), collective.size() == 1 ? "" : "s", threads, threads == 1 ? "" : "s",
             trainer->teams().size(), trainer->teams().size() == 1 ? "" : "s", kernels->name,
             kernels::blas_description());
  fmt::print("step            {:.4f} s, median of {}\n", step_seconds, settings.steps);
  fmt::print("tokens/s        {}\n", count_text(tokens));
  fmt::print("model FLOP/s    {:.1f} G\n", flops / 1e9);
  fmt::print("sgemm {}^3     {:.1f} G\n", kProduct, sgemm / 1e9);
  fmt::print("share of sgemm  {:.3f}\n", flops / sgemm);
  fmt::print("of the threads' time:\n");
  for (const auto& [name, share] : result["shares"].items()) {
    std::string label = name;
    std::ranges::replace(label, '_', ' ');
    fmt::print("  {:<15} {:5.1f} %\n", label, 100 * share.get<double>());
  }
}

}  // namespace cllm::cli
