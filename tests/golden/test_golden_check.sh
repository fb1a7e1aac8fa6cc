#!/usr/bin/env bash
# Promises of golden_check itself: test_golden_check.sh GOLDEN_CHECK FIXTURES
#   no argument or no folder is wrong usage (2); an empty folder fails (1); a damaged fixture fails (1) and is named;
#   a subset passes (0); what no check knows is reported as skipped; a device that was asked for is not skipped.
set -u
check=$1 fixtures=$2
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failures=0

expect() { # status pattern arguments...
    local status=$1 pattern=$2 got
    shift 2
    "$check" "$@" >"$dir/out" 2>&1
    got=$?
    if [ "$got" -ne "$status" ] || ! grep -qE "$pattern" "$dir/out"; then
        echo "golden_check $*: status $got for $status, or no line like: $pattern"
        tail -5 "$dir/out"
        failures=$((failures + 1))
    fi
}

expect 2 '^usage:'
expect 2 'No such file' "$dir/nothing"
mkdir -p "$dir/empty" "$dir/some/primitives" "$dir/some/strange"
expect 2 '^usage:' --precision bf16 "$dir" # of which device?
expect 2 '^usage:' --device ref --precision f8 "$dir"
expect 2 '^usage:' --area strange "$dir"
expect 2 '^usage:' --forward "$dir"
expect 1 '^0 passed, 0 failed, 0 skipped$' "$dir/empty"

cp "$fixtures"/primitives/cc_in.npy "$fixtures"/primitives/cc_out.npy "$dir/some/primitives"
expect 0 '^1 passed, 0 failed, 1 skipped$' "$dir/some"
expect 0 '^SKIP strange ' "$dir/some"
cp "$fixtures"/primitives/cc_in.npy "$dir/some/primitives/unheard_of.npy"
expect 0 '^SKIP primitives/unheard_of.npy ' "$dir/some"

expect 0 '^1 passed, 0 failed' --area primitives "$dir/some"
expect 1 '^0 passed, 0 failed' --area labels "$dir/some"

mkdir -p "$dir/net/small"
cp -r "$fixtures/small/unet_none" "$dir/net/small"
expect 0 '^PASS small/unet_none/logits.npy ref-f32 ' --device ref "$dir/net"
expect 0 '^SKIP small/unet_none.* the forward pass alone' --device ref --forward "$dir/net"
expect 0 '^PASS small/unet_none/logits.npy ref-bf16 ' --device ref --precision bf16 "$dir/net"
expect 1 '^FAIL small/unet_none unknown device' --device none "$dir/net" # asked for: not a reason to skip
printf '\376\377' | dd of="$dir/net/small/unet_none/logits.npy" bs=1 seek=2002 conv=notrunc 2>/dev/null
expect 1 '^FAIL small/unet_none/logits.npy ref-bf16 ' --device ref --precision bf16 "$dir/net"

printf '\377' | dd of="$dir/some/primitives/cc_out.npy" bs=1 seek=2000 conv=notrunc 2>/dev/null
expect 1 '^FAIL primitives/cc_out 1 of 2304 pixels differ' "$dir/some"
head -c 1000 "$fixtures/primitives/cc_out.npy" >"$dir/some/primitives/cc_out.npy"
expect 1 '^FAIL primitives/cc_out .*bytes of values' "$dir/some"
rm "$dir/some/primitives/cc_in.npy"
expect 1 '^FAIL primitives/cc_out .*No such file' "$dir/some"

[ "$failures" -eq 0 ]
