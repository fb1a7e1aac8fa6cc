#!/bin/sh
# Installs the Debian/Ubuntu packages that bioseg needs: `deploy/packages.sh build` to build and run it,
# `deploy/packages.sh test` for the checks as well, `deploy/packages.sh napari` for the tests of the napari plugin,
# `deploy/packages.sh exports` for the tests that open exports in other programs,
# `deploy/packages.sh cuda` for what deploy/cuda-toolkit.sh and nvcc need besides `build`.
# Nothing is touched when everything is already there. Runs as root or through sudo, asks nothing.
set -eu

build="gcc cmake ninja-build ccache pkg-config git ca-certificates
libgrpc-dev libprotobuf-c-dev protobuf-c-compiler protobuf-compiler
libpng-dev libtiff-dev libhdf5-dev zlib1g-dev libdnnl-dev libsqlite3-dev libssl-dev libjansson-dev libzip-dev libyaml-dev
libmicrohttpd-dev"
test="g++ libcmocka-dev clang-14 clang-format-14 clang-tidy-14 libclang-rt-14-dev libomp-14-dev llvm-14 python3 python3-venv python3-pip"
# A virtual screen with OpenGL, and what Qt asks of X; for tests/napari/run.sh.
napari="python3 python3-venv python3-pip openssl xvfb xauth libegl1 libgl1 libglx-mesa0 libgl1-mesa-dri libxkbcommon0 libxkbcommon-x11-0 libdbus-1-3
libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libxcb-randr0
libfontconfig1 libglib2.0-0"
# PyTorch for the CPU; for tests/exports/run.sh.
exports="python3 python3-venv python3-pip python3-torch"
# nvcc reads kernels with g++'s help; pip brings nvcc.
cuda="g++ python3 python3-venv python3-pip"

case "${1:-build}" in
build) wanted="$build" ;;
test) wanted="$build $test" ;;
napari) wanted="$napari" ;;
exports) wanted="$exports" ;;
cuda) wanted="$build $cuda" ;;
*)
    echo "usage: deploy/packages.sh build|test|napari|exports|cuda" >&2
    exit 2
    ;;
esac

missing=""
for package in $wanted; do
    if ! dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed'; then
        missing="$missing $package"
    fi
done
[ -n "$missing" ] || exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "packages are missing and neither root nor sudo is at hand:$missing" >&2
        exit 1
    }
    as_root="sudo"
fi
echo "installing:$missing"
$as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
# shellcheck disable=SC2086 # the list is meant to split
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
