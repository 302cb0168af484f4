#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/base/output.h"
#include "cllm/cli/commands/commands.h"
#include "cllm/data/dataset.h"
#include "cllm/ranks/agreement.h"

namespace cllm::cli {
namespace {

/// What stands for standard output.
constexpr std::string_view kStandardOutput = "-";

/// Calls `write` with what writes text into a file that is there whole or not at all.
template <typename Write>
void write_file(const std::string& path, const Write& write) {
  if (std::filesystem::exists(path)) {
    fail("--out {} exists already; remove it or give another name", path);
  }
  AtomicFile atomic(path);
  std::ofstream file(atomic.temporary(), std::ios::binary);
  write([&](std::string_view text) {
    file.write(text.data(), static_cast<std::streamsize>(text.size()));
    if (!file.flush()) fail("cannot write {}: {}", path, std::strerror(errno));
  });
  atomic.sync();
  atomic.commit();
}

}  // namespace

void declare_detokenize_options(CLI::App& app, DetokenizeSettings& s) {
  add_option(app, "--data", s.data, "token FILE")->type_name("PATH")->required();
  add_option(app, "--tokenizer", s.tokenizer,
             "what the tokens are of a file that carries no tokenizer: bytes, a tokenizer.json, a "
             "SentencePiece FILE.model, or a DIR with one")
      ->type_name("KIND");
  add_option(app, "--out", s.out, "text file to write; - for standard output")
      ->type_name("FILE")
      ->required();
}

void detokenize_command(const DetokenizeSettings& settings, ranks::ProcessGroup& process_group) {
  ranks::in_agreement(process_group, [&] {
    if (process_group.rank() != 0) return;
    const auto spec = tokenizer_spec(settings.tokenizer, data::SpecialTokens::kEndOfText);
    data::Detokenized result;
    const bool is_piped = settings.out == kStandardOutput;
    const auto write = [&](const auto& sink) {
      result = data::detokenize(settings.data, spec, sink);
    };
    if (is_piped) {
      write([](std::string_view text) {
        put(stdout, text);
        if (std::ferror(stdout) != 0) fail("cannot write to standard output");
      });
    } else {
      write_file(settings.out, write);
    }
    // The text itself may be what is on standard output.
    std::FILE* const notes = is_piped ? stderr : stdout;
    const auto info = data::TokenFile::open(settings.data, data::TokenFile::Check::header).info();
    if (const std::uint64_t lost = info.lost_bytes.value_or(0); lost > 0) {
      put(notes,
          fmt::format("note    {}: {}\n", settings.data, data::lost_text(lost, info.source_bytes)));
    }
    if (result.specials > 0) {
      put(notes,
          fmt::format("note    {}: {} special tokens, which stand for no text, are left out\n",
                      settings.data, result.specials));
    }
    if (!is_piped) put(notes, fmt::format("{}: {} bytes of text\n", settings.out, result.bytes));
  });
}

}  // namespace cllm::cli
