#!/bin/sh
# A table of what each kernel takes of a multiprocessor, from the files that compile_kernels.sh wrote (in the order of their
# capabilities): registers a thread by capability, then static shared memory a block and local memory a thread, the largest of all.
set -eu
cat "$@" | awk '
!($2 in seen) { seen[$2] = 1; capability[++columns] = $2 }
!($1 in row) { row[$1] = 1; kernel[++rows] = $1 }
{
    registers[$1, $2] = $3
    if ($4 > shared[$1]) shared[$1] = $4
    if ($5 > stack[$1]) stack[$1] = $5
    if ($6 > stores[$1]) stores[$1] = $6
    if (length($1) > width) width = length($1)
}
END {
    printf "%-" width "s", "registers of"
    for (c = 1; c <= columns; c++) printf " %7s", "sm_" capability[c]
    printf " %8s %7s %7s\n", "shared", "local", "spilled"
    for (r = 1; r <= rows; r++) {
        k = kernel[r]
        printf "%-" width "s", k
        for (c = 1; c <= columns; c++) printf " %7s", registers[k, capability[c]]
        printf " %8d %7d %7d\n", shared[k], stack[k], stores[k]
        if (stack[k] || stores[k]) local++
    }
    printf "%d kernels, %d with local memory\n", rows, local
}'
