#!/bin/sh
# What the CUDA plugin promises to whoever loads it: check_plugin.sh libbioseg-cuda.so
#   it links to nothing but the C library, so that it loads where no driver is; its one symbol is bs_backend_entry.
set -eu
plugin=$1
rc=0

needed=$(readelf -d "$plugin" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -vE '^(libc|libm|libpthread|libdl|librt|ld-linux[a-z0-9-]*)\.so\.[0-9]+$' || true)
if [ -n "$needed" ]; then
    echo "$plugin links to more than the C library:" $needed
    rc=1
fi
exported=$(nm -D --defined-only "$plugin" | awk '{ print $3 }' | sed 's/@.*//')
if [ "$exported" != bs_backend_entry ]; then
    echo "$plugin exports" ${exported:-nothing} "and not bs_backend_entry alone"
    rc=1
fi
exit $rc
