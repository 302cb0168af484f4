#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

#include "cllm/base/file.h"
#include "cllm/io/formats/tensor_archive.h"

namespace cllm::io {

/// A file that is written from front to back, and appears whole or not at all. Throws Error naming
/// it as it is to be called.
class StreamedFile {
 public:
  explicit StreamedFile(const std::filesystem::path& path);
  StreamedFile(const StreamedFile&) = delete;
  StreamedFile& operator=(const StreamedFile&) = delete;
  ~StreamedFile();

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  /// Zeros, until the length is a multiple of `alignment`.
  void pad(std::size_t alignment);
  /// All rows, encoded. Throws Error where a number doesn't fit its type.
  void write(const OutgoingTensor& tensor);
  std::uint64_t length() const { return length_; }
  void commit();

 private:
  std::filesystem::path path_;
  AtomicFile atomic_;
  int descriptor_;
  std::uint64_t length_ = 0;
};

}  // namespace cllm::io
