// A long cable between virtual hosts, where the kernel has no netem: whatever comes into one
// network device leaves the other so much later, both ways. Needs root.
//
//   delay_line DEVICE DEVICE MICROSECONDS
#include <arpa/inet.h>
#include <fmt/core.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <deque>
#include <string>
#include <thread>
#include <vector>

#include "cllm/base/error.h"

namespace {

using Clock = std::chrono::steady_clock;

/// A raw socket on a device, for frames as they are: with what is left for the device to do (the
/// checksum, cutting into packets) told in front of each.
int open_device(const std::string& name) {
  const int device = ::socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
  const int on = 1, room = 64 << 20;
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(::if_nametoindex(name.c_str()));
  const bool is_open =
      device >= 0 && address.sll_ifindex > 0 &&
      ::setsockopt(device, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) == 0 &&
      ::setsockopt(device, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) == 0 &&
      ::setsockopt(device, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) == 0 &&
      ::setsockopt(device, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) == 0 &&
      ::bind(device, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  if (!is_open) cllm::fail("cannot open device {}: {}", name, std::strerror(errno));
  return device;
}

/// Hands on what comes, for ever.
void carry(int from, int to, std::chrono::microseconds delay) {
  struct Frame {
    Clock::time_point due;
    std::vector<char> bytes;
  };
  std::deque<Frame> frames;
  std::array<char, 1 << 17> frame;
  while (true) {
    timespec wait{};
    if (!frames.empty()) {
      const auto left = std::chrono::nanoseconds(frames.front().due - Clock::now()).count();
      wait.tv_nsec = std::max<long>(left, 0);
    }
    pollfd readable = {from, POLLIN, 0};
    ::ppoll(&readable, 1, frames.empty() ? nullptr : &wait, nullptr);
    for (ssize_t size; (size = ::recv(from, frame.data(), frame.size(), MSG_DONTWAIT)) > 0;) {
      frames.push_back({Clock::now() + delay, {frame.data(), frame.data() + size}});
    }
    for (; !frames.empty() && frames.front().due <= Clock::now(); frames.pop_front()) {
      // A frame that is refused is lost, as on any network.
      (void)!::send(to, frames.front().bytes.data(), frames.front().bytes.size(), 0);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    fmt::print(stderr, "delay_line DEVICE DEVICE MICROSECONDS\n");
    return 2;
  }
  try {
    const int one = open_device(argv[1]), other = open_device(argv[2]);
    const std::chrono::microseconds delay(std::stol(argv[3]));
    const std::thread back([&] { carry(other, one, delay); });
    carry(one, other, delay);
  } catch (const std::exception& error) {
    fmt::print(stderr, "delay_line: {}\n", error.what());
    return 1;
  }
}
