#pragma once

#include <hdf5.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cllm/base/digest.h"
#include "cllm/base/random.h"
#include "cllm/io/hdf5.h"

// HDF5's own checksum (Jenkins' lookup3) of metadata: exported, though in no header.
extern "C" std::uint32_t H5_checksum_metadata(const void* data, std::size_t size,
                                              std::uint32_t start);

/// Ways to spoil files, all of them functions of a stream of random numbers.
namespace cllm::io {

/// 1 to `largest`, small ones more often.
inline std::size_t random_length(RandomStream& random, std::size_t largest) {
  return 1 + random.below(1 + random.below(largest));
}

/// Spoils some bytes in place, or the length.
inline void mutate_bytes(std::string& bytes, RandomStream& random) {
  if (bytes.empty()) return;
  const std::size_t at = random.below(bytes.size());
  const std::size_t length = std::min(random_length(random, 4096), bytes.size() - at);
  switch (random.below(7)) {
    case 0:
      bytes.resize(at);
      break;
    case 1:
      for (std::size_t i = 0; i < length; ++i) bytes[at + i] = static_cast<char>(random.below(256));
      break;
    case 2:
      std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), length, '\0');
      break;
    case 3: {  // a range over another
      const std::string copy = bytes.substr(random.below(bytes.size()), length);
      bytes.replace(at, std::min(copy.size(), bytes.size() - at), copy, 0,
                    std::min(copy.size(), bytes.size() - at));
      break;
    }
    case 4:  // a range once more, so that all behind it moves
      bytes.insert(at, bytes.substr(at, length));
      break;
    default:
      for (std::uint64_t flips = 1 + random.below(4); flips > 0; --flips) {
        char& byte = bytes[random.below(bytes.size())];
        byte = static_cast<char>(byte ^ (1 << random.below(8)));
      }
  }
}

/// Spoils a few places of a file by what stands in files of text, and in numbers of few bytes.
inline void mutate_text(std::string& bytes, RandomStream& random) {
  constexpr std::string_view kTelling = "0123456789\"{}[],:-e.tfn\\ \n\x01\x7f\x80\xff";
  for (std::uint64_t left = 1 + random.below(3); left > 0 && !bytes.empty(); --left) {
    const std::size_t at = random.below(bytes.size()), length = random_length(random, 24);
    switch (random.below(4)) {
      case 0:
        bytes[at] = static_cast<char>(random.below(256));
        break;
      case 1:
        bytes[at] = kTelling[random.below(kTelling.size())];
        break;
      case 2:
        bytes.erase(at, length);
        break;
      default:
        bytes.insert(random.below(bytes.size()), bytes.substr(at, length));
    }
  }
}

/// The parts of a file that HDF5 keeps a checksum of, which are the four bytes behind each.
inline std::vector<std::pair<std::size_t, std::size_t>> checked_blocks(const std::string& file) {
  constexpr std::size_t kLargest = 6000;
  std::vector<std::pair<std::size_t, std::size_t>> blocks;
  for (const char* signature : {"\x89HDF", "OHDR", "OCHK", "FRHP", "FHDB", "FHIB", "BTHD", "BTLF",
                                "BTIN", "FSHD", "FSSE", "SMTB"}) {
    for (std::size_t at = file.find(signature); at != file.npos;
         at = file.find(signature, at + 1)) {
      // Their lengths stand elsewhere; the one whose checksum is right is it.
      for (std::size_t size = 8; size < kLargest && at + size + 4 <= file.size(); ++size) {
        std::uint32_t stored = 0;
        std::memcpy(&stored, file.data() + at + size, sizeof(stored));
        if (stored != H5_checksum_metadata(file.data() + at, size, 0)) continue;
        blocks.emplace_back(at, size);
        break;
      }
    }
  }
  return blocks;
}

