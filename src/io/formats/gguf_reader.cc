#include <algorithm>
#include <limits>
#include <utility>

#include "byte_reader.h"
#include "cllm/base/error.h"
#include "cllm/io/formats/gguf.h"
#include "gguf_types.h"

namespace cllm::io {
namespace {

using namespace gguf;

constexpr std::uint32_t kMagic = 0x46554747;  // "GGUF"

/// Bytes of a value whose length its type fixes; 0 of texts, lists and unknown types.
std::size_t width_of(std::uint32_t type) {
  switch (type) {
    case kU8:
    case kI8:
    case kBool:
      return 1;
    case kU16:
    case kI16:
      return 2;
    case kU32:
    case kI32:
    case kF32:
      return 4;
    case kU64:
    case kI64:
    case kF64:
      return 8;
    default:
      return 0;
  }
}

GgufList read_list(ByteReader& reader, const std::string& what) {
  GgufList list;
  list.type = reader.read<std::uint32_t>();
  list.count = reader.read<std::uint64_t>();
  if (list.type == kText) {
    ByteReader ahead = reader;
    for (std::uint64_t i = 0; i < list.count; ++i) ahead.take(ahead.read<std::uint64_t>());
    list.bytes = reader.take(ahead.position() - reader.position());
    return list;
  }
  const std::size_t width = width_of(list.type);
  if (width == 0) fail("{} is a list of values of type {}, which can't be read", what, list.type);
  if (list.count > std::numeric_limits<std::uint64_t>::max() / width) {
    fail("{} is a list longer than any file", what);
  }
  list.bytes = reader.take(list.count * width);
  return list;
}

GgufValue read_value(ByteReader& reader, const std::string& what) {
  const auto type = reader.read<std::uint32_t>();
  switch (type) {
    case kU8:
      return std::uint64_t{reader.read<std::uint8_t>()};
    case kU16:
      return std::uint64_t{reader.read<std::uint16_t>()};
    case kU32:
      return std::uint64_t{reader.read<std::uint32_t>()};
    case kU64:
      return reader.read<std::uint64_t>();
    case kI8:
      return std::int64_t{reader.read<std::int8_t>()};
    case kI16:
      return std::int64_t{reader.read<std::int16_t>()};
    case kI32:
      return std::int64_t{reader.read<std::int32_t>()};
    case kI64:
      return reader.read<std::int64_t>();
    case kF32:
      return double{reader.read<float>()};
    case kF64:
      return reader.read<double>();
    case kBool: {
      const auto byte = reader.read<std::uint8_t>();
      if (byte > 1) fail("{} is neither true nor false", what);
      return byte == 1;
    }
    case kText:
      return reader.text();
    case kList:
      return read_list(reader, what);
    default:
      fail("{} has a value of the unknown type {}", what, type);
  }
}

/// A tensor, and where it lies behind the header.
struct Entry {
  std::string name;
  StoredTensor tensor;
  std::uint64_t offset = 0, bytes = 0;
};

Entry read_entry(ByteReader& reader, const std::string& path) {
  Entry entry;
  entry.name = reader.text();
  if (entry.name.empty() || entry.name.size() > kMostName) {
    fail("{} has a tensor whose name has {} bytes; 1 to {} are possible", path, entry.name.size(),
         kMostName);
  }
  require_plain_name(entry.name, path);
  StoredTensor& tensor = entry.tensor;
  tensor.file = path;
  const auto dimensions = reader.read<std::uint32_t>();
  if (dimensions < 1 || dimensions > kMostDimensions) {
    fail("{}: {} has {} dimensions; 1 to {} are possible", path, entry.name, dimensions,
         kMostDimensions);
  }
  std::uint64_t count = 1;
  for (std::uint32_t i = 0; i < dimensions; ++i) {
    const auto extent = reader.read<std::uint64_t>();
    constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max() / 8;
    if (extent == 0 || count > kMost / extent) {
      fail("{}: {} has a shape that no tensor has", path, entry.name);
    }
    count *= extent;
    tensor.shape.insert(tensor.shape.begin(), extent);  // innermost first in the file
  }
  const auto number = reader.read<std::uint32_t>();
  entry.offset = reader.read<std::uint64_t>();
  tensor.type = type_of(number);
  if (!tensor.type) {
    fail("{}: {} has the type {} of ggml; f32, f16, bf16, q8_0 and q4_0 can be read", path,
         entry.name, number);
  }
  tensor.type_name = name_of(*tensor.type);
  if (tensor.shape.back() % block_elements(*tensor.type) != 0) {
    fail("{}: {} is {}, but its rows of {} are not whole blocks", path, entry.name,
         tensor.type_name, tensor.shape.back());
  }
  entry.bytes = bytes_of(*tensor.type, count);
  return entry;
}

/// The tensors, once their places are checked.
void place(std::vector<Entry>& entries, std::span<const std::byte> data, std::uint64_t alignment,
           const std::string& path, TensorArchive& archive) {
  std::ranges::sort(entries, {}, &Entry::offset);
  std::uint64_t end = 0;
  for (Entry& entry : entries) {
    if (entry.offset % alignment != 0) {
      fail("{}: {} lies at {}, which is no multiple of {}", path, entry.name, entry.offset,
           alignment);
    }
    if (entry.offset < end) fail("{}: {} overlaps another tensor", path, entry.name);
    if (entry.offset > data.size() || entry.bytes > data.size() - entry.offset) {
      fail("{}: {} lies outside the file, which is cut off or corrupt", path, entry.name);
    }
    end = entry.offset + entry.bytes;
    entry.tensor.bytes = data.subspan(entry.offset, entry.bytes);
    if (!archive.tensors.emplace(entry.name, std::move(entry.tensor)).second) {
      fail("{} has the tensor {} twice", path, entry.name);
    }
  }
}

}  // namespace

GgufFile::GgufFile(const std::filesystem::path& path) : path_(path.string()) {
  archive_.files.emplace_back(path);
  const std::span<const std::byte> bytes = archive_.files.front().bytes();
  ByteReader reader(bytes, path_);
  if (reader.read<std::uint32_t>() != kMagic) fail("{} is no GGUF file", path_);
  if (const auto version = reader.read<std::uint32_t>(); version != kVersion) {
    fail("{} has version {} of GGUF, and only {} can be read; convert it anew", path_, version,
         kVersion);
  }
  const auto tensors = reader.read<std::uint64_t>();
  const auto keys = reader.read<std::uint64_t>();
  for (std::uint64_t i = 0; i < keys; ++i) {
    std::string key = reader.text();
    GgufValue value = read_value(reader, fmt::format("{}: {:?}", path_, key.substr(0, 80)));
    const auto [at, is_new] = fields_.emplace(std::move(key), std::move(value));
    if (!is_new) fail("{} has the key {:?} twice", path_, at->first.substr(0, 80));
  }
  std::vector<Entry> entries;
  for (std::uint64_t i = 0; i < tensors; ++i) entries.push_back(read_entry(reader, path_));
  const std::uint64_t alignment = has(kAlignmentKey) ? integer(kAlignmentKey) : kAlignment;
  if (alignment == 0 || alignment % 8 != 0 || alignment > (1U << 20)) {
    fail("{}: its {} is {}", path_, kAlignmentKey, alignment);
  }
  const std::size_t start = (reader.position() + alignment - 1) / alignment * alignment;
  place(entries, bytes.subspan(std::min(start, bytes.size())), alignment, path_, archive_);
}

std::vector<std::string> GgufFile::keys() const {
  std::vector<std::string> keys;
  for (const auto& [key, value] : fields_) keys.push_back(key);
  return keys;
}

const GgufValue& GgufFile::value(const std::string& key) const {
  const auto found = fields_.find(key);
  if (found == fields_.end()) fail("{} lacks the key {}", path_, key);
  return found->second;
}

template <typename T>
const T& GgufFile::get(const std::string& key, std::string_view what) const {
  const T* const found = std::get_if<T>(&value(key));
  if (found == nullptr) fail("{}: its {} is not {}", path_, key, what);
  return *found;
}

std::uint64_t GgufFile::integer(const std::string& key) const {
  if (const auto* number = std::get_if<std::int64_t>(&value(key)); number && *number >= 0) {
    return static_cast<std::uint64_t>(*number);
  }
  return get<std::uint64_t>(key, "a whole number");
}

double GgufFile::number(const std::string& key) const { return get<double>(key, "a number"); }
bool GgufFile::flag(const std::string& key) const { return get<bool>(key, "true or false"); }
std::string GgufFile::text(const std::string& key) const { return get<std::string>(key, "a text"); }

const GgufList& GgufFile::list(const std::string& key, std::uint32_t type,
                               std::string_view what) const {
  const auto& list = get<GgufList>(key, what);
  if (list.type != type) fail("{}: its {} is not {}", path_, key, what);
  return list;
}

std::vector<std::string> GgufFile::texts(const std::string& key) const {
  const GgufList& values = list(key, kText, "a list of texts");
  ByteReader reader(values.bytes, path_);
  std::vector<std::string> result;
  for (std::uint64_t i = 0; i < values.count; ++i) result.push_back(reader.text());
  return result;
}

std::vector<float> GgufFile::floats(const std::string& key) const {
  const GgufList& values = list(key, kF32, "a list of numbers");
  std::vector<float> result(values.count);
  if (!result.empty()) std::memcpy(result.data(), values.bytes.data(), values.bytes.size());
  return result;
}

std::vector<std::int32_t> GgufFile::integers(const std::string& key) const {
  const GgufList& values = list(key, kI32, "a list of whole numbers");
  std::vector<std::int32_t> result(values.count);
  if (!result.empty()) std::memcpy(result.data(), values.bytes.data(), values.bytes.size());
  return result;
}

}  // namespace cllm::io
