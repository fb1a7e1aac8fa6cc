#!/usr/bin/env bash
# A real daemon and real clients: the Python ones generated here from proto/, and the command line.
#
#   tests/e2e/run.sh [pytest arguments]
#   tests/e2e/run.sh --python SCRIPT [arguments]     a script of its own with the same stubs (tests/bench/requests.py)
#
# BS_BUILD       build folder (build); its bin/ must hold biosegd, biosegd-worker and bioseg
# BS_E2E_VENV    virtual environment to use (BUILD/e2e-venv; made when missing)
set -eu
cd "$(dirname "$0")/../.."
build=$(realpath "${BS_BUILD:-build}")
venv=${BS_E2E_VENV:-$build/e2e-venv}
for program in biosegd biosegd-worker bioseg; do
    [ -x "$build/bin/$program" ] || { echo "tests/e2e: $build/bin/$program is missing: build first" >&2; exit 1; }
done
if [ ! -x "$venv/bin/pytest" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -r tests/e2e/requirements.txt
fi
stubs=$build/e2e-stubs
rm -rf "$stubs"
mkdir -p "$stubs"
"$venv/bin/python" -m grpc_tools.protoc -Iproto --python_out="$stubs" --grpc_python_out="$stubs" proto/bioseg/v1/*.proto
export BS_BUILD=$build PYTHONPATH=$stubs:tests/e2e PYTHONDONTWRITEBYTECODE=1
if [ "${1:-}" = --python ]; then
    shift
    exec "$venv/bin/python" "$@"
fi
exec "$venv/bin/pytest" -q -p no:cacheprovider "${@:-tests/e2e}"
