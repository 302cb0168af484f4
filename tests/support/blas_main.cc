#include <gmock/gmock.h>

#include "cllm/kernels/blas.h"

/// Tests compute with the kernels that the program would (see Note [BLAS core]), and each product
/// on one thread.
int main(int argc, char** argv) {
  if (const auto slow_blas = cllm::kernels::restart_with_better_blas_core(argv)) {
    GTEST_LOG_(WARNING) << *slow_blas;
  }
  cllm::kernels::prepare_blas(1);
  testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}
