#!/usr/bin/env bash
# Checks and measures the CUDA backend on a machine with a GPU. Needs nvcc, cuBLASLt, cuDNN 9 and CMake there; `bench` also python3
# with PyTorch and Triton, `unit` also cmocka. No network, no gRPC, no oneDNN.
#
#   tests/gpu/run.sh STAGE...   one or more, in this order:
#     build      build-gpu: the plugin for this GPU, golden_check, bench_device and, where cmocka is, the tests of single kernels
#     unit       those tests, on the GPU
#     golden     golden_check on cuda:0 in f32, tf32, f16 and bf16, forward
#     training   golden_check's losses, gradients and optimiser steps on cuda:0
#     sanitize   compute-sanitizer (memcheck, racecheck, synccheck, initcheck) over the tests of single kernels and small networks
#     bench      the paper's six networks here, in PyTorch eager, compiled, and compiled with CUDA graphs
#     table      what bench measured, as Markdown (needs no GPU)
#   tests/gpu/run.sh pack [GOLDEN_DIR]   on a machine where they are: puts cmocka, and reference values of full size, into .gpu/,
#                                        to be carried to the one with the GPU
#   --seconds N   no stage takes longer (480); what is left is done by the next call, which skips what is done
#   --only TEXT   only steps whose name contains TEXT        --again   do them again
#
# Results are in build-gpu/results; where OUT names a folder, they are packed into it after every stage. Exit status: 0 all done and
# well, 1 something failed, 75 time was up: run again.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
build=$PWD/build-gpu
results=$build/results raw=$build/raw carried=$PWD/.gpu
seconds=480 only="" again=false pack="" stages=()

die() {
    printf 'tests/gpu/run.sh: %s\n' "$*" >&2
    exit 1
}
usage() { sed -n '2,19p' "$0" | sed 's/^# \{0,1\}//'; }

while [ $# -gt 0 ]; do
    case $1 in
    build | unit | golden | training | sanitize | bench | table) stages+=("$1") ;;
    pack)
        stages+=(pack)
        case ${2:-} in "" | -*) ;; *) pack=$2; shift ;; esac
        ;;
    --seconds) seconds=${2:?--seconds needs a number}; shift ;;
    --only) only=${2:?--only needs a text}; shift ;;
    --again) again=true ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; die "there is no stage or option '$1'" ;;
    esac
    shift
done
[ ${#stages[@]} -gt 0 ] || { usage >&2; exit 2; }

# ---- steps: each has a name, a log, and is done once ----

failed=0 left=0
# step NAME MAY_TAKE COMMAND...: runs it unless it is done; keeps its standard output in results/NAME.out. MAY_TAKE seconds at most.
step() {
    local name=$1 may_take=$2 remaining rc began=$SECONDS
    shift 2
    [[ $name == *"$only"* ]] || return 0
    if ! $again && [ -f "$results/$name.out" ]; then
        return 0
    fi
    remaining=$((deadline - SECONDS))
    if [ "$remaining" -lt 10 ]; then
        left=$((left + 1))
        return 0
    fi
    [ "$remaining" -lt "$may_take" ] && may_take=$remaining
    rm -f "$results/$name".*
    declare -F "$1" >/dev/null && set -- bash -c '"$@"' step "$@" # timeout runs programs, not functions
    timeout -k 5 "$may_take" "$@" >"$results/$name.part" 2>"$results/$name.log"
    rc=$?
    if [ $rc -eq 0 ]; then
        mv "$results/$name.part" "$results/$name.out"
        echo "done  $name  $((SECONDS - began)) s"
    elif [ $rc -ge 124 ] && [ $((deadline - SECONDS)) -lt 10 ]; then
        left=$((left + 1))
    else
        mv "$results/$name.part" "$results/$name.failed"
        failed=$((failed + 1))
        [ $rc -eq 124 ] && echo "took longer than $may_take s" >>"$results/$name.log"
        echo "FAIL  $name  $((SECONDS - began)) s  (status $rc)"
        { grep -hE '^FAIL|Error|error|ERROR' "$results/$name.failed" "$results/$name.log" || tail -n 5 "$results/$name.log"; } | head -n 8
    fi
    return 0
}

# ---- the machine ----

need_gpu() {
    command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q '^GPU' ||
        die "there is no GPU here that nvidia-smi knows; the plugin itself builds anywhere: tests/run.sh cuda"
}

# NVIDIA's libraries may be Python's alone: those that the loader does not find are looked for there.
find_libraries() {
    local name folder
    for name in libcublasLt.so.13 libcublasLt.so.12 libcudnn.so.9; do
        ldconfig -p | grep -q "$name" && continue
        folder=$(python3 - "$name" 2>/dev/null <<'PY'
import glob, os, site, sys
for base in site.getsitepackages() + [site.getusersitepackages()] + sys.path:
    for path in glob.glob(os.path.join(base, "nvidia", "*", "lib", sys.argv[1])):
        print(os.path.dirname(path))
        sys.exit()
PY
        ) || true
        [ -n "$folder" ] && LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    done
    [ -d "$carried/lib" ] && LD_LIBRARY_PATH=$carried/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}
}

# ---- stages ----

stage_build() {
    local generator=() capability tests=OFF
    command -v ninja >/dev/null && generator=(-G Ninja)
    capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d '. ')
    if [ -f "$carried/include/cmocka.h" ] || echo '#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>' | cc -E - >/dev/null 2>&1; then
        tests=ON
    else
        echo "cmocka is not here: the tests of single kernels are left out (tests/gpu/run.sh pack brings it)"
    fi
    rm -f "$results"/build.*
    step build 480 build_all "$capability" "$tests" "${generator[@]}"
    [ -f "$results/build.out" ] && cat "$build/kernels/cuda/kernels.txt"
}
build_all() { # CAPABILITY ON|OFF GENERATOR
    local capability=$1 tests=$2
    shift 2
    cmake -S . -B "$build" "$@" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_PREFIX_PATH="$carried" -DBS_WERROR=ON -DBS_WITH_CUDA=ON \
        -DBS_CUDA_ARCHITECTURES="$capability" -DBS_CUDA_LINES=ON -DBS_CUDA_THREADS=0 -DBS_WITH_SERVER=OFF -DBS_WITH_JOBS=OFF -DBS_WITH_ONEDNN=OFF -DBS_WITH_OPENMP=OFF \
        -DBS_WITH_PNG=OFF -DBS_WITH_TIFF=OFF -DBS_WITH_HDF5=OFF -DBS_WITH_TORCH_CONVERT=OFF -DBS_WITH_EMULATION=OFF -DBS_WITH_CHECKS=ON -DBS_WITH_TESTS="$tests" \
        -DBS_CUDA_TESTS_ON_DEVICE="$build/kernels/cuda/kernels.fatbin" || return 1
    # shellcheck disable=SC2046 # a list of targets
    cmake --build "$build" --parallel "$(nproc)" --target bioseg-cuda cuda-report golden_check bench_device \
        $(cmake --build "$build" --target help | grep -oE 'unit\.cuda\.[A-Za-z0-9_]+' | sort -u)
}

