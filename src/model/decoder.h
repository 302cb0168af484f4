#pragma once

#include "cllm/model/network.h"

namespace cllm::model {

/// Makes the list of parts of a decoder with the norm before attention and MLP: all families are
/// such, and differ in the parts that the network's configuration names.
void make_decoder(Network& network);

}  // namespace cllm::model
