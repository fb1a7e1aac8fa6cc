#!/usr/bin/env bash
# Runs every fuzzer for a while, after building them with `cmake --preset fuzz && cmake --build --preset fuzz`:
#
#   tests/fuzz/run.sh SECONDS [NAME...]            each fuzzer that long (all of them, or the named ones)
#   tests/fuzz/run.sh --planted SECONDS [NAME...]  each variant with a planted overflow must crash within that time
#
# BS_FUZZ_BUILD names another build folder than build-fuzz. Crashes land in its fuzz/crashes/. One line per fuzzer; exit
# status 1 when one crashed, or when a planted overflow was not found.
set -u
cd "$(dirname "$0")/../.." || exit 2
build=${BS_FUZZ_BUILD:-build-fuzz}
planted=no
if [ "${1:-}" = --planted ]; then
    planted=yes
    shift
fi
seconds=${1:-}
case "$seconds" in
'' | *[!0-9]*)
    sed -n '2,9p' "$0" | sed 's/^# \{0,1\}//'
    exit 2
    ;;
esac
shift
[ $# -gt 0 ] || set -- $(for folder in tests/fuzz/*/CMakeLists.txt; do basename "$(dirname "$folder")"; done)

# Fuzzers change their corpus: each works on a copy of the seeds.
copy_seeds() { # name, folder
    local n=0 pattern file
    mkdir -p "$2"
    for file in "tests/fuzz/$1/seeds"/*; do
        [ -f "$file" ] && cp "$file" "$2/seed-$((n += 1))"
    done
    [ -f "tests/fuzz/$1/seeds.list" ] || return 0
    while read -r pattern; do
        case "$pattern" in '' | '#'*) continue ;; esac
        for file in $pattern; do
            [ -f "$file" ] && cp "$file" "$2/seed-$((n += 1))"
        done
    done <"tests/fuzz/$1/seeds.list"
}

failed=0
for name in "$@"; do
    program=$build/fuzz/$name
    [ "$planted" = yes ] && program=$program.planted
    if [ ! -x "$program" ]; then
        if [ "$planted" = yes ] && [ -x "$build/fuzz/$name" ]; then
            echo "none  $name (no planted overflow)"
        else
            echo "FAIL  $name: $program is not built"
            failed=1
        fi
        continue
    fi
    corpus=$build/fuzz/corpus/$name log=$build/fuzz/$(basename "$program").log
    crashes=$build/fuzz/crashes/
    [ "$planted" = yes ] && crashes=$build/fuzz/planted/ corpus=$corpus.planted
    mkdir -p "$crashes"
    copy_seeds "$name" "$corpus"
    options=(-max_total_time="$seconds" -timeout=20 -rss_limit_mb=3072 -max_len=20000 -print_final_stats=1
        -artifact_prefix="$crashes$name-")
    [ -f "tests/fuzz/$name/dict" ] && options+=(-dict="tests/fuzz/$name/dict")
    ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1 "$program" "${options[@]}" "$corpus" >"$log" 2>&1
    rc=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    if [ "$planted" = yes ]; then
        if grep -qE 'AddressSanitizer: |runtime error: ' "$log"; then
            echo "found $name: $(grep -m1 -oE 'AddressSanitizer: [a-z-]+|runtime error: .*' "$log")"
        else
            echo "FAIL  $name: the planted overflow was not found in $seconds s ($log)"
            failed=1
        fi
    elif [ $rc -eq 0 ]; then
        echo "pass  $name: ${runs:-?} inputs in $seconds s"
    else
        echo "FAIL  $name: $(grep -m1 -E 'ERROR: |runtime error: ' "$log") ($log)"
        failed=1
    fi
done
exit $failed
