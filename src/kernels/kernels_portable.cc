#include "kernels_body.h"
#include "tables.h"

namespace cllm::kernels {

void set_portable_kernels(Kernels& table) { set_all(table); }

}  // namespace cllm::kernels
