#!/usr/bin/env bash
# The Debian package that cpack makes names what it needs and holds what is to be installed; the
# recipes for Spack and Apptainer can be read.
#
#   package_test.sh BUILD_DIRECTORY VERSION ROOT
#
# Exit: 0 held, 1 broken, 77 skipped because this is no Debian.
set -euo pipefail
build=$1 version=$2 root=$3

fail() {
  printf 'failed: %s\n' "$*"
  exit 1
}

if ! command -v dpkg-shlibdeps >/dev/null; then
  echo "skipped: dpkg-dev is not installed"
  exit 77
fi
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT
cpack --config "$build/CPackConfig.cmake" -B "$scratch/package" >"$scratch/log" 2>&1 ||
  fail "cpack: $(tail -n 3 "$scratch/log")"
package=$(echo "$scratch"/package/cllm-dist_*.deb)
[[ $package == *"/cllm-dist_${version}_"* ]] || fail "the package is called $package"

needs=", $(dpkg-deb --field "$package" Depends),"
for library in 'openmpi-bin|mpich' libopenblas0-openmp 'libhdf5-[^,]*' libc6 'libfplll[^,]*' libsentencepiece0; do
  [[ $needs =~ ,\ ($library)( |,) ]] || fail "the package doesn't need $library, but$needs"
done
if [[ $needs == *libopenblas0-pthread* ]]; then fail "the package takes another OpenBLAS:$needs"; fi

dpkg-deb --extract "$package" "$scratch/root"
usr=$scratch/root/usr
printed=$("$usr/bin/cllm-dist" --version)
[[ $printed == "$version" ]] || fail "cllm-dist --version says '$printed', not $version"
for file in share/man/man1/cllm-dist.1.gz share/man/man1/cllm-dist-sample.1.gz \
  share/bash-completion/completions/cllm-dist share/zsh/vendor-completions/_cllm-dist \
  share/cllm-dist/slurm/train.sbatch share/doc/cllm-dist/copyright share/doc/cllm-dist/installing.md; do
  [[ -s $usr/$file ]] || fail "the package has no /usr/$file"
done

recipe=$root/scripts/packaging/spack_repo/cllm/packages/cllm_dist/package.py
if command -v python3 >/dev/null; then
  python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read())' "$recipe" || fail "$recipe"
fi
grep -q "version(\"$version\")" "$recipe" || fail "$recipe doesn't know version $version"
# The shell of each stage of the container.
awk '/^%post/ {on = 1; next} /^(%|Bootstrap)/ {on = 0} on' "$root/scripts/packaging/cllm-dist.def" |
  bash -n || fail "the %post of cllm-dist.def"
echo "held"
