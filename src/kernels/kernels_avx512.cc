#include "kernels_body.h"
#include "tables.h"

namespace cllm::kernels {

void set_avx512_kernels(Kernels& table) { set_all(table); }

}  // namespace cllm::kernels
