#include <fmt/format.h>

#include <map>

#include "byte_reader.h"
#include "foreign_model.h"

// A checkpoint of llm.c (train_gpt2.cu's gpt2_write_to_checkpoint): 256 32-bit numbers, then the
// tensors of GPT-2, each kind over all layers, in the order of `kPerLayer`.

namespace cllm::io {
namespace {

constexpr std::size_t kHeader = 256;
constexpr std::int32_t kFloat32 = 3, kBfloat16 = 5;  // what the header has for a version

constexpr const char* kPerLayer[] = {"ln_1.weight",      "ln_1.bias",          "attn.c_attn.weight",
                                     "attn.c_attn.bias", "attn.c_proj.weight", "attn.c_proj.bias",
                                     "ln_2.weight",      "ln_2.bias",          "mlp.c_fc.weight",
                                     "mlp.c_fc.bias",    "mlp.c_proj.weight",  "mlp.c_proj.bias"};

struct Header {
  model::ModelConfig config;
  ElementType type;
  std::size_t padded_vocabulary;
};

Header read_header(ByteReader& reader, const std::string& path) {
  std::int32_t fields[kHeader];
  for (std::int32_t& field : fields) field = reader.read<std::int32_t>();
  const std::int32_t version = fields[1];
  if (version != kFloat32 && version != kBfloat16) {
    fail("{} is a checkpoint of llm.c of version {}; 3 (fp32) and 5 (bf16) can be read", path,
         version);
  }
  for (std::size_t i = 2; i < 8; ++i) {
    if (fields[i] < 1) fail("{}: field {} of its header is {}", path, i, fields[i]);
  }
  const auto size = [&](std::size_t i) { return static_cast<std::size_t>(fields[i]); };
  Header header{.config = {.layers = size(4),
                           .heads = size(5),
                           .channels = size(6),
                           .context = size(2),
                           .vocabulary = size(3),
                           .family = "gpt2",
                           .parts = {}},
                .type = version == kFloat32 ? ElementType::kF32 : ElementType::kBf16,
                .padded_vocabulary = size(7)};
  if (header.padded_vocabulary < header.config.vocabulary) {
    fail("{}: its padded vocabulary of {} is smaller than its vocabulary of {}", path,
         header.padded_vocabulary, header.config.vocabulary);
  }
  try {
    model::validate(header.config);
  } catch (const Error& error) {
    fail("{} describes a model that can't be: {}", path, error.what());
  }
  header.config = model::with_usual_sizes(header.config);
  return header;
}

}  // namespace

ForeignModel open_llm_c(const std::filesystem::path& path) {
  const std::string name = path.string();
  ForeignModel model;
  model.archive.files.emplace_back(path);
  const auto bytes = model.archive.files.front().bytes();
  ByteReader reader(bytes, name);
  const Header header = read_header(reader, name);
  // A layer has at least 25 C numbers of two bytes; so a layout is not much larger than the file.
  if (header.config.layers > bytes.size() / (50 * header.config.channels)) {
    fail("{} is too small for the {} layers that it says it has", name, header.config.layers);
  }
  const model::Layout layout(header.config);
  const auto take = [&](const model::Tensor& tensor, std::size_t stored_rows) {
    StoredTensor stored{.type = header.type,
                        .type_name = std::string(name_of(header.type)),
                        .shape = {tensor.rows},
                        .bytes = {},
                        .file = name};
    if (tensor.is_matrix()) stored.shape.push_back(tensor.columns);
    const auto all = reader.take(bytes_of(header.type, stored_rows * tensor.columns));
    stored.bytes = all.first(bytes_of(header.type, tensor.size()));
    model.archive.tensors.emplace(tensor.name, std::move(stored));
  };
  std::map<std::string_view, const model::Tensor*> by_name;
  for (const model::Tensor& tensor : layout.tensors()) by_name[tensor.name] = &tensor;
  const auto named = [&](const std::string& wanted) -> const model::Tensor& {
    return *by_name.at(wanted);
  };
  // Rows that only fill the table up are left out.
  take(named("wte.weight"), header.padded_vocabulary);
  take(named("wpe.weight"), header.config.context);
  for (const char* kind : kPerLayer) {
    for (std::size_t l = 0; l < header.config.layers; ++l) {
      const model::Tensor& tensor = named(fmt::format("h.{}.{}", l, kind));
      take(tensor, tensor.rows);
    }
  }
  take(named("ln_f.weight"), header.config.channels);
  take(named("ln_f.bias"), header.config.channels);
  if (reader.position() != bytes.size()) {
    fail("{} has {} bytes more than its tensors; it is corrupt, or of another version", name,
         bytes.size() - reader.position());
  }
  model.config = header.config;
  model.format = "llm.c (gpt2)";
  model.naming = llm_c_naming();
  model.tokenizer_note =
      "checkpoints of llm.c have none; its tokens are GPT-2's, so text must come as token files";
  return model;
}

}  // namespace cllm::io
