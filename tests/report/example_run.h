#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "support/scratch_directory.h"

namespace cllm::report {

/// What a run of `of` steps has written up to step `steps`: its loss falls from 6 to about 2, every
/// tenth step is evaluated, and its last ones are `shift` higher.
inline std::string example_metrics(int steps, int of, double shift = 0) {
  std::string text = fmt::format(
      R"({{"step":0,"start":{{"time":1700000000,"version":"0.1.0","steps":{},"ranks":2,"threads":4,"hosts":1,"names":["node1"],"job":"77"}}}})"
      "\n",
      of);
  for (int step = 1; step <= steps; ++step) {
    const double loss = 2 + 4.0 / step + shift;
    text += fmt::format(
        R"({{"step":{},"loss":{},"lr":0.001,"grad_norm":{},"tokens":{},"tokens_per_s":1000,"seconds":{{"compute":0.75,"communication":0.125,"hidden_communication":0.25,"update":0.125}}}})"
        "\n",
        step, loss, 1.0 + 1.0 / step, 1000 * step);
    if (step % 10 == 0) {
      text += fmt::format(
          R"({{"step":{},"val_loss":{},"val_tokens":10,"tokens":{},"seconds":{{"evaluation":0.5}}}})"
          "\n",
          step, loss + 0.1, 1000 * step);
    }
  }
  return text;
}

/// Writes such a run's directory; it is complete, or running.
inline void write_example(const support::ScratchDirectory& scratch,
                          const std::filesystem::path& name, int steps, int of, double shift = 0,
                          const std::string& config = {}) {
  scratch.write(name / "metrics.jsonl", example_metrics(steps, of, shift));
  scratch.write(name / "config.toml",
                config + fmt::format("preset = \"mini\"\nsteps = {}\n# min-lr = 1e-05\n", of));
  scratch.write(name / fmt::format("step-{:08}.h5", steps), "not looked at");
  scratch.write(name / (steps == of ? "complete" : ".lock"), "");
}

}  // namespace cllm::report
