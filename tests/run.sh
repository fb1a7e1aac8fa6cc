#!/usr/bin/env bash
# Installs what the tests need, builds, and runs every check of the project:
#
#   ./tests/run.sh           everything (what continuous integration runs)
#   ./tests/run.sh --fast    release build and its tests only: the inner loop
#   ./tests/run.sh STAGE...  one or more of: style release e2e exports napari asan tsan fuzz tidy cuda
#
# Ends with one line per stage and a closing line of how many passed.
set -u
cd "$(dirname "$0")/.."
all="style release e2e exports napari asan tsan fuzz tidy cuda"
case "${1:-}" in
"") stages="$all" ;;
--fast) stages="release" ;;
-h | --help)
    sed -n '2,8p' "$0" | sed 's/^# \{0,1\}//'
    exit 0
    ;;
*) stages="$*" ;;
esac
jobs=$(nproc)
fuzz_seconds=${BS_FUZZ_SECONDS:-10}

./deploy/packages.sh test || exit 1

build() { # preset, further cmake options...; $targets: what of it (everything)
    local preset=$1 folder
    shift
    folder=build
    [ "$preset" = release ] || folder=build-$preset
    cmake --preset "$preset" -DBS_WERROR=ON -DBS_WITH_CUDA=OFF "$@" >"$folder.configure.log" 2>&1 ||
        { mkdir -p "$folder"; cat "$folder.configure.log"; rm -f "$folder.configure.log"; return 1; }
    mv "$folder.configure.log" "$folder/configure.log"
    # shellcheck disable=SC2086 # several targets
    ninja -C "$folder" -j "$jobs" --quiet ${targets:-}
}

stage_style() {
    local rc=0
    git ls-files -z '*.c' '*.h' '*.cu' '*.cuh' | xargs -0 clang-format-14 --dry-run --Werror || rc=1
    git ls-files -z '*.sh' .ci/run | xargs -0 -n1 bash -n || rc=1
    # The project speaks of itself alone: no path of a machine it was written on.
    if git grep -nIE '(^|[^A-Za-z0-9_.-])/(work|farm|root)/[a-z.]' -- . ':!tests/run.sh'; then
        echo "machine paths in tracked files" >&2
        rc=1
    fi
    return $rc
}

stage_release() {
    build release && ctest --test-dir build --output-on-failure -j 1
}

stage_e2e() {
    [ -d build/bin ] || build release || return 1
    ./tests/e2e/run.sh && ./tests/python/run.sh
}

# Exports opened by the programs they are for.
stage_exports() {
    [ -d build/bin ] || build release || return 1
    ./deploy/packages.sh exports && ./tests/exports/run.sh
}

# Without the figures of how late the viewer's event loop is: a machine that does other work cannot take them.
stage_napari() {
    [ -d build/bin ] || build release || return 1
    ./deploy/packages.sh napari &&
        ./tests/napari/run.sh tests/napari --ignore tests/napari/test_responsive.py
}

stage_asan() {
    build asan && ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1 \
        ctest --test-dir build-asan --output-on-failure -j "$jobs"
}

stage_tsan() {
    build tsan && TSAN_OPTIONS=halt_on_error=1 ctest --test-dir build-tsan --output-on-failure -j "$jobs"
}

stage_fuzz() {
    build fuzz && ./tests/fuzz/run.sh "$fuzz_seconds"
}

stage_tidy() {
    build release || return 1
    git ls-files 'kernels/*.c' 'model/*.c' 'server/*.c' 'proto/*.c' 'clients/*.c' |
        xargs -P "$jobs" -n 1 clang-tidy-14 --quiet -p build 2>/dev/null # one file a process: 14 mixes up va_list across files
}

# The plugin as it is built anywhere, GPU or not: warnings and spilled registers are errors. What it computes is tested in the
# other stages under the emulation (tests/emulation), and on a GPU by tests/gpu/run.sh. Seven minutes of processor time, all but
# one of them NVIDIA's compiler; two translations to PTX and then seven kinds of GPU go side by side. Without a toolkit on the
# machine one is fetched first (deploy/cuda-toolkit.sh).
stage_cuda() {
    local toolkit
    ./deploy/packages.sh cuda && toolkit=$(./deploy/cuda-toolkit.sh) || return 1
    # shellcheck disable=SC2086 # options
    targets=cuda-checks build cuda $toolkit &&
        ctest --test-dir build-cuda --output-on-failure -R '^cuda\.' --no-tests=error &&
        cat build-cuda/kernels/cuda/kernels.txt
}

passed=0 failed=0 summary=""
for stage in $stages; do
    if ! declare -F "stage_$stage" >/dev/null; then
        echo "tests/run.sh: no stage '$stage'; there are: $all" >&2
        exit 2
    fi
    echo "== $stage"
    began=$SECONDS
    if "stage_$stage"; then
        passed=$((passed + 1))
        summary+="pass  $stage  $((SECONDS - began)) s"$'\n'
    else
        failed=$((failed + 1))
        summary+="FAIL  $stage  $((SECONDS - began)) s"$'\n'
    fi
done
printf '\n%s' "$summary"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
