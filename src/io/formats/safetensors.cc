#include "cllm/io/formats/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <set>
#include <utility>

#include "checked_json.h"
#include "cllm/base/error.h"
#include "streamed_file.h"

namespace cllm::io {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kLengthBytes = 8;
constexpr std::uint64_t kMostHeader = 100'000'000;  // the library's own limit
constexpr std::size_t kMostDimensions = 8;
constexpr const char* kMetadata = "__metadata__";
constexpr const char* kFile = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

struct Type {
  const char* name;
  std::size_t bytes;
  std::optional<ElementType> type;
};

/// Those of the format whose numbers are whole bytes.
constexpr Type kTypes[] = {{"F32", 4, ElementType::kF32},
                           {"F16", 2, ElementType::kF16},
                           {"BF16", 2, ElementType::kBf16},
                           {"F64", 8, {}},
                           {"I64", 8, {}},
                           {"I32", 4, {}},
                           {"I16", 2, {}},
                           {"I8", 1, {}},
                           {"U64", 8, {}},
                           {"U32", 4, {}},
                           {"U16", 2, {}},
                           {"U8", 1, {}},
                           {"BOOL", 1, {}},
                           {"F8_E4M3", 1, {}},
                           {"F8_E5M2", 1, {}}};

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// What the header says of a tensor, checked against the data.
StoredTensor read_entry(const nlohmann::json& entry, const std::string& what,
                        std::span<const std::byte> data, const std::string& file) {
  const JsonFields fields(entry, what);
  StoredTensor tensor;
  tensor.file = file;
  tensor.type_name = fields.text_or("dtype", "");
  const auto type = std::ranges::find(kTypes, tensor.type_name, &Type::name);
  if (type == std::end(kTypes)) {
    fail("{} has the dtype {:?}, which is unknown", what, tensor.type_name);
  }
  tensor.type = type->type;
  const auto list = [&](const char* key) -> const nlohmann::json& {
    const nlohmann::json& values = fields.value(key);
    const auto is_size = [](const nlohmann::json& value) { return value.is_number_unsigned(); };
    if (!values.is_array() || !std::ranges::all_of(values, is_size)) {
      fail("{}: its {:?} is not a list of whole numbers", what, key);
    }
    return values;
  };
  const nlohmann::json& shape = list("shape");
  if (shape.size() > kMostDimensions) fail("{} has {} dimensions", what, shape.size());
  std::uint64_t bytes = type->bytes;
  for (const nlohmann::json& value : shape) {
    const auto extent = value.get<std::uint64_t>();
    if (extent != 0 && bytes > std::numeric_limits<std::uint64_t>::max() / extent) {
      fail("{} has a shape larger than any file", what);
    }
    bytes *= extent;
    tensor.shape.push_back(extent);
  }
  const nlohmann::json& offsets = list("data_offsets");
  if (offsets.size() != 2) fail("{}: its \"data_offsets\" are not two", what);
  const auto begin = offsets[0].get<std::uint64_t>(), end = offsets[1].get<std::uint64_t>();
  if (begin > end || end > data.size()) {
    fail("{} lies outside the file, which is cut off or corrupt", what);
  }
  if (end - begin != bytes) {
    fail("{} has {} bytes, but its shape {} needs {}", what, end - begin,
         shape_in_words(tensor.shape), bytes);
  }
  tensor.bytes = data.subspan(begin, bytes);
  return tensor;
}

/// Throws Error where two tensors share bytes, or bytes belong to none: the format has neither.
void require_all_of(std::span<const std::byte> data, const TensorArchive& archive,
                    const std::string& path) {
  std::vector<std::span<const std::byte>> places;
  for (const auto& [name, tensor] : archive.tensors) {
    if (!tensor.bytes.empty()) places.push_back(tensor.bytes);
  }
  std::ranges::sort(places, {}, [](const auto& place) { return place.data(); });
  const std::byte* end = data.data();
  for (const auto& place : places) {
    if (place.data() != end) {
      fail("{}: its tensors {}, so it is corrupt", path,
           place.data() < end ? "overlap" : "leave bytes between them");
    }
    end += place.size();
  }
  if (end != data.data() + data.size()) {
    fail("{}: bytes follow its last tensor, so it is corrupt", path);
  }
}

void add_file(const fs::path& path, TensorArchive& archive) {
  const std::string name = path.string();
  archive.files.emplace_back(path);
  const std::span<const std::byte> bytes = archive.files.back().bytes();
  std::uint64_t length = 0;
  if (bytes.size() >= kLengthBytes) std::memcpy(&length, bytes.data(), kLengthBytes);
  if (length < 2 || length > kMostHeader || length > bytes.size() - kLengthBytes) {
    fail("{} is no safetensors file, or is cut off", name);
  }
  const std::string_view header = as_text(bytes.subspan(kLengthBytes, length));
  if (header.front() != '{') fail("{} is no safetensors file", name);
  const nlohmann::json entries = parse_checked_json(header, name + ": its header");
  const std::span<const std::byte> data = bytes.subspan(kLengthBytes + length);
  TensorArchive own;
  for (const auto& [key, entry] : entries.items()) {
    if (key == kMetadata) continue;
    require_plain_name(key, name);
    own.tensors.emplace(key, read_entry(entry, fmt::format("{}: {}", name, key), data, name));
  }
  require_all_of(data, own, name);
  for (auto& [key, tensor] : own.tensors) {
    const auto [place, is_new] = archive.tensors.emplace(key, std::move(tensor));
    if (!is_new) fail("{}: {} is in {} too", name, key, place->second.file);
  }
}

nlohmann::json header_of(std::span<const OutgoingTensor> tensors) {
  nlohmann::json header = {{kMetadata, {{"format", "pt"}}}};
  std::uint64_t offset = 0;
  for (const OutgoingTensor& tensor : tensors) {
    const auto type = std::ranges::find(kTypes, std::optional(tensor.type), &Type::type);
    header[tensor.name] = {{"dtype", type->name},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, offset + tensor.bytes()}}};
    offset += tensor.bytes();
  }
  return header;
}

}  // namespace

