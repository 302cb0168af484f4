#pragma once

namespace cllm::ranks {

/// What a message costs between two ranks, in seconds.
struct LinkCosts {
  double latency = 0;   ///< from its sending until its first byte is there
  double per_byte = 0;  ///< of a link, each way at once
};

/// What sums cost, in seconds: the parameters of LogGP (Alexandrov et al., SPAA 1995) and of
/// adding.
struct Costs {
  LinkCosts network = {};      ///< between hosts; a host's ranks share its link
  LinkCosts memory = {};       ///< between ranks of a host
  double per_message = 0;      ///< of a rank's thread, for each message that it sends or receives
  double per_added_byte = 0;   ///< of a rank's thread
  double per_copied_byte = 0;  ///< of a rank's thread, into or out of shared memory
};

}  // namespace cllm::ranks
