#pragma once

#include <span>

#include "cllm/io/checkpoint.h"
#include "cllm/io/hdf5.h"

namespace cllm::io {

// How checkpoint.h's functions read a compressed model. Errors are as there.

bool is_compressed(const Hdf5Reader& file);
RunState read_compressed_run(const Hdf5Reader& file);
void read_compressed_parameters(const Hdf5Reader& file, const model::Layout& layout,
                                std::span<float> parameters);
CheckpointSummary describe_compressed(const Hdf5Reader& file);
void check_compressed_contents(const Hdf5Reader& file);

}  // namespace cllm::io
