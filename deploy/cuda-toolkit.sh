#!/usr/bin/env bash
# Sets up what the CUDA backend is built and run with, where no CUDA toolkit is installed: NVIDIA's compiler, cuBLASLt and cuDNN
# from the wheels NVIDIA publishes for pip. Needs g++ and python3 with pip or venv (`deploy/packages.sh cuda`); no driver, no GPU,
# no root.
#
#   ./deploy/cuda-toolkit.sh                     look for a toolkit; set one up in the default prefix if there is none
#   ./deploy/cuda-toolkit.sh PREFIX              set one up in PREFIX, whatever else there is
#   ./deploy/cuda-toolkit.sh --compiler [PREFIX] the compiler and CUDA's own headers alone (100 MB of downloads, 300 MB on disk):
#                                                builds the plugin, which then needs cuBLASLt and cuDNN from elsewhere to run
#
# A toolkit is looked for at CUDACXX, CUDA_HOME, CUDA_PATH, nvcc on PATH, /usr/local/cuda and the default prefix,
# $XDG_DATA_HOME/bioseg-cuda (or ~/.local/share/bioseg-cuda): the order in which CMake looks as well. The full set is 1.0 GB of
# downloads and 1.6 GB on disk. Running again does nothing when everything is there and goes on where an earlier run was
# interrupted; PREFIX appears whole or not at all. NVIDIA's licences apply to what is set up: PREFIX/licenses.
#
# Says what it does on standard error; prints the options for cmake on standard output.
set -euo pipefail

# Tested together. CUDA 13.0 speaks to drivers from 580 on; its oldest GPUs are of compute capability 7.5.
compiler_wheels="nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-runtime==13.0.96
nvidia-cuda-cccl==13.0.85"
# cuDNN builds its attention with NVRTC.
library_wheels="nvidia-cublas==13.1.0.3 nvidia-nvjitlink==13.0.88 nvidia-cudnn-cu13==9.19.0.56 nvidia-cuda-nvrtc==13.0.88"

say() { printf 'cuda-toolkit: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}
usage() { sed -n '2,16p' "$0" | sed 's/^# \{0,1\}//'; }

home=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
default=${XDG_DATA_HOME:-$home/.local/share}/bioseg-cuda
wanted=full prefix=""
while [ $# -gt 0 ]; do
    case $1 in
    --compiler) wanted=compiler ;;
    -h | --help) usage; exit 0 ;;
    -*) usage >&2; die "there is no option '$1'" ;;
    *) [ -z "$prefix" ] || die "one PREFIX, not '$prefix' and '$1'"; prefix=$1 ;;
    esac
    shift
done

# Whether the header $2 belongs to the toolkit $1, or lies where the compiler looks anyway.
has_header() {
    local folder machine
    machine=$(gcc -print-multiarch 2>/dev/null || true)
    for folder in "$1/include" "$1/targets/$(uname -m)-linux/include" /usr/include "/usr/include/$machine" /usr/local/include; do
        [ -e "$folder/$2" ] && return 0
    done
    return 1
}

# Whether the toolkit $1 is good for what is wanted; says what it lacks.
serves() {
    [ -x "$1/bin/nvcc" ] || return 1
    has_header "$1" cuda.h || { say "$1 has nvcc but no cuda.h"; return 1; }
    [ "$wanted" = full ] || return 0
    has_header "$1" cublasLt.h || { say "$1 has nvcc but no cublasLt.h"; return 1; }
    has_header "$1" cudnn.h || { say "$1 has nvcc, but cudnn.h is neither there nor in /usr/include"; return 1; }
}

finish() {
    say "$("$1/bin/nvcc" --version | sed -n 's/^Cuda compilation tools, //p') in $1"
    printf -- '-DBS_WITH_CUDA=ON -DBS_CUDA_ROOT=%s\n' "$1"
    exit 0
}

if [ -z "$prefix" ]; then
    on_path=$(command -v nvcc || true)
    for nvcc in "${CUDACXX:-}" "${CUDA_HOME:+$CUDA_HOME/bin/nvcc}" "${CUDA_PATH:+$CUDA_PATH/bin/nvcc}" "$on_path" /usr/local/cuda/bin/nvcc; do
        [ -n "$nvcc" ] && [ -x "$nvcc" ] || continue
        root=$(dirname "$(dirname "$(readlink -f "$nvcc")")")
        if serves "$root"; then
            say "found a toolkit, nothing to do"
            finish "$root"
        fi
    done
    prefix=$default
fi
case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac
prefix=${prefix%/}

