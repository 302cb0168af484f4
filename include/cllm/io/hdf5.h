#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cllm::io {

// HDF5 behind owning handles: groups, attributes, and contiguous datasets that each carry the
// XXH3-128 digest of their data. The file has a digest over these and its attributes. Objects are
// named by absolute paths ("/params/wte.weight").
//
// Everything here throws Error: one sentence that names the file, says what is wrong with it and
// what to do. HDF5 prints nothing itself. One thread at a time may use HDF5, and a reader or
// writer is used by the thread that made it.

/// The attribute of every dataset that holds the digest of its data, as `Digest::hex` writes it,
/// and of the root: there it is the digest over all attributes of groups and all datasets.
inline constexpr const char* kDigestAttribute = "xxh3_128";

/// The version of the library that was loaded: "1.10.8".
std::string hdf5_version();

/// Owns one HDF5 identifier (`hid_t`). Move-only.
class Handle {
 public:
  using Close = int (*)(std::int64_t);

  Handle() = default;
  Handle(std::int64_t id, Close closer) : id_(id), close_(closer) {}
  Handle(Handle&& other) noexcept;
  Handle& operator=(Handle&& other) noexcept;
  ~Handle() { close(); }

  std::int64_t get() const { return id_; }
  bool is_valid() const { return id_ >= 0; }
  /// Closes now; returns whether HDF5 could.
  bool close();

 private:
  std::int64_t id_ = -1;
  Close close_ = nullptr;
};

class InputFile;
class Manifest;
class OutputFile;

/// Writes a new HDF5 file that every HDF5 since 1.8 reads, with checksums on its metadata. The
/// same calls give the same bytes. After an error the file is to be thrown away.
class Hdf5Writer {
 public:
  /// Creates or replaces `path`. Errors name `shown`: the place that the file is written for.
  Hdf5Writer(const std::filesystem::path& path, const std::filesystem::path& shown);
  Hdf5Writer(Hdf5Writer&&) noexcept;
  ~Hdf5Writer();

  void create_group(const std::string& group);

  void write_attribute(const std::string& object, const std::string& name, std::uint64_t value);
  /// A short UTF-8 string, without NUL.
  void write_attribute(const std::string& object, const std::string& name, std::string_view text);

  /// IEEE float32, row by row. The product of `shape` is the size of `values`. Throws Error when a
  /// value is not finite.
  void write_floats(const std::string& dataset, std::span<const std::uint64_t> shape,
                    std::span<const float> values);
  /// The same of values that come in pieces of any size: give(put) puts one after the other.
  using Put = std::function<void(std::span<const std::byte>)>;
  void write_floats(const std::string& dataset, std::span<const std::uint64_t> shape,
                    const std::function<void(const Put& put)>& give);
  /// Two's complement int64, row by row.
  void write_integers(const std::string& dataset, std::span<const std::uint64_t> shape,
                      std::span<const std::int64_t> values);
  /// One UTF-8 string of any length, without NUL.
  void write_text(const std::string& dataset, std::string_view text);
  /// A vector of uint8, of any content.
  void write_bytes(const std::string& dataset, std::string_view bytes);

  /// Adds the digest over all that was written, and finishes the file, which isn't whole without,
  /// and syncs it.
  void close();

 private:
  /// `size`: bytes that are given in all. Returns whether all values are finite, where they are
  /// floats.
  bool write_dataset(const std::string& dataset, std::int64_t type, const Handle& space,
                     std::size_t size, const std::function<void(const Put&)>& give,
                     bool floats = false);
  void write_dataset(const std::string& dataset, std::int64_t type, const Handle& space,
                     std::span<const std::byte> data);
  void store_attribute(const std::string& object, const std::string& name, std::int64_t type,
                       const void* value);
  void store_text(const std::string& object, const std::string& name, std::string_view text);
  /// Throws unless everything succeeded so far and `succeeded` holds.
  void check(bool succeeded) const;

  std::filesystem::path shown_;
  std::unique_ptr<Manifest> manifest_;
  std::unique_ptr<OutputFile> output_;  // outlives file_
  Handle file_;
};

/// What a dataset says of itself.
struct DatasetInfo {
  std::vector<std::uint64_t> shape;
  std::string type;    ///< "float32", "uint8", "text", …
  std::string digest;  ///< empty where it has none
};

