#!/bin/sh
# Writes src/bioseg/v1/*_pb2.py and their type stubs from proto/bioseg/v1 with protoc 3.21 (Debian's protobuf-compiler): what that
# version writes runs on protobuf 4.25, 5 and 6. The result is committed, so that installing needs no protoc.
#   clients/python/generate.sh [FOLDER]    default: src
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/src}
mkdir -p "$out"
cd "$here/../../proto"
protoc -I. --python_out="$out" --pyi_out="$out" bioseg/v1/*.proto
