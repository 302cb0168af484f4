#include "cllm/cli/run/request.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/cli/retired_options.h"
#include "cllm/cli/run/checkpoints.h"
#include "cllm/io/run_directory.h"
#include "cllm/model/merge.h"
#include "cllm/ranks/agreement.h"

namespace cllm::cli {

namespace fs = std::filesystem;
using ranks::on_rank_0;
using ranks::ProcessGroup;

namespace {

/// Finds the checkpoint that the run goes on from, in a directory that is locked before if it is
/// also the one to write into.
StartingPoint find_starting_point(const TrainSettings& s, FileLock& lock) {
  const fs::path source = s.resume == "auto" ? s.out : s.resume;
  if (!source.empty() && fs::exists(source)) {
    const fs::path directory =
        fs::is_directory(source) ? source : fs::absolute(source).parent_path();
    const bool writes = s.out.empty() || (fs::exists(s.out) && fs::equivalent(directory, s.out));
    if (writes) lock = FileLock(directory / io::kLockName);
  }
  if (!s.resume.empty() && s.resume != "auto" && !s.initial.empty()) {
    fail("--init-from begins a new run, and --resume {} goes on with one; give one of them",
         s.resume);
  }
  const StartingPoint resumed = find_resumed(s);
  return resumed.resumes() ? resumed : find_initial(s);
}

/// What a configuration means and doesn't say. A run of before there were families and optimizers
/// wrote all of its options, and had neither of these.
Arguments unsaid_in(const std::string& config) {
  const auto says = [&](std::string_view key) { return !value_in_toml(config, key).empty(); };
  const bool is_first = says("preset") && says("schedule") && says("beta2") && !says("optimizer");
  if (!is_first) return {};
  return {"--family=gpt2", fmt::format("--optimizer={}", kFirstOptimizer)};
}

}  // namespace

void read_request(const Arguments& command_line, ProcessGroup& process_group, Request& request) {
  TrainSettings& s = request.settings;
  declare_train_options(request.app, s);
  parse(request.app, command_line);
  Arguments arguments = command_line;
  const auto put_before = [&](Arguments earlier) {
    // Each says how long the run is, so that a later one replaces both.
    const auto is_length = [](const std::string& argument) {
      return argument.starts_with("--steps=") || argument.starts_with("--epochs=");
    };
    if (request.app.count("--steps") + request.app.count("--epochs") > 0) {
      std::erase_if(earlier, is_length);
    }
    if (request.app.count("--data") > 0) {  // a list: the later one stands for all of it
      std::erase_if(earlier, [](const std::string& text) { return text.starts_with("--data="); });
    }
    arguments.insert(arguments.begin(), earlier.begin(), earlier.end());
    parse(request.app, arguments);
  };
  std::optional<model::ModelConfig> base;
  std::vector<std::string> notes;
  if (!s.config.empty()) {
    const std::string config = s.config;
    const std::string text = on_rank_0(process_group, [&] { return read_file(config); });
    put_before(arguments_from_toml(text, config, request.app));
    put_before(unsaid_in(text));
    for (const std::string& line : retired_in(text)) {
      notes.push_back(fmt::format("note    {}: {}", config, line));
    }
  }
  if (!s.resume.empty() || !s.initial.empty()) {
    request.start = starting_point_from_json(
        on_rank_0(process_group, [&] { return to_json(find_starting_point(s, request.lock)); }));
  }
  request.start.notes.insert(request.start.notes.begin(), notes.begin(), notes.end());
  if (!request.start.checkpoint.empty()) {
    Arguments stored =
        stored_arguments(request.start.config, request.start.checkpoint, request.app);
    if (!request.start.resumes()) {
      s.fine_tunes = true;
      stored = inherited(stored);
    }
    const auto is_optimizer = [](const std::string& argument) {
      return argument.starts_with("--optimizer=");
    };
    // Adapters have the one that is usual with them.
    if (s.fine_tunes && s.lora_rank > 0) std::erase_if(stored, is_optimizer);
    if (std::ranges::none_of(stored, is_optimizer)) {
      stored.push_back(fmt::format("--optimizer={}", kFirstOptimizer));
    }
    put_before(stored);
    const auto is_stored = [&](const std::string& option, const std::string& value) {
      return std::ranges::find(stored, option + "=" + value) != stored.end();
    };
    request.keeps_tokenizer =
        (s.tokenizer.empty() || is_stored("--tokenizer", s.tokenizer)) &&
        (!is_given(request.app, "--special-tokens") ||
         is_stored("--special-tokens", special_tokens_format().write(s.special_tokens)));
    const auto is_preset = [](const std::string& argument) {
      return argument.starts_with("--preset=");
    };
    const auto stored_preset = std::ranges::find_if(stored, is_preset);
    if (stored_preset == stored.end() || *stored_preset == "--preset=" + s.preset) {
      base = model::without_adapters(request.start.model);
    }
  }
  resolve(request.app, s, base);
  if (s.lora_rank > 0 && request.start.kind == StartingPoint::Kind::kNew) {
    fail("--lora-rank {}: adapters are for a model that is trained; give one with --init-from",
         s.lora_rank);
  }
}

fs::path directory_of_run(Request& request, bool& is_new) {
  const TrainSettings& s = request.settings;
  if (s.out.empty()) {
    if (request.start.resumes()) return fs::path(request.start.checkpoint).parent_path();
    const std::string name =
        fmt::format("{:%Y%m%d-%H%M%S}-{}", fmt::localtime(std::time(nullptr)), s.preset);
    make_directories("checkpoints");
    // Of two runs that start in one second, the first to make the directory has it.
    fs::path directory = fs::path("checkpoints") / name;
    std::error_code code;
    for (int i = 2; !fs::create_directory(directory, code); ++i) {
      if (code)
        fail("cannot create {}: {}; give another --out", directory.string(), code.message());
      directory = fs::path("checkpoints") / fmt::format("{}-{}", name, i);
    }
    is_new = true;
    request.lock = FileLock(directory / io::kLockName);
    return directory;
  }
  const fs::path out = s.out;
  for (const data::DataSource& source : s.data) require_outside(s.out, "--data", source.path);
  require_outside(s.out, "--validation-data", s.validation_data);
  is_new = !fs::exists(out);
  make_directories(out);
  // A run that goes on was locked when its checkpoint was looked for.
  if (!request.lock.is_held()) request.lock = FileLock(out / io::kLockName);
  // With --resume auto, a run that ended before its first checkpoint begins anew.
  const bool goes_on = request.start.resumes()
                           ? fs::equivalent(fs::path(request.start.checkpoint).parent_path(), out)
                           : s.resume == "auto";
  if (!goes_on && (fs::exists(out / io::kConfigName) || !io::list_checkpoints(out).empty())) {
    fail("--out {} already holds a run; go on with it by --resume {}, or give another directory",
         s.out, s.out);
  }
  return out;
}

}  // namespace cllm::cli
