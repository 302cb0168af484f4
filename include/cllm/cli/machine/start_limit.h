#pragma once

namespace cllm::cli {

/// Note [Start limit]: OpenBLAS takes address space while it is loaded, and where a limit (ulimit
/// -v) leaves it too little, asks for it for ever. So the program gives its libraries, where there
/// is such a limit, no more than some seconds of processor time until main: then it says what is
/// wrong and ends. They take a small part of one.
///
/// To be called first in main: the libraries are there.
void end_start_limit();

}  // namespace cllm::cli
