#include <fmt/format.h>

#include <cstdio>

#include "cllm/base/error.h"
#include "cllm/cli/commands/commands.h"
#include "cllm/cli/run/checkpoints.h"
#include "cllm/kernels/blas.h"
#include "cllm/ranks/agreement.h"

namespace cllm::cli {
namespace {

void write(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    fail("cannot write to standard output");
  }
}

}  // namespace

void declare_sample_options(CLI::App& app, SampleSettings& s) {
  add_option(app, "--checkpoint", s.checkpoint, kModelHelp)->type_name("PATH")->required();
  add_option(app, "--prompt", s.prompt, "text to continue [a new line]", Blank::kText)
      ->type_name("TEXT");
  add_option(app, "--tokens", s.tokens, "tokens to generate")
      ->type_name("N")
      ->capture_default_str();
  add_option(app, "--temperature", s.options.temperature,
             "below 1 makes likely tokens likelier, 0 always takes the likeliest")
      ->type_name("X")
      ->capture_default_str();
  add_option(app, "--top-k", s.options.top_k, "draw from the k likeliest tokens; 0 for all")
      ->type_name("K")
      ->capture_default_str();
  add_option(app, "--top-p", s.options.top_p,
             "draw from the likeliest tokens that together have probability P")
      ->type_name("P")
      ->capture_default_str();
  add_option(app, "--seed", s.seed, "seed of the random numbers")
      ->type_name("N")
      ->capture_default_str();
}

void sample_command(const SampleSettings& settings, ranks::ProcessGroup& process_group) {
  ranks::in_agreement(process_group, [&] {
    if (process_group.rank() != 0) return;
    model::validate(settings.options);
    kernels::prepare_blas(1);
    const LoadedModel loaded(settings.checkpoint);
    const data::Tokenizer& tokenizer = loaded.require_tokenizer();
    const auto [prompt, lost] = tokenizer.encode_counting(settings.prompt);
    if (prompt.empty()) fail("--prompt: give at least one character to begin with");
    if (lost > 0) {
      fmt::print(stderr, "warning: --prompt: {}\n", data::lost_text(lost, settings.prompt.size()));
    }

    model::Generator generator(loaded.model, loaded.parameters.span());
    RandomStream random(settings.seed, 0);
    // A vocabulary may be larger in the model than in the tokenizer: those rows have no text.
    const std::size_t known = tokenizer.vocabulary();
    write(settings.prompt);
    std::span<const float> logits = generator.advance(prompt);
    for (std::uint64_t i = 0; i < settings.tokens; ++i) {
      const std::uint32_t token =
          model::sample_token(logits.first(known), settings.options, random);
      write(tokenizer.token_bytes(token));
      if (i + 1 < settings.tokens) logits = generator.advance({&token, 1});
    }
    write("\n");
  });
}

}  // namespace cllm::cli
