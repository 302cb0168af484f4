#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "cllm/lattice/certificates/certificate.h"

namespace cllm::lattice {

/// Certificates of triangular bases, one for each block of a matrix' columns in order, in few
/// bytes: of each, `before` and `transform`, from which the rest follows. Scales are not kept: all
/// that is certified is the same at any scale. All blocks but the last have the same number of
/// columns.
std::string encode_certificates(std::span<const Certificate> certificates);

/// Proves them anew, Note in certificate.h: that each block's basis was reduced to an LLL-reduced
/// basis of the same lattice. Takes any bytes. Throws Error, a clause without a subject, where they
/// are not certificates for so many columns, or one of them does not hold.
void check_certificates(std::string_view bytes, std::size_t columns);

}  // namespace cllm::lattice
