#!/bin/sh
# The daemon must not be able to read an HDF5 file: what libhdf5 makes of hostile metadata may end the worker, or a child that looks at
# one file, and never the process that everybody's jobs depend on.
#
#   check_daemon.sh BIOSEGD BIOSEGD_WORKER
set -eu
uses() { # program: does it call libhdf5?
    nm -D --undefined-only "$1" | grep -qE ' H5[A-Z]'
}
uses "$2" || { echo "$2 does not call libhdf5 either: this test looks for the wrong names" >&2; exit 1; }
if uses "$1"; then
    echo "$1 calls libhdf5: $(nm -D --undefined-only "$1" | grep -oE 'H5[A-Z][A-Za-z0-9_]*' | head -3 | tr '\n' ' ')" >&2
    exit 1
fi
