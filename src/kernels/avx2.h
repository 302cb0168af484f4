#pragma once

#include "cllm/kernels/kernels.h"

/// How the files that are compiled with -mavx2 -mfma hand over their kernels.
///
/// Note [AVX2 files]: the linker keeps one copy of every inline function and template instance in
/// the program. Should it come from a file compiled with -mavx2, the program would crash on a
/// processor without AVX2, far from any kernel. So the *_avx2 files include nothing of the standard
/// library that holds code, keep every function of their own in an unnamed namespace, and export
/// only the functions below; a test looks at their symbols.
namespace cllm::kernels::avx2 {

/// Each sets its entries of the table, and is itself AVX2 code.
void set_math(Kernels& table);
void set_integers(Kernels& table);
void set_sets(Kernels& table);
void set_layers(Kernels& table);
void set_layernorm(Kernels& table);
void set_rmsnorm(Kernels& table);
void set_attention(Kernels& table);
void set_loss(Kernels& table);
void set_optimizer(Kernels& table);

}  // namespace cllm::kernels::avx2
