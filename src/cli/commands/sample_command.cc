#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "cllm/base/denormals.h"
#include "cllm/base/error.h"
#include "cllm/base/parallel.h"
#include "cllm/base/processors.h"
#include "cllm/base/thread_pool.h"
#include "cllm/cli/commands/commands.h"
#include "cllm/cli/run/checkpoints.h"
#include "cllm/cli/run/prompts.h"
#include "cllm/kernels/blas.h"
#include "cllm/ranks/agreement.h"

namespace cllm::cli {
namespace {

void write(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    fail("cannot write to standard output");
  }
}

/// Threads where none are asked for, at most: an answer is bound by reading the weights, which so
/// many do as fast as more, and OpenBLAS has buffers for few more on a large host.
constexpr std::size_t kMostUsualThreads = 32;

/// Continues prompts. Its const members are thread-safe.
class Sampler {
 public:
  explicit Sampler(const SampleSettings& settings)
      : settings_(settings),
        loaded_(settings.checkpoint),
        tokenizer_(loaded_.require_tokenizer()),
        end_(settings.stops_at_end ? tokenizer_.end_of_text() : std::nullopt) {}

  const data::Tokenizer& tokenizer() const { return tokenizer_; }
  model::Generator make_generator(ThreadPool* helpers) const {
    return {loaded_.model, loaded_.parameters.span(), helpers, loaded_.run.token_rows};
  }

  /// The tokens of a prompt. Says on standard error where they are not all of it.
  std::vector<std::uint32_t> encode(const Prompt& prompt) const {
    auto [tokens, lost] = tokenizer_.encode_counting(prompt.text);
    if (tokens.empty()) fail("{}: give at least one character to begin with", prompt.where);
    if (lost > 0) {
      fmt::print(stderr, "warning: {}: {}\n", prompt.where,
                 data::lost_text(lost, prompt.text.size()));
    }
    return tokens;
  }

  /// Continues the prompt of a number, which chooses its random numbers: what comes out depends on
  /// no other prompt, nor on who computes it. `take` gets each token as it is drawn.
  model::Continuation answer(model::Generator& generator, std::span<const std::uint32_t> prompt,
                             std::size_t number,
                             const std::function<void(std::uint32_t)>& take) const {
    RandomStream random(settings_.seed, number);
    return model::continue_text(generator, prompt,
                                {.sampling = settings_.options,
                                 .tokens = settings_.tokens,
                                 .known = tokenizer_.vocabulary(),
                                 .end = end_},
                                random, take);
  }

  /// The line, or lines, that an answer is written as.
  std::string text_of(const std::string& prompt, const model::Continuation& answer) const {
    const std::string completion = tokenizer_.decode(answer.tokens);
    if (!settings_.jsonl) return prompt + completion + "\n";
    const nlohmann::ordered_json object = {{"prompt", prompt},
                                           {"completion", completion},
                                           {"tokens", answer.tokens},
                                           {"finish_reason", answer.is_ended ? "stop" : "length"}};
    // JSON is UTF-8, and a token may be a part of a character: the tokens say what it was.
    return object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  }

 private:
  const SampleSettings& settings_;
  LoadedModel loaded_;
  const data::Tokenizer& tokenizer_;
  std::optional<std::uint32_t> end_;
};

/// Writes texts in the order of their numbers, each as soon as those before it are written.
/// Thread-safe.
class OrderedWriter {
 public:
  explicit OrderedWriter(std::string separator) : separator_(std::move(separator)) {}

  void put(std::size_t number, std::string text) {
    const std::scoped_lock lock(mutex_);
    waiting_.emplace(number, std::move(text));
    for (auto next = waiting_.find(written_); next != waiting_.end();
         next = waiting_.find(written_)) {
      write(written_ == 0 ? next->second : separator_ + next->second);
      waiting_.erase(next);
      ++written_;
    }
  }