TensorArchive read_safetensors(const fs::path& path) {
  TensorArchive archive;
  add_file(path, archive);
  return archive;
}

TensorArchive read_safetensors_directory(const fs::path& directory) {
  const fs::path index = directory / kIndex;
  if (!fs::exists(index)) {
    if (!fs::exists(directory / kFile)) {
      fail("{} has a config.json, but neither {} nor {}; save the model as safetensors",
           directory.string(), kFile, kIndex);
    }
    return read_safetensors(directory / kFile);
  }
  const nlohmann::json document = parse_checked_json(read_file(index), index.string());
  const JsonFields map = JsonFields(document, index.string()).object("weight_map");
  std::map<std::string, std::string> file_of;
  std::set<std::string> files;
  for (const auto& [name, file] : document.at("weight_map").items()) {
    require_plain_name(name, index.string());
    // A name in the directory, not a path out of it.
    if (!file.is_string() ||
        fs::path(file.get<std::string>()).filename() != file.get<std::string>()) {
      fail("{}: the file of {} is not a file's name", index.string(), name);
    }
    file_of[name] = file;
    files.insert(file);
  }
  TensorArchive archive;
  for (const std::string& file : files) add_file(directory / file, archive);
  for (const auto& [name, file] : file_of) {
    const auto found = archive.tensors.find(name);
    if (found == archive.tensors.end() || found->second.file != (directory / file).string()) {
      fail("{} says that {} is in {}, but it is not", index.string(), name, file);
    }
  }
  return archive;
}

void write_safetensors(const fs::path& path, std::span<const OutgoingTensor> tensors) {
  std::string header = header_of(tensors).dump();
  header.append((8 - header.size() % 8) % 8, ' ');  // so that tensors begin at a multiple of 8
  const std::uint64_t length = header.size();
  StreamedFile file(path);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(header);
  // In the order of the offsets, which is the one they came in.
  for (const OutgoingTensor& tensor : tensors) file.write(tensor);
  file.commit();
}

std::uint64_t write_safetensors_directory(const fs::path& directory,
                                          std::span<const OutgoingTensor> tensors,
                                          std::uint64_t most_bytes) {
  std::vector<std::span<const OutgoingTensor>> shards;
  std::uint64_t total = 0, bytes = 0;
  std::size_t first = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (i > first && bytes + tensors[i].bytes() > most_bytes) {
      shards.push_back(tensors.subspan(first, i - first));
      first = i;
      bytes = 0;
    }
    bytes += tensors[i].bytes();
    total += tensors[i].bytes();
  }
  shards.push_back(tensors.subspan(first));
  if (shards.size() == 1) {
    write_safetensors(directory / kFile, tensors);
    return total;
  }
  nlohmann::json index = {{"metadata", {{"total_size", total}}}};
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    write_safetensors(directory / name, shards[i]);
    for (const OutgoingTensor& tensor : shards[i]) index["weight_map"][tensor.name] = name;
  }
  const std::string text = index.dump(2) + "\n";
  write_atomically(directory / kIndex, std::as_bytes(std::span(text)));
  return total;
}

}  // namespace cllm::io
