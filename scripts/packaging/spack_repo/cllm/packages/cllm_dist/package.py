# The recipe for Spack (docs/installing.md).
from spack_repo.builtin.build_systems.cmake import CMakePackage

from spack.package import *


class CllmDist(CMakePackage):
    """Trains language models on CPU clusters."""

    license("Apache-2.0")

    # It has no address of its own: `spack develop` or `spack dev-build` take a checkout.
    version("0.1.0")

    depends_on("c", type="build")
    depends_on("cxx", type="build")
    depends_on("cmake@3.25:", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("gzip", type="build")

    depends_on("mpi")
    depends_on("openblas threads=openmp")
    depends_on("hdf5@1.10: ~mpi")
    depends_on("cli11")
    depends_on("tomlplusplus")
    depends_on("fmt@9:")
    depends_on("nlohmann-json")
    depends_on("xxhash")
    depends_on("fplll")
    depends_on("sentencepiece")
    depends_on("utf8proc")
    depends_on("zlib-api")
    depends_on("zstd")
    depends_on("googletest +gmock", type="test")

    conflicts("%gcc@:11", msg="it is C++20, for GCC 12 or newer")

    def cmake_args(self):
        return [
            self.define("CLLM_TESTS", self.run_tests),
            # A newer compiler may warn of more.
            self.define("CLLM_WERROR", False),
        ]

    @run_after("install")
    @on_package_attributes(run_tests=True)
    def says_what_it_is(self):
        program = Executable(self.prefix.bin.join("cllm-dist"))
        assert str(self.version) in program("--version", output=str)
