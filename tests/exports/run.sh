#!/usr/bin/env bash
# Exports opened by the programs they are for: PyTorch and torch_em on the CPU, ONNX Runtime, bioimageio.core.
#
#   tests/exports/run.sh [pytest arguments]
#
# PyTorch is Debian's python3-torch (`deploy/packages.sh exports`): the one of the Python package index brings gigabytes of CUDA.
# The others come from that index into a virtual environment over the system's Python.
#
# BS_BUILD          build folder (build); its bin/ must hold biosegd, biosegd-worker, bioseg and make_formula_model
# BS_EXPORTS_VENV   virtual environment to use (BUILD/exports-venv; made when missing)
set -eu
cd "$(dirname "$0")/../.."
build=$(realpath "${BS_BUILD:-build}")
venv=${BS_EXPORTS_VENV:-$build/exports-venv}
for program in biosegd biosegd-worker bioseg make_formula_model; do
    [ -x "$build/bin/$program" ] || { echo "tests/exports: $build/bin/$program is missing: build first" >&2; exit 1; }
done
/usr/bin/python3 -c 'import torch' 2>/dev/null ||
    { echo "tests/exports: PyTorch is missing: ./deploy/packages.sh exports" >&2; exit 1; }
if [ ! -e "$venv/complete" ]; then
    /usr/bin/python3 -m venv --system-site-packages "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -r tests/exports/requirements.txt
    # Without what it depends on: original.py says why.
    "$venv/bin/pip" install -q --disable-pip-version-check --no-deps 'torch_em>=0.10' 'segment-anything==1.0'
    touch "$venv/complete"
fi
export BS_BUILD=$build PYTHONPATH=tests/e2e:tests/bench PYTHONDONTWRITEBYTECODE=1
exec "$venv/bin/python" -m pytest -q -p no:cacheprovider "${@:-tests/exports}"
