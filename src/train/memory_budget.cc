#include "cllm/train/memory_budget.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "cllm/base/memory.h"
#include "cllm/model/generator.h"
#include "cllm/train/checkpoint_writer.h"
#include "cllm/train/evaluator.h"

namespace cllm::train {
namespace {

/// What products touch of what each calling thread has for them: 1.3 MB of ours, and of OpenBLAS'
/// buffer panels of both operands (measured with its AVX2 and AVX-512 kernels; it reserves more and
/// leaves it untouched).
constexpr std::uint64_t kBlasBytes = std::uint64_t{6} << 20;

}  // namespace

std::string MemoryBudget::text() const {
  const auto gigabytes = [](std::uint64_t bytes) { return static_cast<double>(bytes) / 1e9; };
  return fmt::format(
      "{:.2f} GB per rank: parameters {:.2f}, optimizer {:.2f}, gradient sums {:.2f}, threads "
      "{:.2f}, communication {:.2f}, program {:.2f}, and corpus statistics {:.2f} before the first "
      "step, or evaluation {:.2f} and checkpoint {:.2f} after it",
      gigabytes(total()), gigabytes(parameters), gigabytes(optimizer), gigabytes(sums),
      gigabytes(threads), gigabytes(communication), gigabytes(program), gigabytes(statistics),
      gigabytes(evaluation), gigabytes(checkpoint));
}

MemoryBudget memory_budget(const model::Layout& layout, const TrainerOptions& options,
                           bool background, std::uint64_t statistics,
                           const ranks::ProcessGroup& process_group, bool samples) {
  const model::Network network(layout);
  const OptimizerKind& optimizer = find_optimizer(options.optimizer.name);
  const std::span<const BufferSpec> buffers = optimizer.buffers;
  const Ownership ownership = Trainer::ownership_of(layout, options, process_group);
  return {.parameters = layout.flat_size() * sizeof(float),
          .optimizer = bytes_of(layout, buffers, ownership) +
                       optimizer.work_bytes(layout, options.threads, ownership, process_group),
          .sums = Trainer::sums_bytes(layout, options, process_group),
          .threads = Trainer::thread_bytes(network, options, process_group) +
                     kBlasBytes * static_cast<std::uint64_t>(options.threads),
          .evaluation =
              std::max(Evaluator::bytes_for(network, options.threads),
                       samples && process_group.rank() == 0 ? model::Generator::bytes_for(network)
                                                            : std::uint64_t{0}),
          .communication = process_group.buffer_bytes(),
          .checkpoint = background ? CheckpointWriter::copy_bytes(layout, buffers, ownership,
                                                                  process_group.rank())
                                   : 0,
          .statistics = statistics,
          .program = resident_memory()};
}

}  // namespace cllm::train