/// Spoils some bytes of one such part and mends its checksum.
inline void mutate_metadata(std::string& file,
                            const std::vector<std::pair<std::size_t, std::size_t>>& blocks,
                            RandomStream& random) {
  const auto [begin, size] = blocks[random.below(blocks.size())];
  for (std::uint64_t changes = 1 + random.below(3); changes > 0; --changes) {
    const std::size_t width = std::size_t{1} << random.below(4);
    const std::size_t at = begin + random.below(size - width + 1);
    constexpr std::uint64_t kTelling[] = {0,
                                          1,
                                          0x7f,
                                          0x80,
                                          0xff,
                                          0xffff,
                                          0x7fffffff,
                                          0x80000000,
                                          0xffffffff,
                                          std::uint64_t{1} << 40,
                                          std::numeric_limits<std::int64_t>::max(),
                                          std::numeric_limits<std::uint64_t>::max()};
    std::uint64_t value = 0;
    std::memcpy(&value, file.data() + at, width);
    switch (random.below(4)) {
      case 0:
        value = random.next_u64();
        break;
      case 1:
        value = kTelling[random.below(std::size(kTelling))];
        break;
      case 2:
        value ^= std::uint64_t{1} << random.below(8 * width);
        break;
      default:
        value += random.below(16) - 8;
    }
    std::memcpy(file.data() + at, &value, width);
  }
  const std::uint32_t checksum = H5_checksum_metadata(file.data() + begin, size, 0);
  std::memcpy(file.data() + begin + size, &checksum, sizeof(checksum));
}

/// Spoils an open HDF5 file by HDF5's own means. What HDF5 refuses to do is left undone.
class Hdf5Mutator {
 public:
  /// `elsewhere`: another good checkpoint, for links to point to.
  Hdf5Mutator(hid_t file, std::filesystem::path elsewhere, RandomStream& random)
      : file_(file), elsewhere_(std::move(elsewhere)), random_(random) {}

  void mutate() {
    switch (random_.below(6)) {
      case 0:
        return change_attribute(random_.below(3) == 0 ? path() : "/run");
      case 1:
        return change_attribute(path());
      case 2:
        return add_object(random_.below(2) == 0 ? freed(path()) : path() + "x");
      case 3:
        return add_link(random_.below(2) == 0 ? freed(path()) : path() + "x");
      case 4:
        return change_data(path());
      default:
        move(path(), random_.below(2) == 0 ? freed(path()) : path() + "x");
    }
  }

 private:
  /// Any object of a checkpoint of two layers, with adapters or without.
  std::string path() {
    constexpr const char* kPaths[] = {"/run",
                                      "/run/config",
                                      "/run/state",
                                      "/run/tokenizer",
                                      "/params",
                                      "/adam",
                                      "/adam/m",
                                      "/adam/v",
                                      "/lattice",
                                      "/lattice/transform",
                                      "/lattice/reduced",
                                      "/params/wte.codes",
                                      "/params/h.0.attn.c_attn.weight",
                                      "/params/h.1.ln_1.bias",
                                      "/params/ln_f.bias",
                                      "/adam/m/wpe.weight",
                                      "/adam/v/h.1.mlp.c_fc.weight",
                                      "/adam/v/ln_f.bias",
                                      "/params/h.0.attn.q_proj.lora_A",
                                      "/adam/m/h.1.mlp.up_proj.lora_B"};
    return kPaths[random_.below(std::size(kPaths))];
  }

  std::string freed(const std::string& at) {
    H5Ldelete(file_, at.c_str(), H5P_DEFAULT);
    return at;
  }

  void move(const std::string& from, const std::string& to) {
    H5Lmove(file_, from.c_str(), file_, to.c_str(), H5P_DEFAULT, H5P_DEFAULT);
  }

