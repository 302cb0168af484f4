#pragma once

#include <cstddef>
#include <cstdint>

#include "cllm/kernels/product.h"

/// How the implementations of products_body.h are handed over. Those for AVX2 and AVX-512 are
/// themselves such code: call them where the processor has it.
namespace cllm::kernels {

/// Rows of A and columns of B that are packed at a time: multiples of all tiles there are.
inline constexpr std::size_t kPackedRows = 1008, kPackedColumns = 256;
/// The largest tile that any implementation has, in floats.
inline constexpr std::size_t kLargestTile = 14 * 32;
/// Floats that an implementation works in.
inline constexpr std::size_t kProductWorkspace =
    (kPackedRows + kPackedColumns) * kProductBlock + kLargestTile;

void multiply_by_avx512(const Product& product, float* workspace);
void multiply_by_avx2(const Product& product, float* workspace);
void multiply_portably(const Product& product, float* workspace);
std::uint64_t burst_of_avx512(std::uint64_t rounds);
std::uint64_t burst_of_avx2(std::uint64_t rounds);
std::uint64_t portable_burst(std::uint64_t rounds);
/// cblas_sgemm: blas.cc. Throws Error where a size exceeds what BLAS can count.
void multiply_by_blas(const Product& product, float* workspace);

}  // namespace cllm::kernels
