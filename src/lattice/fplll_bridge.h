#pragma once

#include <fplll/fplll.h>

#include <cstddef>
#include <cstdint>
#include <mutex>

#include "cllm/base/error.h"
#include "cllm/lattice/integer_matrix.h"

/// Matrices to fplll and back.
namespace cllm::lattice {

/// To be held while fplll works: it keeps static variables.
inline std::mutex& fplll_turn() {
  static std::mutex mutex;
  return mutex;
}

inline void set(fplll::Z_NR<long>& to, std::int64_t value) { to = static_cast<long>(value); }
inline void set(fplll::Z_NR<mpz_t>& to, std::int64_t value) { to = static_cast<long>(value); }
static_assert(sizeof(long) == sizeof(std::int64_t), "fplll's small integers have 64 bits");

template <typename Integer>
fplll::ZZ_mat<Integer> to_fplll(const IntegerMatrix& matrix) {
  fplll::ZZ_mat<Integer> result(static_cast<int>(matrix.rows()),
                                static_cast<int>(matrix.columns()));
  for (std::size_t i = 0; i < matrix.rows(); ++i) {
    for (std::size_t j = 0; j < matrix.columns(); ++j) {
      set(result(static_cast<int>(i), static_cast<int>(j)), matrix(i, j));
    }
  }
  return result;
}

inline bool fits(const fplll::Z_NR<long>&) { return true; }
inline bool fits(const fplll::Z_NR<mpz_t>& value) {
  return mpz_fits_slong_p(value.get_data()) != 0;
}

/// Throws Error where an element does not fit 64 bits. `name` says what the matrix is.
template <typename Integer>
IntegerMatrix from_fplll(const fplll::ZZ_mat<Integer>& matrix, const char* name) {
  IntegerMatrix result(static_cast<std::size_t>(matrix.get_rows()),
                       static_cast<std::size_t>(matrix.get_cols()));
  for (std::size_t i = 0; i < result.rows(); ++i) {
    for (std::size_t j = 0; j < result.columns(); ++j) {
      const auto& value = matrix(static_cast<int>(i), static_cast<int>(j));
      if (!fits(value)) {
        fail(
            "the {} of an LLL reduction does not fit 64-bit integers; round the basis to fewer "
            "bits",
            name);
      }
      result(i, j) = value.get_si();
    }
  }
  return result;
}

template <typename Integer>
fplll::ZZ_mat<Integer> identity(std::size_t n) {
  fplll::ZZ_mat<Integer> result;
  result.gen_identity(static_cast<int>(n));
  return result;
}

}  // namespace cllm::lattice
