#include "cllm/cli/machine/build_report.h"

#include <fmt/format.h>
#include <gnu/libc-version.h>
#include <sys/utsname.h>

#include <vector>

#include "cllm/base/error.h"
#include "cllm/base/processors.h"
#include "cllm/cli/program.h"
#include "cllm/io/hdf5.h"
#include "cllm/kernels/blas.h"
#include "cllm/kernels/implementations.h"
#include "cllm/kernels/products.h"
#include "cllm/mpi/environment.h"

namespace cllm::cli {
namespace {

/// The code of one kind that a run would take here, and all that this processor runs.
std::string choice_text(std::string_view taken, const std::vector<std::string_view>& all) {
  return fmt::format("{}; this processor runs {}", taken, fmt::join(all, ", "));
}

std::string kernels_text() {
  std::vector<std::string_view> names;
  for (const kernels::Kernels* each : kernels::runnable_kernels()) names.emplace_back(each->name);
  return choice_text(kernels::select_kernels().name, names);
}

std::string products_text() {
  std::vector<std::string_view> names;
  for (const kernels::Products& each : kernels::all_products()) {
    if (each.runs_here()) names.push_back(each.name);
  }
  return choice_text(kernels::products().name, names);
}

std::string system_text() {
  utsname name{};
  ::uname(&name);
  return fmt::format("{} {} {}, glibc {}", name.sysname, name.release, name.machine,
                     ::gnu_get_libc_version());
}

/// What `text()` says, or why it can't: a report is most wanted where something is wrong.
template <typename Text>
std::string attempt(const Text& text) {
  try {
    return text();
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace

std::string build_report() {
  std::string text = fmt::format("cllm-dist {}\n", version());
  const auto add = [&](std::string_view label, const auto& value) {
    text += fmt::format("{:<10} {}\n", label, attempt(value));
  };
  add("compiler", [] { return std::string(CLLM_COMPILER); });
  add("MPI", mpi::library);
  add("BLAS", [] {
    return fmt::format("{}; computes as {}", kernels::blas_description(), kernels::blas_name());
  });
  add("HDF5", io::hdf5_version);
  add("kernels", kernels_text);
  add("products", products_text);
  add("processor", [] {
    return fmt::format("{}, {} for this process", processor_model(), available_processors().size());
  });
  add("system", system_text);
  return text;
}

}  // namespace cllm::cli
