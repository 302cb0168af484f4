#pragma once

#include "cllm/kernels/kernels.h"

/// How the files of an implementation hand over their kernels.
///
/// Note [Files of an implementation]: the kernels are one source, the …_body.h, for registers of
/// different kinds (vector.h), and each kernels_….cc compiles all of them for one kind. The linker
/// keeps one copy of every inline function and template instance in the program. Should it come
/// from a file compiled with -mavx2, the program would crash on a processor without AVX2, far from
/// any kernel. So these files include nothing of the standard library that holds code, keep every
/// function of their own in an unnamed namespace, and export only the functions below; a test looks
/// at their symbols.
namespace cllm::kernels {

/// Each sets its entries of the table, and is itself code for its kind of processor.
void set_avx2_kernels(Kernels& table);
void set_avx512_kernels(Kernels& table);
void set_portable_kernels(Kernels& table);
/// `shared_weight`, by AVX2.
void set_sets(Kernels& table);

}  // namespace cllm::kernels
