#!/bin/sh
# Benchmarks against PyTorch, ONNX Runtime and OpenVINO. Peers are installed from the configured Python package index into a virtual
# environment of their own (BIOSEG_BENCH_VENV, default ~/.cache/bioseg-bench-venv; a few GB).
#   tests/bench/run.sh [BUILD_FOLDER] [arguments of peers.py]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$here/../../build
if [ $# -gt 0 ] && [ -d "$1" ]; then
    build=$1
    shift
fi
bench=$build/bin/bench_model
[ -x "$bench" ] || { echo "no $bench: build the target bench_model first" >&2; exit 2; }
venv=${BIOSEG_BENCH_VENV:-$HOME/.cache/bioseg-bench-venv}
if ! "$venv/bin/python" -c 'import torch, onnxruntime, openvino, onnx, onnxscript, numpy' 2>/dev/null; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q torch onnxruntime openvino onnx onnxscript numpy
fi
"$venv/bin/python" "$here/peers.py" --bench "$bench" --folder "$venv/bench" "$@"
# A training step; that of ViM-UNet Tiny beside its own forward.
if [ -x "$build/bin/bench_train" ]; then
    "$venv/bin/python" "$here/train_peers.py" --bench "$build/bin/bench_train"
    "$build/bin/bench_train" --network vimunet_t --repeat 5
fi
# Cold start and request overhead need the daemon.
if [ -x "$build/bin/biosegd" ]; then
    BS_BUILD=$build "$here/../e2e/run.sh" --python tests/bench/requests.py
fi
