#include "cllm/cli/run/starting_point.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "cllm/base/digest.h"
#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/cli/program.h"
#include "cllm/cli/run/checkpoints.h"
#include "cllm/io/checkpoint.h"
#include "cllm/io/run_directory.h"

namespace cllm::cli {

namespace fs = std::filesystem;

namespace {

/// A vocabulary is large where it has this many times the channels: then the corpus says more of
/// its tokens than chance (docs/lattice.md).
constexpr std::size_t kLargeVocabulary = 8;

/// Learning rate of codes, times C / r. A step of Adam moves each of a code's r numbers as far as
/// each of the C of a row; with more than to make up for that, reduced tables learn faster.
constexpr double kCodesRate = 2;

/// How the table of the origin's checkpoint started: "corpus", "random" or `otherwise`.
std::string started_from(const StartingPoint& origin, const std::string& otherwise) {
  return nlohmann::json::parse(table_facts(origin.state)).value("init", otherwise);
}

/// The checkpoint that `path` means: itself, or the newest whole one of the directory.
StartingPoint starting_point_at(StartingPoint::Kind kind, const fs::path& path) {
  StartingPoint origin;
  origin.kind = kind;
  fs::path checkpoint = path;
  if (fs::is_directory(path)) {
    const io::WholeCheckpoint found = io::find_newest_whole_checkpoint(path);
    for (const std::string& problem : found.problems) {
      origin.notes.push_back(fmt::format("note    passed over: {}", problem));
    }
    if (found.path.empty() && found.problems.empty()) {
      fail("{} holds no checkpoint (step-*.h5)", path.string());
    }
    if (found.path.empty()) {
      fail("none of the {} checkpoints in {} is whole; the newest: {}", found.problems.size(),
           path.string(), found.problems.front());
    }
    checkpoint = found.path;
    origin.why = fmt::format("the newest of {} in {}{}", found.count, path.string(),
                             found.problems.empty() ? "" : " that is whole");
  } else if (!fs::exists(path)) {
    fail("{} does not exist; give a checkpoint file or the directory of a run", path.string());
  }
  origin.checkpoint = fs::absolute(checkpoint).string();
  io::RunState run = io::read_run_state(checkpoint);
  if (kind == StartingPoint::Kind::kResumed && !run.compression.empty()) {
    fail(
        "{} is a compressed model, which a run can't be resumed from; resume from the checkpoint "
        "that it was made of, or begin a new run with --init-from",
        checkpoint.string());
  }
  origin.config = std::move(run.config);
  origin.embedding_rank = run.model.embedding_rank;
  const auto state = nlohmann::json::parse(run.state, nullptr, false);
  if (state.is_object()) origin.state = state.dump();
  return origin;
}

nlohmann::json history_of(const StartingPoint& origin) {
  const nlohmann::json state = nlohmann::json::parse(origin.state);
  const auto history = state.find("history");
  return history != state.end() && history->is_array() ? *history : nlohmann::json::array();
}

/// Ranks, threads and hosts of a start of the run.
nlohmann::json machine_of(const std::vector<ranks::Site>& sites) {
  std::set<std::string> hosts;
  for (const ranks::Site& site : sites) hosts.insert(site.host);
  return {{"ranks", sites.size()}, {"threads", sites.front().threads}, {"hosts", hosts.size()}};
}

std::map<std::string, std::string> values_of(const std::string& config, const std::string& origin,
                                             const CLI::App& app) {
  std::map<std::string, std::string> values;
  for (const std::string& argument : stored_arguments(config, origin, app)) {
    const std::size_t equals = argument.find('=');
    values[argument.substr(0, equals)] = argument.substr(equals + 1);
  }
  return values;
}

std::string tokenizer_text(const std::string& kind, const std::string& blob) {
  if (kind.empty()) return "none";
  if (blob.empty()) return kind;
  return fmt::format("{} of digest {}", kind, digest_hex(std::as_bytes(std::span(blob))));
}

}  // namespace

StartingPoint find_resumed(const TrainSettings& s) {
  if (s.resume.empty()) return {};
  if (s.resume == "auto") {
    if (s.out.empty()) fail("--resume auto looks in the run's directory; give it with --out");
    if (!fs::exists(s.out)) return {};
    if (io::list_checkpoints(s.out).empty()) {
      const fs::path latest = fs::path(s.out) / io::kLatestName;
      if (!fs::exists(latest)) return {};
      fail(
          "{} says that there was a checkpoint, but there is none; put it back, or remove {} to "
          "begin anew",
          latest.string(), latest.string());
    }
  }
  return starting_point_at(StartingPoint::Kind::kResumed, s.resume == "auto" ? s.out : s.resume);
}

StartingPoint find_initial(const TrainSettings& s) {
  if (s.initial.empty()) return {};
  return starting_point_at(StartingPoint::Kind::kInitial, s.initial);
}

std::string table_facts(const std::string& state) {
  return nlohmann::json::parse(state).value("embedding", nlohmann::json::object()).dump();
}

data::TextRules text_rules_of(const StartingPoint& origin) {
  if (!origin.resumes()) return data::kTextRules;
  const auto first = static_cast<int>(data::TextRules::kFirst);
  const int rules = nlohmann::json::parse(origin.state).value("text_rules", first);
  if (rules < first || rules > static_cast<int>(data::kTextRules)) {
    fail("{} reads its texts by rules {}, which a newer version knows; go on with that",
         origin.checkpoint, rules);
  }
  return static_cast<data::TextRules>(rules);
}

std::string to_json(const StartingPoint& origin) {
  return nlohmann::json{{"kind", static_cast<int>(origin.kind)},
                        {"checkpoint", origin.checkpoint},
                        {"config", origin.config},
                        {"state", origin.state},
                        {"embedding_rank", origin.embedding_rank},
                        {"why", origin.why},
                        {"notes", origin.notes}}
      .dump();
}

StartingPoint starting_point_from_json(const std::string& text) {
  const auto object = nlohmann::json::parse(text);
  return {.kind = static_cast<StartingPoint::Kind>(object.at("kind").get<int>()),
          .checkpoint = object.at("checkpoint"),
          .config = object.at("config"),
          .state = object.at("state"),
          .embedding_rank = object.at("embedding_rank"),
          .why = object.at("why"),
          .notes = object.at("notes")};
}

Arguments inherited(const Arguments& stored) {
  Arguments result;
  for (const std::string& argument : stored) {
    for (const char* name : {"--preset=", "--layers=", "--heads=", "--channels=", "--context=",
                             "--embedding-rank=", "--tokenizer="}) {
      if (argument.starts_with(name)) result.push_back(argument);
    }
  }
  return result;
}

bool starts_from_corpus(const model::ModelConfig& shape) {
  return shape.is_factorised() || shape.vocabulary >= kLargeVocabulary * shape.channels;
}

void resolve_embedding(const StartingPoint& origin, const CLI::App& app, std::size_t vocabulary,
                       TrainSettings& s) {
  model::ModelConfig& shape = s.shape;
  shape.vocabulary = vocabulary;
  if (!s.embedding_rank.empty()) {
    shape.embedding_rank = parse_embedding_rank(s.embedding_rank);
  } else if (!origin.checkpoint.empty()) {
    shape.embedding_rank = origin.embedding_rank;
  }
  s.embedding_rank = shape.is_factorised() ? std::to_string(shape.embedding_rank) : "dense";
  if (s.embedding_init.empty()) {
    s.embedding_init = started_from(origin, starts_from_corpus(shape) ? "corpus" : "random");
  }
  if (shape.is_factorised() && app.count("--embedding-rate") == 0) {
    s.optimizer.embedding_learning_rate = kCodesRate * static_cast<double>(shape.channels) /
                                          static_cast<double>(shape.embedding_rank);
  }
}

void check_table_start(const StartingPoint& origin, const TrainSettings& s, const CLI::App& app,
                       bool has_tokenizer) {
  const bool from_corpus = parse_corpus_init(s.embedding_init);
  const bool in_lattice = parse_lattice_basis(s.embedding_basis);
  if (origin.resumes()) {
    const auto require = [&](const char* option, const std::string& now, const std::string& then) {
      if (now == then) return;
      fail("{} {}: the token table of {} started with {}; leave it out, or begin a new run", option,
           now, origin.checkpoint, then);
    };
    if (app.count("--embedding-init") > 0) {
      require("--embedding-init", s.embedding_init, started_from(origin, s.embedding_init));
    }
    const auto before = values_of(origin.config, origin.checkpoint, app);
    const auto as_before = [&](const char* option, const std::string& now) {
      const auto then = before.find(option);
      if (then != before.end()) require(option, now, then->second);
    };
    as_before("--embedding-basis", s.embedding_basis);
    if (app.count("--embedding-sample") > 0) {
      const auto then = before.find("--embedding-sample");
      require("--embedding-sample", std::to_string(s.embedding_sample),
              then == before.end() ? "what its steps left room for" : then->second);
    }
    as_before("--rare-tokens", std::to_string(s.rare_tokens));
    return;
  }
  const bool is_new = origin.kind == StartingPoint::Kind::kNew;
  const auto refuse = [&](const std::string& option) {
    fail("{}: {}; leave it out", option,
         is_new ? "the token table doesn't start from the corpus"
                : fmt::format("the token table is that of {}", origin.checkpoint));
  };
  if (!is_new && from_corpus && app.count("--embedding-init") > 0) {
    refuse("--embedding-init corpus");
  }
  if (s.rare_tokens > 0 && !(is_new && from_corpus)) {
    refuse(fmt::format("--rare-tokens {}", s.rare_tokens));
  }
  if (!in_lattice && !(is_new && from_corpus)) refuse("--embedding-basis orthonormal");
  if (app.count("--embedding-sample") > 0 && !(is_new && from_corpus)) {
    refuse(fmt::format("--embedding-sample {}", s.embedding_sample));
  }
  if (!in_lattice && !s.shape.is_factorised()) {
    fail("--embedding-basis orthonormal: the token table is dense; leave it out");
  }
  if (s.rare_tokens > 0 && !has_tokenizer) {
    fail(
        "--rare-tokens {}: the data has no tokenizer to say which tokens share their pieces; leave "
        "it out",
        s.rare_tokens);
  }
}

void check_agrees(const StartingPoint& origin, const TrainSettings& s,
                  const data::PreparedData& data) {
  if (origin.kind == StartingPoint::Kind::kNew) return;
  const io::RunState run = io::read_run_state(origin.checkpoint);
  if (run.model != s.shape) {
    fail("{} holds a model of {}, but the options ask for {}; leave out the options that differ",
         origin.checkpoint, model::shape_text(run.model), model::shape_text(s.shape));
  }
  if (run.tokenizer_kind != data.tokenizer_kind || run.tokenizer_blob != data.tokenizer_blob) {
    fail(
        "{} was trained with another tokenizer ({}) than --data and --tokenizer give now ({}); use "
        "the data that it was trained on",
        origin.checkpoint, tokenizer_text(run.tokenizer_kind, run.tokenizer_blob),
        tokenizer_text(data.tokenizer_kind, data.tokenizer_blob));
  }
  if (origin.resumes() && run.seed != s.seed) {
    fail(
        "{} was trained with --seed {}, and --seed {} would read the data in another order; leave "
        "it out, or begin a new run from its weights with --init-from",
        origin.checkpoint, run.seed, s.seed);
  }
}

std::vector<std::string> changes_since(const StartingPoint& origin, const std::string& config,
                                       const CLI::App& app, const std::string& data_digest,
                                       const std::vector<ranks::Site>& sites) {
  std::vector<std::string> lines;
  if (!origin.resumes()) return lines;
  const auto before = values_of(origin.config, origin.checkpoint, app);
  const auto now = values_of(config, "config.toml", app);
  for (const auto& [name, value] : now) {
    if (name == "--threads") continue;  // told with the ranks
    const auto old = before.find(name);
    if (old == before.end() && app.count(name) == 0) continue;  // an option of later programs
    const std::string was = old == before.end() ? "not given" : old->second;
    if (was != value) lines.push_back(fmt::format("changed {} is {}; it was {}", name, value, was));
  }
  for (const auto& [name, value] : before) {
    if (!now.contains(name) && name != "--threads")
      lines.push_back(fmt::format("changed {} was {}", name, value));
  }
  const nlohmann::json state = nlohmann::json::parse(origin.state);
  if (state.value("data", "") != data_digest) {
    lines.emplace_back(
        "changed the data is not that of the checkpoint; what validates now may have been trained "
        "on");
  }
  const nlohmann::json history = history_of(origin);
  if (history.empty() || !history.back().is_object()) return lines;
  const nlohmann::json machine = machine_of(sites);
  const nlohmann::json& start = history.back();
  for (const auto& [name, value] : machine.items()) {
    if (start.contains(name) && start.at(name) != value) {
      lines.push_back(
          fmt::format("changed {} is {}; it was {}", name, value.dump(), start.at(name).dump()));
    }
  }
  return lines;
}

std::string run_facts(const StartingPoint& origin, std::uint64_t first_step,
                      const TrainSettings& settings, const std::vector<ranks::Site>& sites,
                      const std::string& data_digest, const std::string& table) {
  nlohmann::json start = machine_of(sites);
  start["program"] = version();
  start["from_step"] = first_step;
  start["reduce"] = settings.reduce;
  const std::string name = fs::path(origin.checkpoint).filename().string();
  start["start"] = origin.resumes()            ? "resumed from " + name
                   : origin.checkpoint.empty() ? "new"
                                               : "init from " + origin.checkpoint;
  nlohmann::json history = origin.resumes() ? history_of(origin) : nlohmann::json::array();
  history.push_back(std::move(start));
  return nlohmann::json{{"data", data_digest},
                        {"text_rules", static_cast<int>(text_rules_of(origin))},
                        {"history", std::move(history)},
                        {"embedding", nlohmann::json::parse(table)}}
      .dump();
}

std::vector<std::string> set_newer_aside(const fs::path& directory, std::uint64_t step) {
  const auto newest = io::find_newest_checkpoint(directory);
  if (!newest || *io::step_in_name(*newest) <= step) return {};
  if (const fs::path metrics = directory / kMetricsName; fs::exists(metrics)) {
    const std::string text = read_file(metrics);
    write_atomically(io::aside_name(metrics), std::as_bytes(std::span(text)));
  }
  std::vector<std::string> lines;
  for (const std::string& sentence : io::set_newer_aside(directory, step)) {
    lines.push_back("note    " + sentence);
  }
  return lines;
}

}  // namespace cllm::cli