  /// A type of any kind.
  Handle type() {
    switch (random_.below(10)) {
      case 0:
        return {H5Tcopy(H5T_IEEE_F32LE), H5Tclose};
      case 1:
        return {H5Tcopy(H5T_IEEE_F32BE), H5Tclose};
      case 2:
        return {H5Tcopy(H5T_IEEE_F64LE), H5Tclose};
      case 3:
        return {H5Tcopy(H5T_STD_U64LE), H5Tclose};
      case 4:
        return {H5Tcopy(H5T_STD_U8LE), H5Tclose};
      case 5: {
        Handle text(H5Tcopy(H5T_C_S1), H5Tclose);
        H5Tset_size(text.get(), random_.below(3) == 0 ? H5T_VARIABLE : 1 + random_.below(5000));
        return text;
      }
      case 6: {
        Handle pair(H5Tcreate(H5T_COMPOUND, 12), H5Tclose);
        H5Tinsert(pair.get(), "a", 0, H5T_IEEE_F32LE);
        H5Tinsert(pair.get(), "b", 4, H5T_STD_U64LE);
        return pair;
      }
      case 7:
        return {H5Tvlen_create(H5T_IEEE_F32LE), H5Tclose};
      case 8:
        return {H5Tcopy(H5T_STD_REF_OBJ), H5Tclose};
      default: {
        const hsize_t extent[] = {3, 5};
        return {H5Tarray_create2(H5T_IEEE_F32LE, 2, extent), H5Tclose};
      }
    }
  }

