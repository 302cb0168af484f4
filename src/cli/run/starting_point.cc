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
#include "cllm/base/quantities.h"
#include "cllm/cli/program.h"
#include "cllm/cli/retired_options.h"
#include "cllm/cli/run/checkpoints.h"
#include "cllm/cli/run/model_json.h"
#include "cllm/io/checkpoint.h"
#include "cllm/io/formats/model_file.h"
#include "cllm/io/run_directory.h"
#include "cllm/model/merge.h"
#include "cllm/train/progress.h"

namespace cllm::cli {

namespace fs = std::filesystem;

namespace {

/// A vocabulary is large where it has this many times the channels: then the corpus says more of
/// its tokens than chance (docs/lattice.md).
constexpr std::size_t kLargeVocabulary = 8;

/// Learning rate of a factorised token embedding, times C / r. A step of Adam moves each of a
/// token's r numbers as far as each of the C of a dense one; with more than to make up for that, it
/// learns faster.
constexpr double kFactorisedLearningRate = 2;

/// Learning rate of a token embedding that isn't the output layer: a token's row gets a gradient
/// from its own inputs alone.
constexpr double kUntiedLearningRate = 5;

/// What the embedding of the starting point's checkpoint started from; nothing where it doesn't
/// say.
std::optional<EmbeddingStart> embedding_start_of(const StartingPoint& start) {
  const auto facts = nlohmann::json::parse(embedding_facts(start.state));
  const std::string name = facts.value("init", "");
  if (name.empty()) return std::nullopt;
  return name == "corpus" ? EmbeddingStart::kCorpus : EmbeddingStart::kRandom;
}

/// The checkpoint that `path` means: itself, or the newest whole one of the directory.
StartingPoint starting_point_at(StartingPoint::Kind kind, const fs::path& path) {
  StartingPoint start;
  start.kind = kind;
  fs::path checkpoint = path;
  const bool is_foreign = io::format_of(path) != io::ModelFormat::kCheckpoint;
  if (is_foreign && kind == StartingPoint::Kind::kResumed) {
    fail(
        "{} is a model of another program, which a run can't be resumed from; begin a new run with "
        "--init-from",
        path.string());
  }
  if (fs::is_directory(path) && !is_foreign) {
    const io::WholeCheckpoint found = io::find_newest_whole_checkpoint(path);
    for (const std::string& problem : found.problems) {
      start.notes.push_back(fmt::format("note    passed over: {}", problem));
    }
    if (found.path.empty() && found.problems.empty()) {
      fail("{} holds no checkpoint (step-*.h5)", path.string());
    }
    if (found.path.empty()) {
      fail("none of the {} checkpoints in {} is whole; the newest: {}", found.problems.size(),
           path.string(), found.problems.front());
    }
    checkpoint = found.path;
    start.why = fmt::format("the newest of {} in {}{}", found.count, path.string(),
                            found.problems.empty() ? "" : " that is whole");
  } else if (!fs::exists(path)) {
    fail("{} does not exist; give a checkpoint file or the directory of a run", path.string());
  }
  start.checkpoint = fs::absolute(checkpoint).string();
  io::RunState run = io::read_model_head(checkpoint).run;
  if (kind == StartingPoint::Kind::kResumed && !run.compression.empty()) {
    fail(
        "{} is a compressed model, which a run can't be resumed from; resume from the checkpoint "
        "that it was made of, or begin a new run with --init-from",
        checkpoint.string());
  }
  start.config = std::move(run.config);
  start.model = run.model;
  start.freeze = run.freeze;
  const auto state = nlohmann::json::parse(run.state, nullptr, false);
  if (state.is_object()) start.state = state.dump();
  return start;
}

nlohmann::json history_of(const StartingPoint& start) {
  const nlohmann::json state = nlohmann::json::parse(start.state);
  const auto history = state.find("history");
  return history != state.end() && history->is_array() ? *history : nlohmann::json::array();
}

/// Ranks, threads and hosts of a start of the run.
nlohmann::json machine_of(const std::vector<ranks::Site>& sites) {
  std::set<std::string> hosts;
  for (const ranks::Site& site : sites) hosts.insert(site.host);
  return {{"ranks", sites.size()}, {"threads", sites.front().threads}, {"hosts", hosts.size()}};
}

std::map<std::string, std::string> values_of(const std::string& config, const std::string& start,
                                             const CLI::App& app) {
  std::map<std::string, std::string> values;
  for (const std::string& argument : stored_arguments(config, start, app)) {
    const std::size_t equals = argument.find('=');
    std::string& value = values[argument.substr(0, equals)];
    value += (value.empty() ? "" : ", ") + argument.substr(equals + 1);  // of a list, all
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

std::string embedding_facts(const std::string& state) {
  return nlohmann::json::parse(state).value("embedding", nlohmann::json::object()).dump();
}

data::TextRules text_rules_of(const StartingPoint& start) {
  return start.resumes() ? text_rules_in(start.state, start.checkpoint) : data::kTextRules;
}

std::string to_json(const StartingPoint& start) {
  return nlohmann::json{{"kind", static_cast<int>(start.kind)},
                        {"checkpoint", start.checkpoint},
                        {"config", start.config},
                        {"state", start.state},
                        {"model", to_json(start.model)},
                        {"freeze", start.freeze},
                        {"why", start.why},
                        {"notes", start.notes}}
      .dump();
}

StartingPoint starting_point_from_json(const std::string& text) {
  const auto object = nlohmann::json::parse(text);
  return {.kind = static_cast<StartingPoint::Kind>(object.at("kind").get<int>()),
          .checkpoint = object.at("checkpoint"),
          .config = object.at("config"),
          .state = object.at("state"),
          .model = model_from_json(object.at("model")),
          .freeze = object.at("freeze"),
          .why = object.at("why"),
          .notes = object.at("notes")};
}

Arguments inherited(const Arguments& stored) {
  Arguments result;
  std::vector<std::string> options = model_options();
  options.insert(options.end(), {"--tokenizer", "--special-tokens", "--optimizer"});
  for (const std::string& argument : stored) {
    for (const std::string& option : options) {
      if (argument.starts_with(option + "=")) result.push_back(argument);
    }
  }
  return result;
}

bool starts_from_corpus(const model::ModelConfig& shape) {
  return shape.is_factorised() || shape.vocabulary >= kLargeVocabulary * shape.channels;
}

void resolve_embedding(const StartingPoint& start, const CLI::App& app, std::size_t vocabulary,
                       TrainSettings& s) {
  model::ModelConfig& shape = s.shape;
  // A model may have more rows than its tokenizer has tokens.
  shape.vocabulary =
      start.checkpoint.empty() ? vocabulary : std::max(vocabulary, start.model.vocabulary);
  if (app.count("--embedding-rank") == 0 && !start.checkpoint.empty()) {
    shape.embedding_rank = start.model.embedding_rank;
  }
  if (!start.checkpoint.empty()) shape.bands = start.model.bands;
  // "auto" of a run that has some means those.
  if (!(shape.has_bands() && s.embedding_bands.usual)) resolve_bands(app, s);
  if (!s.embedding_start) {
    s.embedding_start = embedding_start_of(start).value_or(
        starts_from_corpus(shape) ? EmbeddingStart::kCorpus : EmbeddingStart::kRandom);
  }
  if (app.count("--embedding-rate") > 0) return;
  if (shape.embedding_rank > 0 && shape.parts.tied) {
    s.optimizer.embedding_learning_rate = kFactorisedLearningRate *
                                          static_cast<double>(shape.channels) /
                                          static_cast<double>(shape.embedding_rank);
  } else if (!shape.parts.tied) {
    s.optimizer.embedding_learning_rate = kUntiedLearningRate;
  }
}

void check_embedding_start(const StartingPoint& start, const TrainSettings& s, const CLI::App& app,
                           bool has_tokenizer) {
  const bool from_corpus = s.embedding_start == EmbeddingStart::kCorpus;
  const bool is_orthonormal = s.embedding_basis == EmbeddingBasis::kOrthonormal;
  if (start.resumes()) {
    const auto require = [&](const char* option, const std::string& now, const std::string& then) {
      if (now == then) return;
      fail("{} {}: the token embedding of {} started with {}; leave it out, or begin a new run",
           option, now, start.checkpoint, then);
    };
    if (app.count("--embedding-init") > 0) {
      const auto format = embedding_start_format();
      const auto then = embedding_start_of(start);
      require("--embedding-init", format.write(s.embedding_start),
              format.write(then ? then : s.embedding_start));
    }
    const auto before = values_of(start.config, start.checkpoint, app);
    const auto as_before = [&](const char* option, const std::string& now) {
      const auto then = before.find(option);
      if (then != before.end()) require(option, now, then->second);
    };
    as_before("--embedding-basis", is_orthonormal ? "orthonormal" : "lattice");
    if (app.count("--embedding-sample") > 0) {
      const auto then = before.find("--embedding-sample");
      require("--embedding-sample", std::to_string(s.embedding_sample),
              then == before.end() ? "what its steps left room for" : then->second);
    }
    as_before("--rare-tokens", std::to_string(s.rare_tokens));
    return;
  }
  const bool is_new = start.kind == StartingPoint::Kind::kNew;
  const auto refuse = [&](const std::string& option) {
    fail("{}: {}; leave it out", option,
         is_new ? "the token embedding doesn't start from the corpus"
                : fmt::format("the token embedding is that of {}", start.checkpoint));
  };
  if (!is_new && from_corpus && app.count("--embedding-init") > 0) {
    refuse("--embedding-init corpus");
  }
  if (s.rare_tokens > 0 && !(is_new && from_corpus)) {
    refuse(fmt::format("--rare-tokens {}", s.rare_tokens));
  }
  if (is_orthonormal && !(is_new && from_corpus)) refuse("--embedding-basis orthonormal");
  if (app.count("--embedding-sample") > 0 && !(is_new && from_corpus)) {
    refuse(fmt::format("--embedding-sample {}", s.embedding_sample));
  }
  if (is_orthonormal && !s.shape.is_factorised()) {
    fail("--embedding-basis orthonormal: the token embedding is dense; leave it out");
  }
  if (s.rare_tokens > 0 && !has_tokenizer) {
    fail(
        "--rare-tokens {}: the data has no tokenizer to say which tokens share their pieces; leave "
        "it out",
        s.rare_tokens);
  }
}

void check_agrees(const StartingPoint& start, const TrainSettings& s,
                  const data::PreparedData& data) {
  if (start.kind == StartingPoint::Kind::kNew) return;
  const io::ModelHead head = io::read_model_head(start.checkpoint);
  const io::RunState& run = head.run;
  if (run.tokenizer_kind.empty() && !data.tokenizer_kind.empty()) {
    fail(
        "{} has no tokenizer that can be read ({}), so what its tokens stand for is unknown; give "
        "--data a token file of its tokens, that names no tokenizer either",
        start.checkpoint, head.tokenizer_note);
  }
  // Of --init-from, adapters become a part of the matrices.
  const bool is_same = start.resumes()
                           ? run.model == s.shape
                           : model::without_adapters(run.model) == model::without_adapters(s.shape);
  if (!is_same) {
    fail("{} holds a model of {}, but the options ask for {}; leave out the options that differ",
         start.checkpoint, model::shape_text(run.model), model::shape_text(s.shape));
  }
  if (run.tokenizer_kind != data.tokenizer_kind || run.tokenizer_blob != data.tokenizer_blob) {
    fail(
        "{} was trained with another tokenizer ({}) than --data and --tokenizer give now ({}); use "
        "the data that it was trained on",
        start.checkpoint, tokenizer_text(run.tokenizer_kind, run.tokenizer_blob),
        tokenizer_text(data.tokenizer_kind, data.tokenizer_blob));
  }
  if (start.resumes()) {
    const std::string before = value_in_toml(start.config, "optimizer");
    const std::string was = before.empty() ? kFirstOptimizer : before;
    if (was != s.optimizer.name) {
      fail(
          "--optimizer {}: {} was trained with {}, and has nothing that another one could go on "
          "with; leave it out, or begin a new run from its weights with --init-from",
          s.optimizer.name, start.checkpoint, was);
    }
  }
  if (start.resumes() && run.seed != s.seed) {
    fail(
        "{} was trained with --seed {}, and --seed {} would read the data in another order; leave "
        "it out, or begin a new run from its weights with --init-from",
        start.checkpoint, run.seed, s.seed);
  }
}

std::string thawed_note(const StartingPoint& start, const model::Layout& layout) {
  if (!start.resumes()) return {};
  const model::Layout before(start.model, model::Freeze(start.freeze));
  std::size_t thawed = 0;
  for (std::size_t i = 0; i < layout.tensors().size(); ++i) {
    if (layout[i].is_trained && !before[i].is_trained) thawed += layout[i].size();
  }
  if (thawed == 0) return {};
  return fmt::format(
      "note    {} parameters were frozen until now: what the optimizer keeps of them starts at "
      "zero",
      count_text(static_cast<double>(thawed)));
}

std::vector<std::string> changes_since(const StartingPoint& start, const std::string& config,
                                       const CLI::App& app, const std::string& data_digest,
                                       const std::vector<ranks::Site>& sites) {
  std::vector<std::string> lines;
  if (!start.resumes()) return lines;
  for (const std::string& line : retired_in(start.config)) lines.push_back("changed " + line);
  const auto before = values_of(start.config, start.checkpoint, app);
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
  const nlohmann::json state = nlohmann::json::parse(start.state);
  if (state.value("data", "") != data_digest) {
    lines.emplace_back(
        "changed the data is not that of the checkpoint; what validates now may have been trained "
        "on");
  }
  const nlohmann::json history = history_of(start);
  if (history.empty() || !history.back().is_object()) return lines;
  const nlohmann::json machine = machine_of(sites);
  const nlohmann::json& last = history.back();
  for (const auto& [name, value] : machine.items()) {
    if (last.contains(name) && last.at(name) != value) {
      lines.push_back(
          fmt::format("changed {} is {}; it was {}", name, value.dump(), last.at(name).dump()));
    }
  }
  return lines;
}

std::string run_facts(const StartingPoint& start, std::uint64_t first_step,
                      const TrainSettings& settings, const std::vector<ranks::Site>& sites,
                      const std::string& data_digest, const std::string& mixture,
                      const std::string& embedding) {
  nlohmann::json entry = machine_of(sites);
  entry["program"] = version();
  entry["from_step"] = first_step;
  entry["reduce"] = reduce_format().write(settings.reduce);
  const std::string name = fs::path(start.checkpoint).filename().string();
  entry["start"] = start.resumes()            ? "resumed from " + name
                   : start.checkpoint.empty() ? "new"
                                              : "init from " + start.checkpoint;
  nlohmann::json history = start.resumes() ? history_of(start) : nlohmann::json::array();
  history.push_back(std::move(entry));
  nlohmann::json facts = {{"data", data_digest},
                          {"text_rules", static_cast<int>(text_rules_of(start))},
                          {"history", std::move(history)},
                          {"embedding", nlohmann::json::parse(embedding)}};
  if (!mixture.empty()) facts["mixture"] = nlohmann::json::parse(mixture);
  return facts.dump();
}

std::vector<std::string> set_newer_aside(const fs::path& directory, std::uint64_t step) {
  const auto newest = io::find_newest_checkpoint(directory);
  if (!newest || *io::step_in_name(*newest) <= step) return {};
  if (const fs::path metrics = directory / io::kMetricsName; fs::exists(metrics)) {
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