unit_tests() { find "$build/tests" -maxdepth 1 -name 'unit.cuda.*' -type f -executable 2>/dev/null | sort; }

stage_unit() {
    local test
    [ -n "$(unit_tests)" ] || { echo "no tests of single kernels were built"; return 0; }
    export BS_CUDA_EXPECTED=1 BS_CUDA_IMAGE=$build/kernels/cuda/kernels.fatbin
    while read -r test; do
        step "unit-${test##*/unit.cuda.}" 240 "$test"
    done < <(unit_tests)
}

stage_golden() {
    local folder tag area precision
    [ -x "$build/bin/golden_check" ] || die "build first"
    for precision in f32 tf32 f16 bf16; do
        for folder in "$PWD/tests/fixtures/golden" "$carried/golden"; do
            tag=fixtures
            [ "$folder" = "$carried/golden" ] && tag=carried
            for area in scan small full; do
                [ -d "$folder/$area" ] || continue
                step "golden-$precision-$tag-$area" 300 "$build/bin/golden_check" --device cuda:0 --precision "$precision" --forward \
                    --area "$area" "$folder"
            done
        done
    done
}

stage_training() {
    local area
    [ -x "$build/bin/golden_check" ] || die "build first"
    for area in losses scan small; do
        step "training-$area" 300 "$build/bin/golden_check" --device cuda:0 --area "$area" "$PWD/tests/fixtures/golden"
    done
}

stage_sanitize() {
    local tool test network precision small=$build/sanitize
    command -v compute-sanitizer >/dev/null || die "compute-sanitizer is not on PATH (it comes with the CUDA toolkit)"
    for network in unet_in unet_bn unetr_head64 vimunet; do
        mkdir -p "$small/$network/small"
        ln -sfn "$PWD/tests/fixtures/golden/small/$network" "$small/$network/small/$network"
    done
    export BS_CUDA_EXPECTED=1 BS_CUDA_IMAGE=$build/kernels/cuda/kernels.fatbin
    for tool in memcheck racecheck synccheck initcheck; do
        while read -r test; do
            step "sanitize-$tool-unit-${test##*/unit.cuda.}" 240 sanitized "$tool" "$test"
        done < <(unit_tests)
        for network in unet_in unet_bn unetr_head64 vimunet; do
            for precision in f32 bf16; do
                step "sanitize-$tool-$network-$precision" 240 sanitized "$tool" \
                    "$build/bin/golden_check" --device cuda:0 --precision "$precision" --forward "$small/$network"
            done
        done
    done
}
sanitized() { # TOOL COMMAND...
    local tool=$1
    shift
    # shellcheck disable=SC2086 # options
    compute-sanitizer --tool "$tool" --error-exitcode 99 --print-limit 5 ${BS_SANITIZER_OPTIONS:-} "$@" 2>&1
}