  /// A shape of any kind: also none, empty ones, and those that no file holds.
  Handle space(bool huge) {
    if (random_.below(4) == 0) return {H5Screate(H5S_SCALAR), H5Sclose};
    if (random_.below(8) == 0) return {H5Screate(H5S_NULL), H5Sclose};
    std::vector<hsize_t> extent(1 + random_.below(random_.below(4) == 0 ? 32 : 3));
    for (hsize_t& count : extent)
      count = extent.size() > 3 ? 1 + random_.below(2) : random_.below(20);
    if (huge) extent.front() = hsize_t{1} << (20 + random_.below(40));
    return {H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr), H5Sclose};
  }

  void add_dataset(const std::string& at) {
    const Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    const Handle kind = type(), extent = space(random_.below(3) == 0);
    const int rank = H5Sget_simple_extent_ndims(extent.get());
    switch (random_.below(5)) {
      case 0: {
        const std::vector<hsize_t> chunk(static_cast<std::size_t>(std::max(rank, 1)), 2);
        H5Pset_chunk(creation.get(), rank, chunk.data());
        if (random_.below(2) == 0) H5Pset_deflate(creation.get(), 1);
        break;
      }
      case 1:
        H5Pset_layout(creation.get(), H5D_COMPACT);
        break;
      case 2:
        H5Pset_external(creation.get(), elsewhere_.c_str(), 0, H5F_UNLIMITED);
        break;
      default:
        break;
    }
    const Handle created(H5Dcreate2(file_, at.c_str(), kind.get(), extent.get(), H5P_DEFAULT,
                                    creation.get(), H5P_DEFAULT),
                         H5Dclose);
    if (created.is_valid()) write_text_attribute(at, kDigestAttribute, digest_hex({}));
  }

  void add_object(const std::string& at) {
    const auto group = [&](const std::string& name) {
      const Handle created(H5Gcreate2(file_, name.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                           H5Gclose);
    };
    switch (random_.below(5)) {
      case 0:
        return group(at);
      case 1: {
        std::string deep = at;
        for (std::uint64_t depth = random_.below(100); depth > 0; --depth) {
          group(deep);
          deep += "/" + std::string(1 + random_.below(30), 'd');
        }
        return;
      }
      case 2: {
        const Handle kind = type();
        H5Tcommit2(file_, at.c_str(), kind.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        return;
      }
      default:
        return add_dataset(at);
    }
  }

  void add_link(const std::string& at) {
    const std::string target = random_.below(4) == 0 ? "/" : path();
    switch (random_.below(4)) {
      case 0:
        H5Lcreate_soft(target.c_str(), file_, at.c_str(), H5P_DEFAULT, H5P_DEFAULT);
        return;
      case 1:
        H5Lcreate_external(elsewhere_.c_str(), target.c_str(), file_, at.c_str(), H5P_DEFAULT,
                           H5P_DEFAULT);
        return;
      case 2: {
        H5L_class_t own{};
        own.version = H5L_LINK_CLASS_T_VERS;
        own.id = static_cast<H5L_type_t>(200);
        own.trav_func = [](const char*, hid_t, const void*, size_t, hid_t, hid_t) -> hid_t {
          return -1;
        };
        H5Lregister(&own);
        H5Lcreate_ud(file_, at.c_str(), own.id, "abc", 3, H5P_DEFAULT, H5P_DEFAULT);
        H5Lunregister(own.id);
        return;
      }
      default:  // also of a group to itself
        H5Lcreate_hard(file_, target.c_str(), file_, at.c_str(), H5P_DEFAULT, H5P_DEFAULT);
    }
  }

  void write_text_attribute(const std::string& at, const char* name, const std::string& text) {
    H5Adelete_by_name(file_, at.c_str(), name, H5P_DEFAULT);
    const Handle kind(H5Tcopy(H5T_C_S1), H5Tclose);
    H5Tset_size(kind.get(), std::max<std::size_t>(text.size(), 1));
    const Handle scalar(H5Screate(H5S_SCALAR), H5Sclose);
    const Handle attribute(H5Acreate_by_name(file_, at.c_str(), name, kind.get(), scalar.get(),
                                             H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                           H5Aclose);
    if (attribute.is_valid()) H5Awrite(attribute.get(), kind.get(), text.data());
  }

  void change_attribute(const std::string& at) {
    constexpr const char* kNames[] = {
        "format_version",  "layers",         "heads",         "channels",    "context",
        "vocabulary",      "embedding_rank", "step",          "tokens_seen", "seed",
        "program_version", "tokenizer_kind", kDigestAttribute};
    const char* name = kNames[random_.below(std::size(kNames))];
    switch (random_.below(4)) {
      case 0:
        H5Adelete_by_name(file_, at.c_str(), name, H5P_DEFAULT);
        return;
      case 1:
        return write_text_attribute(at, name, std::string(random_.below(60'000), 'a'));
      case 2: {
        const std::uint64_t value = random_.next_u64() >> random_.below(64);
        const Handle attribute(H5Aopen_by_name(file_, at.c_str(), name, H5P_DEFAULT, H5P_DEFAULT),
                               H5Aclose);
        if (attribute.is_valid()) H5Awrite(attribute.get(), H5T_NATIVE_UINT64, &value);
        return;
      }
      default: {
        H5Adelete_by_name(file_, at.c_str(), name, H5P_DEFAULT);
        const Handle kind = type(), extent = space(false);
        const Handle attribute(H5Acreate_by_name(file_, at.c_str(), name, kind.get(), extent.get(),
                                                 H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                               H5Aclose);
      }
    }
  }

  /// NaN, infinity or other values, with the digest that they have.
  void change_data(const std::string& at) {
    const Handle dataset(H5Dopen2(file_, at.c_str(), H5P_DEFAULT), H5Dclose);
    if (!dataset.is_valid()) return;
    const Handle kind(H5Dget_type(dataset.get()), H5Tclose);
    const hsize_t size = H5Dget_storage_size(dataset.get());
    if (size == 0 || size > 100'000) return;
    constexpr std::uint32_t kValues[] = {0x7fc00000, 0x7f800000, 0xff800000, 0x3f800000};
    std::vector<std::uint32_t> data(size / 4 + 1, kValues[random_.below(4)]);
    H5Dwrite(dataset.get(), kind.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, data.data());
    write_text_attribute(at, kDigestAttribute,
                         digest_hex(std::as_bytes(std::span(data)).first(size)));
  }

  hid_t file_;
  std::filesystem::path elsewhere_;
  RandomStream& random_;
};

}  // namespace cllm::io
