#include "kernels_body.h"
#include "tables.h"

namespace cllm::kernels {

void set_avx2_kernels(Kernels& table) { set_all(table); }

}  // namespace cllm::kernels
