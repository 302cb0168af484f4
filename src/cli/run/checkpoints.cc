#include "cllm/cli/run/checkpoints.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "cllm/base/error.h"
#include "cllm/cli/arguments.h"
#include "cllm/cli/run/model_json.h"
#include "cllm/io/formats/model_file.h"
#include "cllm/io/run_directory.h"
#include "cllm/ranks/agreement.h"

namespace cllm::cli {

std::filesystem::path find_checkpoint(const std::filesystem::path& path) {
  std::error_code code;
  const auto status = std::filesystem::status(path, code);
  if (!std::filesystem::exists(status)) {
    fail("{} does not exist; give a checkpoint file or the directory of a run", path.string());
  }
  if (!std::filesystem::is_directory(status)) return path;
  if (io::format_of(path) != io::ModelFormat::kCheckpoint) return path;
  const auto newest = io::find_newest_checkpoint(path);
  if (!newest) fail("{} holds no checkpoint (step-*.h5)", path.string());
  return *newest;
}

void require_outside(const std::string& out, const char* option, const std::string& data) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  if (!fs::is_directory(data, ignored)) return;
  const auto plain = [](const fs::path& p) { return fs::weakly_canonical(fs::absolute(p)); };
  const fs::path relative = plain(out).lexically_relative(plain(data));
  if (relative.empty() || *relative.begin() == "..") return;
  fail("--out {} lies in {} {}, whose files would then be read as text; give another", out, option,
       data);
}

CheckpointHead read_head(const std::filesystem::path& path, ranks::ProcessGroup& process_group) {
  CheckpointHead head;
  ranks::in_agreement(process_group, [&] {
    if (process_group.rank() != 0) return;
    head.path = find_checkpoint(path);
    io::ModelHead model = io::read_model_head(head.path);
    head.run = std::move(model.run);
    head.format = std::move(model.format);
    head.tokenizer_note = std::move(model.tokenizer_note);
  });
  if (process_group.size() == 1) return head;
  head.run.model = model_from_json(process_group.broadcast(to_json(head.run.model)));
  head.path = process_group.broadcast(head.path.string());
  head.run.tokenizer_kind = process_group.broadcast(head.run.tokenizer_kind);
  head.run.tokenizer_blob = process_group.broadcast(head.run.tokenizer_blob);
  head.run.config = process_group.broadcast(head.run.config);
  head.tokenizer_note = process_group.broadcast(head.tokenizer_note);
  head.run.state = process_group.broadcast(head.run.state);
  head.run.token_rows = token_rows_of_rank_0(std::move(head.run.token_rows), process_group);
  return head;
}

std::vector<std::uint32_t> token_rows_of_rank_0(std::vector<std::uint32_t> rows,
                                                ranks::ProcessGroup& process_group) {
  if (process_group.size() == 1) return rows;
  const auto bytes = std::as_bytes(std::span(rows));
  const std::string sent = process_group.broadcast(
      std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  rows.resize(sent.size() / sizeof(std::uint32_t));
  std::ranges::copy(sent, reinterpret_cast<char*>(rows.data()));
  return rows;
}

LoadedModel::LoadedModel(const std::filesystem::path& checkpoint)
    : LoadedModel([&] {
        ranks::SingleProcess alone;
        return read_head(checkpoint, alone);
      }()) {
  io::read_model_weights(path, model.layout(), parameters.span());
}

LoadedModel::LoadedModel(CheckpointHead head)
    : path(std::move(head.path)),
      run(std::move(head.run)),
      format(std::move(head.format)),
      tokenizer_note(std::move(head.tokenizer_note)),
      tokenizer(tokenizer_of(run, path)),
      kernels(kernels::select_kernels()),
      model(run.model, kernels),
      parameters(model.layout().flat_size()) {}

const data::Tokenizer& LoadedModel::require_tokenizer() const {
  if (!tokenizer) {
    fail("{} has no tokenizer, so its tokens have no text: {}", path.string(), tokenizer_note);
  }
  return *tokenizer;
}

data::TextRules text_rules_in(const std::string& state, const std::filesystem::path& checkpoint) {
  const auto first = static_cast<int>(data::TextRules::kFirst);
  const int rules = nlohmann::json::parse(state).value("text_rules", first);
  if (rules < first || rules > static_cast<int>(data::kTextRules)) {
    fail("{} reads its texts by rules {}, which a newer version knows; go on with that",
         checkpoint.string(), rules);
  }
  return static_cast<data::TextRules>(rules);
}

data::DataPart LoadedModel::load_part(const std::string& data, int threads) const {
  data::TextReading reading;
  // Raw bytes are data where the run that made the model asked for them.
  reading.binary = value_in_toml(run.config, "tokenizer") == "bytes";
  // Whole texts were never read by the first rules.
  reading.rules = std::max(text_rules_in(run.state, path), data::TextRules::kSecond);
  reading.separator = value_in_toml(run.config, "document-separator");
  data::DataPart part =
      data::load_part(data, tokenizer.get(), run.model.vocabulary, threads, reading);
  part.tokens = part.tokens.renamed(run.token_rows);
  return part;
}

std::unique_ptr<data::Tokenizer> tokenizer_of(const io::RunState& run,
                                              const std::filesystem::path& checkpoint) {
  if (run.tokenizer_kind.empty()) return nullptr;
  std::unique_ptr<data::Tokenizer> tokenizer;
  try {
    tokenizer = data::make_tokenizer(run.tokenizer_kind, run.tokenizer_blob);
  } catch (const Error& error) {
    fail("{}: its tokenizer cannot be used: {}", checkpoint.string(), error.what());
  }
  if (tokenizer->vocabulary() > run.model.vocabulary) {
    fail("{}: its tokenizer has {} tokens and its model {}; the file is not what a run wrote",
         checkpoint.string(), tokenizer->vocabulary(), run.model.vocabulary);
  }
  return tokenizer;
}

}  // namespace cllm::cli