wheels=$compiler_wheels
[ "$wanted" = compiler ] || wheels+=" $library_wheels"
# The list of what was set up, and the mark of a prefix that this script made.
list=bioseg-wheels.txt
set_up() {
    local wheel
    [ -x "$prefix/bin/nvcc" ] && [ -f "$prefix/$list" ] || return 1
    for wheel in $wheels; do
        grep -qx "$wheel" "$prefix/$list" || return 1
    done
}

command -v g++ >/dev/null || die "nvcc needs g++ (Debian: deploy/packages.sh cuda installs it)"
mkdir -p "$(dirname "$prefix")" || die "cannot make $(dirname "$prefix")"
exec 9>"$prefix.lock"
flock 9 # a second run waits here and then finds everything done
if set_up; then
    say "set up already, nothing to do"
    finish "$prefix"
fi
if [ -e "$prefix" ] && [ ! -f "$prefix/$list" ] && [ -n "$(ls -A "$prefix")" ]; then
    die "$prefix is there and is not this script's: give another PREFIX"
fi

part=$prefix.part # wheels in here survive an interrupted run
mkdir -p "$part/wheels"
if python3 -m pip --version >/dev/null 2>&1; then
    pip=(python3 -m pip)
else
    python3 -m venv "$part/venv" >&2 || die "python3 has neither pip nor venv (Debian: deploy/packages.sh cuda)"
    pip=("$part/venv/bin/python" -m pip)
fi

for wheel in $wheels; do
    # A wheel's file is named after its package and version, dashes written as underscores.
    file=${wheel%%==*}
    file=${file//-/_}-${wheel##*==}
    compgen -G "$part/wheels/$file-*.whl" >/dev/null && continue
    say "fetching $wheel"
    "${pip[@]}" --disable-pip-version-check download --quiet --no-deps --only-binary :all: --no-cache-dir \
        --dest "$part/wheels" "$wheel" >&2 || die "pip could not fetch $wheel; run again to go on from here"
done

say "assembling $prefix"
rm -rf "$part/site" "$part/toolkit"
mkdir -p "$part/site" "$part/toolkit/licenses"
for wheel in $wheels; do
    file=${wheel%%==*}
    file=${file//-/_}-${wheel##*==}
    python3 -m zipfile -e "$part"/wheels/"$file"-*.whl "$part/site" || die "a wheel of $wheel is damaged: remove $part and run again"
    mkdir -p "$part/toolkit/licenses/${wheel%%==*}"
    cp "$part/site/$file.dist-info/licenses/"* "$part/site/$file.dist-info/METADATA" "$part/toolkit/licenses/${wheel%%==*}/"
    printf '%s\n' "$wheel" >>"$part/toolkit/$list"
done
# One toolkit of many wheels: nvcc looks for its libraries in lib64 and takes its own folder for the toolkit's (so no links to
# bin), the linker wants names without versions, and zip files carry no permission to execute.
mv "$part/site/nvidia/cu13/"* "$part/toolkit/"
mv "$part/toolkit/lib" "$part/toolkit/lib64"
ln -s lib64 "$part/toolkit/lib"
if [ -d "$part/site/nvidia/cudnn" ]; then
    mv "$part/site/nvidia/cudnn/include/"* "$part/toolkit/include/"
    mv "$part/site/nvidia/cudnn/lib/"*.so.* "$part/toolkit/lib64/"
fi
for library in "$part/toolkit/lib64"/*.so.*; do
    name=$(basename "$library")
    [ -e "$part/toolkit/lib64/${name%%.so.*}.so" ] || ln -s "$name" "$part/toolkit/lib64/${name%%.so.*}.so"
done
find "$part/toolkit/bin" "$part/toolkit/nvvm/bin" -maxdepth 1 -type f ! -name '*.profile' -exec chmod 755 {} +

# Whole only if it compiles.
cat >"$part/probe.cu" <<'CU'
#include <cuda_bf16.h>
#include <cuda_fp16.h>
extern "C" __global__ void probe(float *y, const __half *x) { y[threadIdx.x] = __half2float(x[threadIdx.x]); }
CU
"$part/toolkit/bin/nvcc" -fatbin -gencode arch=compute_75,code=sm_75 -o "$part/probe.fatbin" "$part/probe.cu" >&2 ||
    die "the assembled compiler does not compile; its parts are in $part"

if [ -e "$prefix" ]; then
    rm -rf "$part/old"
    mv "$prefix" "$part/old"
fi
mv "$part/toolkit" "$prefix"
rm -rf "$part"
finish "$prefix"
