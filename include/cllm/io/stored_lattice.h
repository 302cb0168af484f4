#pragma once

#include <string>

#include "cllm/io/hdf5.h"
#include "cllm/lattice/certificates/certificate.h"

namespace cllm::io {

/// The group that a reduced basis lies in, with its certificate; those of bands in groups in it.
inline constexpr const char* kLattice = "/lattice";

/// Writes such a group: the four matrices as int64 datasets "before", "transform", "inverse" and
/// "reduced", and the attributes "delta", "eta" and "scale", decimal numbers that read back as the
/// same doubles, "vectors" and "columns".
void write_lattice(Hdf5Writer& file, const std::string& group,
                   const lattice::Certificate& certificate);

/// Whether the file has kLattice.
bool has_lattice(const Hdf5Reader& file);

/// What `write_lattice` wrote. Proves that it holds: `lattice::fault`. Throws Error that names the
/// file where it doesn't, or is not of that form.
lattice::Certificate read_lattice(const Hdf5Reader& file, const std::string& group);

}  // namespace cllm::io
