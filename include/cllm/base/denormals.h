#pragma once

namespace cllm {

/// From now on this thread, and those that it starts, take numbers below the smallest normal one as
/// zero, as operands and as results: on many processors arithmetic with them takes a hundred times
/// as long. To be called first in main, so that it holds in all threads. Does nothing on other
/// processors than x86.
void flush_denormals();

/// Whether float arithmetic of this thread does so.
bool flushes_denormals();

}  // namespace cllm