/// Reads an HDF5 file that nobody writes. Follows no soft or external link, and reads no data that
/// lie outside of the file.
class Hdf5Reader {
 public:
  /// Throws Error when `path` is missing, not a file, not HDF5, truncated or damaged.
  explicit Hdf5Reader(const std::filesystem::path& path);
  Hdf5Reader(Hdf5Reader&&) noexcept;
  ~Hdf5Reader();

  const std::filesystem::path& path() const { return path_; }
  std::uint64_t file_size() const;

  /// The names in a group, in alphabetical order of their bytes. Throws Error when one has other
  /// characters than printable ones of ASCII.
  std::vector<std::string> names(const std::string& group) const;

  bool has_attribute(const std::string& object, const std::string& name) const;
  std::uint64_t integer_attribute(const std::string& object, const std::string& name) const;
  std::string text_attribute(const std::string& object, const std::string& name) const;

  DatasetInfo info(const std::string& dataset) const;

  /// Fills `values` with a float32 dataset of exactly this shape, and checks its digest and that
  /// every value is finite. When it throws, `values` may hold anything. The product of `shape` is
  /// the size of `values`.
  void read_floats(const std::string& dataset, std::span<const std::uint64_t> shape,
                   std::span<float> values) const;
  /// The same in pieces of bounded size, which are given before all is checked.
  void read_floats(const std::string& dataset, std::span<const std::uint64_t> shape,
                   const std::function<void(std::span<const float>)>& take) const;
  /// The same checks without keeping the values, in a small constant memory.
  void check_floats(const std::string& dataset, std::span<const std::uint64_t> shape) const;
  /// The same of an int64 dataset.
  void read_integers(const std::string& dataset, std::span<const std::uint64_t> shape,
                     std::span<std::int64_t> values) const;
  std::string read_text(const std::string& dataset) const;
  std::string read_bytes(const std::string& dataset) const;

  /// The digest that the root has when the attributes of these groups and the datasets in them, of
  /// which no data are read, are all that was written.
  std::string contents_digest(std::span<const std::string> groups) const;

 private:
  /// Opens a group or dataset, following only hard links.
  Handle open(const std::string& object) const;
  Handle open_dataset(const std::string& dataset) const;
  /// A dataset of HDF5's `type`, which messages call `name`, and of this shape.
  Handle open_values(const std::string& dataset, std::int64_t type, const char* name,
                     std::span<const std::uint64_t> shape) const;
  Handle open_attribute(const Handle& owner, const std::string& object,
                        const std::string& name) const;
  void require_printable(const std::vector<std::string>& names, const std::string& object) const;
  std::vector<std::string> attribute_names(const Handle& owner, const std::string& object) const;
  std::uint64_t integer_of(const Handle& attribute, const std::string& object,
                           const std::string& name) const;
  std::string text_of(const Handle& attribute, const std::string& object,
                      const std::string& name) const;
  /// Where the `size` bytes of a dataset begin. Throws Error unless they lie in the file.
  std::uint64_t place_of(const Handle& opened, const std::string& dataset,
                         std::uint64_t size) const;
  void check_digest(const Handle& opened, const std::string& dataset,
                    const std::string& found) const;
  /// Reads and checks the `size` bytes of a dataset, block by block: to where room(done, bytes)
  /// says after `done` of them, and calls taken(block) when a block is there.
  template <typename Room, typename Taken>
  void read_values(const Handle& opened, const std::string& dataset, std::size_t size,
                   const Room& room, const Taken& taken, bool floats) const;
  /// All of them to `target`.
  void read_values(const Handle& opened, const std::string& dataset, std::span<std::byte> target,
                   bool floats) const;
  /// Reads from the file itself, past HDF5.
  void read_bytes_at(std::uint64_t offset, std::span<std::byte> bytes,
                     const std::string& dataset) const;
  /// Throws that HDF5 cannot read `object`, with HDF5's reason.
  [[noreturn]] void fail_damaged(const std::string& object) const;

  std::filesystem::path path_;
  std::unique_ptr<InputFile> input_;  // outlives file_
  Handle file_;
};

/// "(96, 64)": a shape as messages write it.
std::string shape_text(std::span<const std::uint64_t> shape);

}  // namespace cllm::io