# What an image of 520 x 704 is to a U-Net (a multiple of its divisor), and 1024 x 1024, which is also what every image is to the others.
cases="unet:528:704 unet:1024:1024 unetr_b:1024:1024 unetr_l:1024:1024 unetr_h:1024:1024 vimunet_t:1024:1024 vimunet_s:1024:1024"
stage_bench() {
    local precision engine case network height width name
    [ -x "$build/bin/bench_device" ] || die "build first"
    mkdir -p "$raw"
    for precision in bf16 tf32 f16 f32; do
        for case in $cases; do
            IFS=: read -r network height width <<<"$case"
            name=$network-${height}x$width-$precision
            step "bench-$name-bioseg" 180 "$build/bin/bench_device" --device cuda:0 --network "$network" --height "$height" --width "$width" \
                --precision "$precision" --warmup 5 --repeat 30 --save "$raw/$name.raw"
        done
    done
    python3 -c 'import torch, triton; assert torch.cuda.is_available()' 2>/dev/null || {
        echo "python3 here has no PyTorch and Triton that see the GPU: no peers"
        return 0
    }
    for engine in torch-eager torch-compile torch-graphs; do
        for precision in bf16 tf32 f16 f32; do
            for case in $cases; do
                IFS=: read -r network height width <<<"$case"
                name=$network-${height}x$width-$precision
                step "bench-$name-$engine" 240 peer "$raw/$name.raw" --network "$network" --height "$height" --width "$width" \
                    --precision "$precision" --engine "$engine" --warmup 5 --repeat 30 --weights "$raw/$network.pt"
            done
        done
    done
}
peer() { # OURS ARGUMENTS...
    local ours=$1
    shift
    [ -f "$ours" ] && set -- "$@" --against "$ours"
    python3 tests/gpu/peers.py "$@"
}

stage_table() {
    python3 tests/gpu/table.py "$results" >"$results/table.md" || { failed=$((failed + 1)); return; }
    cat "$results/table.md"
}

stage_pack() {
    local header library
    header=$(echo '#include <cmocka.h>' | cc -E -include stdarg.h -include stddef.h -include setjmp.h -include stdint.h - 2>/dev/null |
        sed -n 's/^# [0-9]* "\(.*\/cmocka\.h\)".*/\1/p' | head -n 1)
    library=$(cc -print-file-name=libcmocka.so)
    [ -f "$header" ] && [ -f "$library" ] || die "cmocka is not here (Debian: libcmocka-dev)"
    rm -rf "$carried"
    mkdir -p "$carried/include" "$carried/lib"
    cp "$(dirname "$header")"/cmocka*.h "$carried/include/"
    cp -L "$library" "$carried/lib/libcmocka.so"
    # The name that programs linked with it ask for.
    ln -sf libcmocka.so "$carried/lib/$(readelf -d "$library" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')"
    if [ -n "$pack" ]; then
        [ -d "$pack" ] || die "there is no folder $pack"
        mkdir -p "$carried/golden"
        cp -r "$pack/full" "$carried/golden/" || die "$pack has no folder full/" # of the others, tests/fixtures/golden has enough
    fi
    du -sh "$carried"
}

# What comes back from a machine that keeps nothing.
hand_back() {
    [ -n "${OUT:-}" ] && [ -d "$OUT" ] && [ -d "$results" ] || return 0
    tar -C "$build" -czf "$OUT/results.tar.gz" results
    (cd "$results" && ls -- *.out *.failed 2>/dev/null) >"$OUT/steps.txt"
    [ -f "$results/table.md" ] && cp "$results/table.md" "$OUT/"
    return 0
}

export build carried
export -f build_all sanitized peer
rc=0
for stage in "${stages[@]}"; do
    echo "== $stage"
    [ "$stage" = pack ] || mkdir -p "$results"
    case $stage in pack | table) ;; *) need_gpu; find_libraries ;; esac
    failed=0 left=0 deadline=$((SECONDS + seconds))
    "stage_$stage"
    hand_back
    if [ "$failed" -gt 0 ]; then
        echo "$stage: $failed failed (logs in build-gpu/results)"
        rc=1
    fi
    if [ "$left" -gt 0 ]; then
        echo "$stage: time was up, $left left: run again"
        [ $rc -eq 0 ] && rc=75
    fi
    [ $rc -eq 0 ] || break
done
exit $rc
