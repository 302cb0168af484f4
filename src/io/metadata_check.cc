#include "metadata_check.h"

#include <bit>
#include <cstring>
#include <limits>
#include <string_view>

namespace cllm::io {
namespace {

constexpr std::string_view kSignature = "\x89HDF\r\n\x1a\n";
constexpr std::size_t kSuperblockBytes = 48;
constexpr std::size_t kChecksumBytes = 4;
constexpr std::uint64_t kUtf8 = 1;  // the last of the character sets

/// Takes fields off the front of some bytes. What is asked for beyond their end is zero, and makes
/// it bad for good.
class Fields {
 public:
  explicit Fields(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::span<const std::byte> take(std::uint64_t count) {
    if (count > bytes_.size()) {
      good_ = false;
      bytes_ = {};
      return {};
    }
    const auto taken = bytes_.first(count);
    bytes_ = bytes_.subspan(count);
    return taken;
  }

  /// An unsigned integer of so many bytes, at most 8.
  std::uint64_t integer(std::size_t width) {
    std::uint64_t value = 0;
    const auto bytes = take(width);
    if (!bytes.empty()) std::memcpy(&value, bytes.data(), bytes.size());
    return value;
  }
  std::uint64_t byte() { return integer(1); }

  bool begins_with(std::string_view signature) {
    const auto bytes = take(signature.size());
    return bytes.size() == signature.size() &&
           std::memcmp(bytes.data(), signature.data(), signature.size()) == 0;
  }

  std::size_t left() const { return bytes_.size(); }
  bool good() const { return good_; }

 private:
  std::span<const std::byte> bytes_;
  bool good_ = true;
};

// --- Messages of object headers -----------------------------------------------------------------
// Each takes its fields; the caller sees whether there were enough.

/// Numbers of elements; 0 where it is no dataspace.
bool take_dataspace(Fields& fields, std::uint64_t& elements) {
  constexpr std::uint64_t kLargestRank = 32, kHasMaximum = 1;
  const std::uint64_t version = fields.byte(), rank = fields.byte(), flags = fields.byte();
  const std::uint64_t kind = fields.byte();
  if (version == 1) fields.take(4);
  if (version < 1 || version > 2 || rank > kLargestRank || (version == 2 && kind > 2)) return false;
  elements = version == 2 && kind == 2 ? 0 : 1;
  for (std::uint64_t i = 0; i < rank; ++i) {
    const std::uint64_t extent = fields.integer(8);
    if (extent != 0 && elements > std::numeric_limits<std::uint64_t>::max() / extent) return false;
    elements *= extent;
  }
  if ((flags & kHasMaximum) != 0) fields.take(8 * rank);
  return true;
}

/// An integer, a float or a string; `size` is that of one.
bool take_datatype(Fields& fields, std::uint64_t& size) {
  constexpr std::uint64_t kInteger = 0, kFloat = 1, kString = 3;
  constexpr std::uint64_t kVax = 0x40, kNormalization = 0x30;
  const std::uint64_t first = fields.byte(), version = first >> 4, kind = first & 0xf;
  const std::uint64_t flags = fields.integer(3);
  size = fields.integer(4);
  if (version < 1 || version > 3) return false;
  if (kind == kInteger) {
    const std::uint64_t offset = fields.integer(2), precision = fields.integer(2);
    return size > 0 && size <= 8 && precision > 0 && offset + precision <= 8 * size;
  }
  if (kind == kFloat) {
    const std::uint64_t offset = fields.integer(2), precision = fields.integer(2);
    const std::uint64_t exponent = fields.byte(), exponent_bits = fields.byte();
    const std::uint64_t mantissa = fields.byte(), mantissa_bits = fields.byte();
    fields.take(4);
    return (flags & kVax) == 0 && (flags & kNormalization) != kNormalization && size > 0 &&
           size <= 16 && precision > 0 && offset + precision <= 8 * size &&
           exponent + exponent_bits <= 8 * size && mantissa + mantissa_bits <= 8 * size;
  }
  return kind == kString && size > 0;
}

bool is_attribute(Fields fields) {
  constexpr std::uint64_t kVersion = 3;
  if (fields.byte() != kVersion || fields.byte() != 0) return false;
  const std::uint64_t name_bytes = fields.integer(2), type_bytes = fields.integer(2);
  const std::uint64_t space_bytes = fields.integer(2);
  if (fields.byte() > kUtf8) return false;
  const auto name = fields.take(name_bytes);
  Fields type(fields.take(type_bytes)), space(fields.take(space_bytes));
  std::uint64_t size = 0, elements = 0;
  return !name.empty() && name.back() == std::byte{0} && take_datatype(type, size) &&
         take_dataspace(space, elements) && type.good() && space.good() && fields.good() &&
         (elements == 0 || size <= fields.left() / elements);
}

/// A link that HDF5 can decode: where it can't decode one of a group, it frees all of them, also
/// those that it has not got to.
bool take_link(Fields& fields) {
  constexpr std::uint64_t kHard = 0, kSoft = 1, kFirstOther = 64;
  constexpr std::uint64_t kHasKind = 8, kHasOrder = 4, kHasCharacterSet = 16, kAllFlags = 31;
  if (fields.byte() != 1) return false;
  const std::uint64_t flags = fields.byte();
  const std::uint64_t kind = (flags & kHasKind) != 0 ? fields.byte() : kHard;
  if ((flags & kHasOrder) != 0) fields.take(8);
  const std::uint64_t character_set = (flags & kHasCharacterSet) != 0 ? fields.byte() : 0;
  const std::uint64_t name_bytes = fields.integer(std::size_t{1} << (flags & 3));
  fields.take(name_bytes);
  const std::uint64_t target_bytes = kind == kHard ? 8 : fields.integer(2);
  fields.take(target_bytes);
  return flags <= kAllFlags && (kind <= kSoft || kind >= kFirstOther) && character_set <= kUtf8 &&
         name_bytes > 0 && (kind != kSoft || target_bytes > 0);
}

bool take_fill_value(Fields& fields) {
  constexpr std::uint64_t kHasValue = 0x20;
  const std::uint64_t version = fields.byte();
  bool has_value = false;
  if (version == 2) {
    fields.take(2);
    has_value = fields.byte() != 0;
  } else if (version == 3) {
    has_value = (fields.byte() & kHasValue) != 0;
  }
  if (has_value) fields.take(fields.integer(4));
  return version == 2 || version == 3;
}

bool take_layout(Fields& fields) {
  constexpr std::uint64_t kCompact = 0, kContiguous = 1, kChunked = 2, kVersion = 3;
  if (fields.byte() != kVersion) return false;
  const std::uint64_t kind = fields.byte();
  if (kind == kCompact) fields.take(fields.integer(2));
  if (kind == kContiguous) fields.take(16);
  if (kind == kChunked) {
    const std::uint64_t rank = fields.byte();
    if (rank < 2 || rank > 33) return false;
    fields.take(8 + 4 * rank);
  }
  return kind <= kChunked;
}

/// Of links or attributes that lie outside of the header.
bool take_information(Fields& fields, std::size_t order_bytes) {
  const std::uint64_t version = fields.byte(), flags = fields.byte();
  if ((flags & 1) != 0) fields.take(order_bytes);
  fields.take((flags & 2) != 0 ? 24 : 16);
  return version == 0;
}

bool take_group_information(Fields& fields) {
  const std::uint64_t version = fields.byte(), flags = fields.byte();
  if ((flags & 1) != 0) fields.take(4);
  if ((flags & 2) != 0) fields.take(4);
  return version == 0;
}

bool take_continuation(Fields& fields, std::uint64_t file_size) {
  const std::uint64_t address = fields.integer(8), size = fields.integer(8);
  return address <= file_size && size <= file_size - address && size > 8;
}

bool is_message(std::uint64_t kind, Fields fields, std::uint64_t file_size) {
  std::uint64_t ignored = 0;
  const auto takes_all = [&] {
    switch (kind) {
      case 0x00:  // nothing
        return true;
      case 0x01:
        return take_dataspace(fields, ignored);
      case 0x02:
        return take_information(fields, 8);
      case 0x03:
        return take_datatype(fields, ignored);
      case 0x05:
        return take_fill_value(fields);
      case 0x06:
        return take_link(fields);
      case 0x08:
        return take_layout(fields);
      case 0x0a:
        return take_group_information(fields);
      case 0x0c:
        return is_attribute(fields);
      case 0x10:
        return take_continuation(fields, file_size);
      case 0x15:
        return take_information(fields, 2);
      case 0x16:  // how many links there are to the object
        return fields.byte() == 0 && fields.integer(4) > 0;
      default:
        return false;
    }
  };
  return takes_all() && fields.good();
}

bool are_messages(Fields fields, std::uint64_t file_size) {
  constexpr std::size_t kMessageHeader = 4;
  constexpr std::uint64_t kShared = 2;
  while (fields.left() >= kMessageHeader) {  // less is a gap
    const std::uint64_t kind = fields.byte(), size = fields.integer(2), flags = fields.byte();
    const Fields message(fields.take(size));
    if (!fields.good() || (flags & kShared) != 0 || !is_message(kind, message, file_size)) {
      return false;
    }
  }
  return true;
}

// --- Whole pieces -------------------------------------------------------------------------------

/// The fields of an object header before its messages. Returns their size, or 0 where HDF5's
/// writer would not have written it.
std::uint64_t take_header(Fields& fields) {
  constexpr std::uint64_t kSizeWidth = 3, kOrders = 4 | 8, kPhases = 16, kTimes = 32;
  if (!fields.begins_with("OHDR") || fields.byte() != 2) return 0;
  const std::uint64_t flags = fields.byte();
  if ((flags & kOrders) != 0) return 0;
  if ((flags & kTimes) != 0) fields.take(16);
  if ((flags & kPhases) != 0) fields.take(4);
  return fields.integer(std::size_t{1} << (flags & kSizeWidth));
}

constexpr std::uint64_t kLinksByName = 5, kAttributesByName = 8;  // kinds of B-trees
constexpr std::uint64_t kLinkRecord = 11, kAttributeRecord = 17;  // bytes

/// Of a B-tree. HDF5 makes nodes of 512 bytes, 10 of which are no records.
bool is_tree(Fields fields) {
  constexpr std::uint64_t kNode = 512, kOverhead = 10, kDeepest = 16;
  fields.take(5);
  const std::uint64_t kind = fields.byte(), node = fields.integer(4), record = fields.integer(2);
  const std::uint64_t depth = fields.integer(2);
  fields.take(10);
  const std::uint64_t root_records = fields.integer(2);
  return fields.good() && node == kNode && depth <= kDeepest &&
         root_records * record <= kNode - kOverhead &&
         ((kind == kLinksByName && record == kLinkRecord) ||
          (kind == kAttributesByName && record == kAttributeRecord));
}

/// A B-tree's node. HDF5 looks for an attribute that says to be shared in a heap that isn't there.
bool is_leaf(Fields fields) {
  constexpr std::uint64_t kShared = 2;
  fields.take(5);
  const std::uint64_t kind = fields.byte();
  while (kind == kAttributesByName && fields.left() >= kAttributeRecord) {
    Fields record(fields.take(kAttributeRecord));  // or zeros, or the checksum and zeros
    record.take(8);
    if ((record.byte() & kShared) != 0) return false;
  }
  return kind == kLinksByName || kind == kAttributesByName;
}

/// Only of links are there so many.
bool is_inner_node(Fields fields) {
  fields.take(5);
  return fields.byte() == kLinksByName;
}

/// Of a heap: its blocks have sizes by a table of so many columns, from a first to a largest size.
bool is_heap(Fields fields) {
  constexpr std::uint64_t kLargestId = 64, kLargestBlock = 1 << 20, kMostColumns = 64;
  fields.take(5);
  const std::uint64_t id = fields.integer(2), filter = fields.integer(2);
  fields.take(1);
  const std::uint64_t object = fields.integer(4);
  fields.take(12 * 8);
  const std::uint64_t columns = fields.integer(2), first = fields.integer(8);
  const std::uint64_t largest = fields.integer(8), bits = fields.integer(2);
  return fields.good() && id > 0 && id <= kLargestId && filter == 0 && object <= kLargestBlock &&
         std::has_single_bit(columns) && columns <= kMostColumns && std::has_single_bit(first) &&
         std::has_single_bit(largest) && first <= largest && largest <= kLargestBlock &&
         bits >= 16 && bits <= 64;
}

}  // namespace

std::uint64_t size_of_piece(std::span<const std::byte> beginning) {
  if (Fields(beginning).begins_with(kSignature)) return kSuperblockBytes;
  Fields fields(beginning);
  const std::uint64_t messages = take_header(fields);
  if (messages == 0 || !fields.good()) return 0;
  return beginning.size() - fields.left() + messages + kChecksumBytes;
}

bool may_parse(std::span<const std::byte> block, std::uint64_t file_size) {
  const auto begins_with = [&](std::string_view text) { return Fields(block).begins_with(text); };
  if (begins_with("OHDR")) {
    Fields fields(block);
    const std::uint64_t messages = take_header(fields);
    const auto bytes = fields.take(messages);
    return messages > 0 && fields.good() && are_messages(Fields(bytes), file_size);
  }
  if (begins_with("OCHK")) {
    Fields fields(block);
    fields.take(4);
    return fields.left() > kChecksumBytes &&
           are_messages(Fields(fields.take(fields.left() - kChecksumBytes)), file_size);
  }
  if (begins_with("BTHD")) return is_tree(Fields(block));
  if (begins_with("FRHP")) return is_heap(Fields(block));
  if (begins_with(kSignature)) {
    Fields fields(block);
    fields.take(kSignature.size() + 1);
    // Offsets and lengths have 8 bytes.
    return block.size() == kSuperblockBytes && fields.byte() == 8 && fields.byte() == 8;
  }
  if (begins_with("BTLF")) return is_leaf(Fields(block));
  if (begins_with("BTIN")) return is_inner_node(Fields(block));
  return begins_with("FHDB") || begins_with("FHIB");
}

}  // namespace cllm::io