 private:
  std::mutex mutex_;
  std::string separator_;
  std::map<std::size_t, std::string> waiting_;
  std::size_t written_ = 0;
};

/// A single prompt has all threads, of several each thread takes one at a time.
void answer_all(const Sampler& sampler, const std::vector<Prompt>& prompts, ThreadPool& threads,
                std::string separator) {
  std::vector<std::vector<std::uint32_t>> tokens;
  for (const Prompt& prompt : prompts) tokens.push_back(sampler.encode(prompt));
  OrderedWriter writer(std::move(separator));
  const auto answer_one = [&](model::Generator& generator, std::size_t i) {
    const model::Continuation answer =
        sampler.answer(generator, tokens[i], i, [](std::uint32_t) {});
    writer.put(i, sampler.text_of(prompts[i].text, answer));
  };
  if (prompts.size() == 1) {
    model::Generator generator = sampler.make_generator(&threads);
    return answer_one(generator, 0);
  }
  std::vector<std::unique_ptr<model::Generator>> generators(
      static_cast<std::size_t>(threads.size()));
  std::vector<std::exception_ptr> failures(generators.size());
  std::atomic<bool> has_failed = false;
  threads.deal(prompts.size(), [&](std::size_t i, std::size_t thread) {
    if (has_failed) return;
    try {  // none may leave a compute thread
      auto& generator = generators[thread];
      if (!generator) {
        generator = std::make_unique<model::Generator>(sampler.make_generator(nullptr));
      }
      answer_one(*generator, i);
    } catch (...) {
      failures[thread] = std::current_exception();
      has_failed = true;
    }
  });
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

/// The text of a single prompt, as it is made.
void answer_live(const Sampler& sampler, const Prompt& prompt, ThreadPool& threads) {
  const std::vector<std::uint32_t> tokens = sampler.encode(prompt);
  model::Generator generator = sampler.make_generator(&threads);
  write(prompt.text);
  sampler.answer(generator, tokens, 0,
                 [&](std::uint32_t token) { write(sampler.tokenizer().token_bytes(token)); });
  write("\n");
}

std::vector<Prompt> prompts_of(const SampleSettings& settings) {
  if (settings.prompts.empty()) {
    return {{settings.prompt.empty() ? "\n" : settings.prompt, "--prompt"}};
  }
  if (!settings.prompt.empty()) fail("--prompts {}: leave out --prompt", settings.prompts);
  return read_prompts(settings.prompts);
}

}  // namespace

void declare_sample_options(CLI::App& app, SampleSettings& s) {
  add_option(app, "--checkpoint", s.checkpoint, kModelHelp)->type_name("PATH")->required();
  add_option(app, "--prompt", s.prompt, "text to continue [a new line]", Blank::kText)
      ->type_name("TEXT");
  add_option(app, "--prompts", s.prompts,
             "texts to continue: FILE with one in each line, or FILE.jsonl with a \"prompt\" in "
             "each")
      ->type_name("FILE");
  add_option(app, "--tokens", s.tokens, "most tokens to generate")
      ->type_name("N")
      ->capture_default_str();
  add_option(app, "--stop-at-end", s.stops_at_end, switch_format(),
             "stop at the token that ends a text, such as <|endoftext|>, where there is one");
  declare_sampling_options(app, s.options, s.seed, s.threads);
  app.add_flag("--jsonl", s.jsonl,
               "write a JSON object for each answer: prompt, completion, tokens, finish_reason");
}

void declare_sampling_options(CLI::App& app, model::SamplingOptions& options, std::uint64_t& seed,
                              int& threads) {
  add_option(app, "--temperature", options.temperature,
             "below 1 makes likely tokens likelier, 0 always takes the likeliest")
      ->type_name("X")
      ->capture_default_str();
  add_option(app, "--top-k", options.top_k, "draw from the k likeliest tokens; 0 for all")
      ->type_name("K")
      ->capture_default_str();
  add_option(app, "--top-p", options.top_p,
             "draw from the likeliest tokens that together have probability P")
      ->type_name("P")
      ->capture_default_str();
  add_option(app, "--seed", seed, "seed of the random numbers")
      ->type_name("N")
      ->capture_default_str();
  threads = static_cast<int>(std::min(available_processors().size(), kMostUsualThreads));
  add_option(app, "--threads", threads,
             "threads that compute an answer, or of --prompts one each [all processors, up to 32]")
      ->type_name("N");
}

ThreadPool sampling_threads(int threads) {
  if (threads < 1) fail("--threads {}: give at least 1", threads);
  kernels::prepare_blas(threads);
  parallel(threads, [](int) { flush_denormals(); });  // so that all have the same bits
  return ThreadPool(threads);
}

void sample_command(const SampleSettings& settings, ranks::ProcessGroup& process_group) {
  ranks::in_agreement(process_group, [&] {
    if (process_group.rank() != 0) return;
    model::validate(settings.options);
    ThreadPool threads = sampling_threads(settings.threads);
    const std::vector<Prompt> prompts = prompts_of(settings);
    const Sampler sampler(settings);
    if (prompts.size() == 1 && !settings.jsonl) {
      answer_live(sampler, prompts.front(), threads);
    } else {
      answer_all(sampler, prompts, threads, settings.jsonl ? "" : "---\n");
    }
  });
}

}  // namespace cllm::cli
