#!/bin/sh
# Compiles kernels for one kind of GPU and says what each of them takes of a multiprocessor:
#
#   compile_kernels.sh strict|lenient CAPABILITY SPILLS USAGE ptxas -v [OPTION...]
#
# runs ptxas with the options and writes USAGE: a line "kernel capability registers shared stack stores loads" for each kernel
# (bytes; stores and loads are those of spilled registers). Says which kernels keep variables in local memory, which is device
# memory, though SPILLS (kernels/cuda/spills.txt) does not allow it. Strictly that fails, and so does a report of ptxas that was
# not understood.
set -eu
strictness=$1 capability=$2 spills=$3 usage=$4
shift 4

log=$usage.log
trap 'rm -f "$usage.part"' EXIT
if ! "$@" >"$log" 2>&1; then
    grep -v '^ptxas info' "$log" >&2 || true
    exit 1
fi
grep -v -e '^ptxas info' -e 'bytes stack frame' "$log" >&2 || true

awk -v strict="$([ "$strictness" = strict ] && echo 1 || echo 0)" -v capability="$capability" -v spills="$spills" '
BEGIN {
    while ((getline line < spills) > 0) {
        if (line ~ /^[ \t]*(#|$)/)
            continue
        if (split(line, part, /[ \t]+/) < 4 || part[3] !~ /^[0-9]+$/) {
            print spills ": \"" line "\" is not: kernel capability bytes reason" > "/dev/stderr"
            failed = 1
            exit
        }
        allowed[part[1] " " part[2]] = part[3]
    }
}
/Compiling entry function/ {
    split($0, quoted, "\047")
    kernel = quoted[2]
    stack = stores = loads = 0
    entries++
}
/bytes stack frame/ { stack = $1; stores = $5; loads = $9 }
/ptxas info.*: Used [0-9]+ registers/ {
    registers = shared = 0
    for (i = 2; i <= NF; i++) {
        if ($i ~ /^registers/) registers = $(i - 1)
        if ($i ~ /^smem/) shared = $(i - 2)
    }
    print kernel, capability, registers, shared, stack, stores, loads
    rows++
    bytes = stack > stores ? stack : stores
    limit = (kernel " " capability) in allowed ? allowed[kernel " " capability] : allowed[kernel " all"] + 0
    if (bytes > limit) {
        printf "%s on sm_%s keeps %d bytes a thread in local memory (spilled: %d stored, %d loaded), allowed are %d: %s\n", \
            kernel, capability, bytes, stores, loads, limit, spills > "/dev/stderr"
        failed = 1
    }
}
END {
    if (!failed && (entries == 0 || entries != rows)) {
        printf "ptxas reported %d kernels and the resources of %d: has its report changed?\n", entries, rows > "/dev/stderr"
        failed = 1
    }
    exit failed && strict
}' "$log" >"$usage.part"
mv "$usage.part" "$usage"
