#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cllm/io/formats/tensor_archive.h"

namespace cllm::io {

// GGUF version 3, the format of llama.cpp: keys with typed values, then tensors, little-endian.
// Files are hostile: every count, length, type, offset, overlap and duplicate is checked. Functions
// throw Error, one sentence that names the file.

/// A list in a file. Its values are looked at when they are asked for.
struct GgufList {
  std::uint32_t type = 0;  ///< of its values, as the format numbers types
  std::uint64_t count = 0;
  std::span<const std::byte> bytes;
};

using GgufValue = std::variant<std::uint64_t, std::int64_t, double, bool, std::string, GgufList>;

/// An open file. Move-only; reading is thread-safe.
class GgufFile {
 public:
  /// Reads all but the tensors' values.
  explicit GgufFile(const std::filesystem::path& path);

  const std::string& path() const { return path_; }
  const TensorArchive& archive() const { return archive_; }
  TensorArchive&& take_archive() { return std::move(archive_); }

  std::vector<std::string> keys() const;
  bool has(const std::string& key) const { return fields_.contains(key); }
  /// These throw Error where the key isn't there, or has a value of another type.
  std::uint64_t integer(const std::string& key) const;
  double number(const std::string& key) const;
  bool flag(const std::string& key) const;
  std::string text(const std::string& key) const;
  std::vector<std::string> texts(const std::string& key) const;
  std::vector<float> floats(const std::string& key) const;
  std::vector<std::int32_t> integers(const std::string& key) const;

 private:
  const GgufValue& value(const std::string& key) const;
  template <typename T>
  const T& get(const std::string& key, std::string_view what) const;
  const GgufList& list(const std::string& key, std::uint32_t type, std::string_view what) const;

  std::string path_;
  std::map<std::string, GgufValue> fields_;
  TensorArchive archive_;
};

/// Gathers keys, and writes them and tensors.
class GgufWriter {
 public:
  void add(std::string_view key, std::uint32_t value);
  void add(std::string_view key, float value);
  void add(std::string_view key, bool value);
  void add(std::string_view key, std::string_view value);
  void add(std::string_view key, const char* value) { add(key, std::string_view(value)); }
  void add(std::string_view key, std::span<const std::string> values);
  void add(std::string_view key, std::span<const float> values);
  void add(std::string_view key, std::span<const std::int32_t> values);

  /// Whole or not at all. Names have at most 63 bytes.
  void write(const std::filesystem::path& path, std::span<const OutgoingTensor> tensors) const;

 private:
  void begin(std::string_view key, std::uint32_t type);
  void begin_list(std::string_view key, std::uint32_t type, std::uint64_t count);

  std::string keys_;
  std::uint64_t count_ = 0;
};

}  // namespace cllm::io
