#!/usr/bin/env bash
# How much of each parser its fuzzer has reached:
#
#   tests/fuzz/coverage.sh [NAME...]
#
# Runs the corpora that tests/fuzz/run.sh has grown (build-fuzz/fuzz/corpus/, or below BS_FUZZ_BUILD) through variants that
# count lines, built in build-fuzz-coverage. One line per fuzzer: lines reached of the files in tests/fuzz/NAME/parser.list.
# Exit status 1 when a fuzzer reaches less than 85 %.
set -u
cd "$(dirname "$0")/../.." || exit 2
grown=${BS_FUZZ_BUILD:-build-fuzz}/fuzz/corpus
build=${BS_FUZZ_COVERAGE_BUILD:-build-fuzz-coverage}
least=85
[ $# -gt 0 ] || set -- $(for list in tests/fuzz/*/parser.list; do basename "$(dirname "$list")"; done)

targets=("${@/#/fuzz.}")
cmake --preset fuzz -B "$build" -DBS_SANITIZE= \
    -DCMAKE_C_FLAGS='-fprofile-instr-generate -fcoverage-mapping' >"$build.log" 2>&1 &&
    ninja -C "$build" --quiet "${targets[@]}" >>"$build.log" 2>&1 || { tail -5 "$build.log"; exit 1; }
rm -f "$build.log"

failed=0
for name in "$@"; do
    program=$build/fuzz/$name
    if [ ! -d "$grown/$name" ]; then
        echo "none  $name: no corpus yet; run tests/fuzz/run.sh first"
        failed=1
        continue
    fi
    LLVM_PROFILE_FILE=$program.profraw "$program" -runs=0 "$grown/$name" >"$program.log" 2>&1
    llvm-profdata-14 merge -o "$program.profdata" "$program.profraw"
    # Column 10 of the TOTAL row is the share of lines.
    share=$(llvm-cov-14 report "$program" -instr-profile="$program.profdata" $(cat "tests/fuzz/$name/parser.list") |
        awk '$1 == "TOTAL" { print $10 }')
    if [ "${share%%.*}" -ge $least ] 2>/dev/null; then
        echo "pass  $name: $share of the lines"
    else
        echo "FAIL  $name: ${share:-no figure} of the lines, $least % are wanted"
        failed=1
    fi
done
exit $failed
