#include "cllm/cli/request.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/cli/checkpoints.h"
#include "cllm/io/checkpoint.h"

namespace cllm::cli {

namespace fs = std::filesystem;
using train::Collective;
using train::on_rank_0;

namespace {

/// The checkpoint that `settings` ask to go on from, and its configuration; both empty where
/// --resume auto finds none.
std::pair<std::string, std::string> find_resumed(const TrainSettings& s) {
  if (s.resume == "auto") {
    if (s.out.empty()) fail("--resume auto looks in the run's directory; give it with --out");
    if (!fs::exists(s.out) || !io::find_newest_checkpoint(s.out)) return {};
  }
  const fs::path checkpoint = find_checkpoint(s.resume == "auto" ? s.out : s.resume);
  return {fs::absolute(checkpoint).string(), io::read_run_state(checkpoint).config};
}

/// Whether `path` is `directory` or lies in it.
bool is_below(const fs::path& path, const fs::path& directory) {
  const auto plain = [](const fs::path& p) { return fs::weakly_canonical(fs::absolute(p)); };
  const fs::path relative = plain(path).lexically_relative(plain(directory));
  return !relative.empty() && *relative.begin() != "..";
}

}  // namespace

void read_request(const Arguments& command_line, Collective& collective, Request& request) {
  TrainSettings& s = request.settings;
  declare_train_options(request.app, s);
  parse(request.app, command_line);
  Arguments arguments = command_line;
  const auto put_before = [&](const Arguments& earlier) {
    arguments.insert(arguments.begin(), earlier.begin(), earlier.end());
    parse(request.app, arguments);
  };
  if (!s.config.empty()) {
    const std::string config = s.config;
    const std::string text = on_rank_0(collective, [&] { return read_file(config); });
    put_before(arguments_from_toml(text, config, request.app));
  }
  if (!s.resume.empty()) {
    const auto found = nlohmann::json::parse(
        on_rank_0(collective, [&] { return nlohmann::json(find_resumed(s)).dump(); }));
    request.resumed = found.at(0);
    const Arguments stored = arguments_from_toml(found.at(1), request.resumed, request.app);
    put_before(stored);
    const bool is_stored = std::ranges::find(stored, "--tokenizer=" + s.tokenizer) != stored.end();
    request.keeps_tokenizer = !request.resumed.empty() && (is_stored || s.tokenizer.empty());
  }
  resolve(request.app, s);
}

fs::path directory_of_run(const Request& request, bool& is_new) {
  const TrainSettings& s = request.settings;
  if (s.out.empty()) {
    if (!request.resumed.empty()) return fs::path(request.resumed).parent_path();
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
    return directory;
  }
  const fs::path out = s.out;
  if (fs::is_directory(s.data) && is_below(out, s.data)) {
    fail("--out {} lies in --data {}, whose files would then be read as text; give another", s.out,
         s.data);
  }
  const bool holds_a_run = fs::is_directory(out) &&
                           (fs::exists(out / "config.toml") || !io::list_checkpoints(out).empty());
  // With --resume auto, a run that ended before its first checkpoint begins anew.
  const bool goes_on =
      request.resumed.empty()
          ? s.resume == "auto"
          : fs::exists(out) && fs::equivalent(fs::path(request.resumed).parent_path(), out);
  if (holds_a_run && !goes_on) {
    fail("--out {} already holds a run; go on with it by --resume {}, or give another directory",
         s.out, s.out);
  }
  is_new = !fs::exists(out);
  make_directories(out);
  return out;
}

}  // namespace cllm::cli
