#include <fmt/format.h>

#include <filesystem>

#include "cllm/base/error.h"
#include "cllm/base/output.h"
#include "cllm/base/processors.h"
#include "cllm/cli/commands/commands.h"
#include "cllm/cli/run/checkpoints.h"
#include "cllm/cli/run/room.h"
#include "cllm/data/dataset.h"
#include "cllm/ranks/agreement.h"

namespace cllm::cli {

void declare_tokenize_options(CLI::App& app, TokenizeSettings& s) {
  add_option(app, "--data", s.data, "FILE of text or JSON lines, or DIR of them")
      ->type_name("PATH")
      ->required();
  add_option(app, "--document-separator", s.document_separator,
             "what stands between the documents of a text file [nothing: a file is a document]",
             Blank::kText)
      ->type_name("TEXT");
  add_option(
      app, "--tokenizer", s.tokenizer,
      "bytes, bpe:N, unigram:N, a tokenizer.json, a SentencePiece FILE.model, or a DIR with one "
      "[bytes]")
      ->type_name("KIND");
  add_option(app, "--special-tokens", s.special_tokens, special_tokens_format(),
             "special tokens of a new tokenizer: endoftext, <|endoftext|>; chatml, also "
             "<|im_start|> and <|im_end|>");
  add_option(app, "--out", s.out, "token file to write")->type_name("FILE")->required();
}

void tokenize_command(const TokenizeSettings& settings, ranks::ProcessGroup& process_group) {
  ranks::in_agreement(process_group, [&] {
    if (process_group.rank() != 0) return;
    if (std::filesystem::exists(settings.out)) {
      fail("--out {} exists already; remove it or give another name", settings.out);
    }
    require_outside(settings.out, "--data", settings.data);
    data::DataOptions options;
    options.data = settings.data;
    options.document_separator = settings.document_separator;
    options.tokenizer = tokenizer_spec(settings.tokenizer, settings.special_tokens);
    options.cache = std::filesystem::absolute(settings.out).parent_path();
    options.threads = useful_threads();
    // Of bytes, each is a token of two; of other tokenizers nobody knows how many there will be.
    std::error_code no_file;
    const std::uint64_t bytes = std::filesystem::file_size(settings.data, no_file);
    const bool is_bytes = settings.tokenizer.empty() || settings.tokenizer == "bytes";
    if (is_bytes && !no_file) require_room(settings.out, 2 * bytes);
    data::tokenize_data(options, settings.out,
                        [](const std::string& message) { put(stdout, message + "\n"); });
    const data::TokenFile file =
        data::TokenFile::open(settings.out, data::TokenFile::Check::header);
    put(stdout,
        fmt::format("{}: {} tokens of {} different, from {} bytes\n", settings.out,
                    file.tokens().size(), file.info().vocabulary, file.info().source_bytes));
  });
}

}  // namespace cllm::cli
