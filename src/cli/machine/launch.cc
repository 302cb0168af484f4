#include "cllm/cli/machine/launch.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "cllm/base/digest.h"
#include "cllm/base/error.h"
#include "cllm/base/file.h"
#include "cllm/base/processors.h"
#include "cllm/cli/program.h"
#include "cllm/mpi/environment.h"
#include "cllm/ranks/ranks.h"

namespace cllm::cli {
namespace {

/// How a launcher says how many processes it started, and which this one is.
struct Names {
  const char *ranks, *rank;
};

/// The nearest to the process first: mpirun's of Open MPI; those of PMI, which MPICH's mpiexec and
/// srun --mpi=pmi2 set; those of srun for each of its steps. (SLURM_NTASKS is of the whole job, and
/// also in the environment of its batch script, which starts programs of one rank.)
constexpr Names kSlurmStep = {"SLURM_STEP_NUM_TASKS", "SLURM_PROCID"};
constexpr Names kLaunchers[] = {
    {"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"}, {"PMI_SIZE", "PMI_RANK"}, kSlurmStep};

/// Seconds that rank 0 has to speak before a launcher ends all because another rank ended.
constexpr int kToSpeak = 1;

int number_in(const char* text, int otherwise) {
  const std::string_view view = text == nullptr ? "" : text;
  std::from_chars(view.data(), view.data() + view.size(), otherwise);
  return otherwise;
}

/// Note [First words]: what `require_same_start` gathers, in every version of the program alike, so
/// that different versions understand each other that far: this word, the version, the digest of
/// the program's file, the host, and the arguments, each ended by a NUL.
constexpr const char* kFirstWord = "cllm-dist";

struct FirstWords {
  std::string version, digest, host;
  Arguments arguments;
};

std::string to_text(const FirstWords& words) {
  std::string text;
  for (const std::string& word : {std::string(kFirstWord), words.version, words.digest, words.host})
    text += word + '\0';
  for (const std::string& argument : words.arguments) text += argument + '\0';
  return text;
}

FirstWords first_words_in(const std::string& text) {
  std::vector<std::string> words;
  for (std::size_t begin = 0, end = 0; (end = text.find('\0', begin)) != text.npos;
       begin = end + 1) {
    words.push_back(text.substr(begin, end - begin));
  }
  constexpr std::size_t kBeforeArguments = 4;
  if (words.size() < kBeforeArguments || words[0] != kFirstWord) {
    return {.version = "of an earlier version", .digest = {}, .host = "unknown", .arguments = {}};
  }
  return {words[1], words[2], words[3], {words.begin() + kBeforeArguments, words.end()}};
}

/// The first argument that is not in both, with its option's name: "--seed 2".
std::string first_difference(const Arguments& arguments, const Arguments& others) {
  const auto [mine, its] = std::ranges::mismatch(arguments, others);
  if (mine == arguments.end()) return "nothing more";
  const bool is_value = !mine->starts_with("-") && mine != arguments.begin() &&
                        std::prev(mine)->starts_with("--") &&
                        std::prev(mine)->find('=') == std::string::npos;
  return is_value ? *std::prev(mine) + " " + *mine : *mine;
}

}  // namespace

Launch read_launch(const std::function<const char*(const char*)>& variable) {
  for (const Names& names : kLaunchers) {
    const char* const ranks = variable(names.ranks);
    if (ranks == nullptr) continue;
    return {.ranks = number_in(ranks, 1),
            .rank = number_in(variable(names.rank), 0),
            .source = fmt::format("{}={}", names.ranks, ranks),
            .can_meet = names.ranks != kSlurmStep.ranks || variable("PMIX_RANK") != nullptr};
  }
  return {};
}

Launch read_launch() {
  return read_launch([](const char* name) { return std::getenv(name); });
}

bool refuse_if_cut_off(const Launch& launch, int size) {
  if (size > 1 || launch.ranks <= 1) return false;
  if (launch.rank > 0) {
    std::this_thread::sleep_for(std::chrono::seconds(kToSpeak));
    return true;
  }
  throw ReplicatedError(fmt::format(
      "{} ranks were started ({}), and each finds itself alone, because the launcher does not "
      "speak with this program's MPI ({}); start it with that MPI's own mpirun, or with srun "
      "--mpi=pmix (Open MPI) or --mpi=pmi2 (MPICH), and runs that are to be apart by a launcher of "
      "their own each (srun -n 1)",
      launch.ranks, launch.source, mpi::library()));
}

bool may_start_mpi(const Launch& launch) {
  if (launch.can_meet) return true;
  if (refuse_if_cut_off(launch, 1)) return false;
  for (const char* name : {"SLURM_STEP_ID", "SLURM_STEPID"}) ::unsetenv(name);
  return true;
}

void require_same_start(const Arguments& arguments, const std::string& digest,
                        ranks::ProcessGroup& process_group) {
  const std::vector<std::string> gathered =
      process_group.all_gather(to_text({.version = std::string(version()),
                                        .digest = digest,
                                        .host = host_name(),
                                        .arguments = arguments}));
  std::vector<FirstWords> all;
  std::vector<std::string> versions, digests, texts, hosts;
  for (const std::string& text : gathered) {
    all.push_back(first_words_in(text));
    versions.push_back(all.back().version);
    // What can't be read is not known to be another.
    const std::string &first = all.front().digest, &its = all.back().digest;
    digests.push_back(first.empty() || its.empty() ? first : its);
    texts.push_back(to_text({{}, {}, {}, all.back().arguments}));
    hosts.push_back(all.back().host);
  }
  if (const auto others = ranks::unlike_rank_0(versions); !others.empty()) {
    throw ReplicatedError(fmt::format(
        "the program is cllm-dist {} on rank 0 (host {}) and {} on {}; start the same on all hosts",
        versions.front(), hosts.front(), versions[others.front()],
        ranks::ranks_text(others, hosts)));
  }
  if (const auto others = ranks::unlike_rank_0(digests); !others.empty()) {
    throw ReplicatedError(fmt::format(
        "the program is another build of cllm-dist {} on {} than on rank 0 (host {}); start the "
        "same file on all hosts",
        versions.front(), ranks::ranks_text(others, hosts), hosts.front()));
  }
  if (const auto others = ranks::unlike_rank_0(texts); !others.empty()) {
    const Arguments &its = all[others.front()].arguments, &first = all.front().arguments;
    throw ReplicatedError(
        fmt::format("{} started with other options than rank 0 (host {}): {} where that has {}; "
                    "start all ranks with the same",
                    ranks::ranks_text(others, hosts) + (others.size() == 1 ? " was" : " were"),
                    hosts.front(), first_difference(its, first), first_difference(first, its)));
  }
}

std::string program_digest() {
  try {
    return digest_hex(MappedFile("/proc/self/exe").bytes());
  } catch (const Error&) {
    return {};
  }
}

}  // namespace cllm::cli
