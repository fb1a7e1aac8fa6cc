#!/usr/bin/env bash
# Tests of the napari plugin, installed from its wheel as a user would, in a real viewer on a virtual screen, against a real daemon.
#
#   tests/napari/run.sh [pytest arguments]   with the newest napari
#   tests/napari/run.sh --screenshots        draws the pictures of docs/napari.md again
#
# BS_BUILD   build folder (build); its bin/ must hold biosegd, biosegd-worker and bioseg
# NAPARI     requirement of napari ("napari[pyqt6]"); "napari[pyqt6]==0.8.*" is the version before
#
# Needs the packages of `deploy/packages.sh napari` (a virtual screen with OpenGL).
set -eu
cd "$(dirname "$0")/../.."
build=$(realpath "${BS_BUILD:-build}")
wanted=${NAPARI:-napari[pyqt6]}
export BS_BUILD=$build PYTHONDONTWRITEBYTECODE=1
for tool in xvfb-run openssl; do
    command -v "$tool" >/dev/null || { echo "$tool is missing: ./deploy/packages.sh napari" >&2; exit 1; }
done

venv=$build/napari-venv${NAPARI:+-$(printf %s "$NAPARI" | tr -cd 'a-z0-9')}
pip() { "$venv/bin/python" -m pip -q --disable-pip-version-check "$@"; }
if [ ! -x "$venv/bin/pytest" ] || [ ! "$venv" -nt clients/napari/pyproject.toml ]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    pip install "$wanted" pytest pytest-qt pytest-timeout hatchling npe2 dask tifffile
fi
rm -rf "$venv/wheel"
pip wheel --no-deps --no-build-isolation -w "$venv/wheel" clients/python clients/napari
pip install --force-reinstall --no-deps "$venv"/wheel/*.whl
pip install "$venv"/wheel/*.whl

"$venv/bin/npe2" validate napari-bioseg
echo "$("$venv/bin/python" -V), napari $("$venv/bin/python" -c 'import napari; print(napari.__version__)')"
# The "offscreen" platform of Qt has no OpenGL; a virtual X screen has.
screen() { xvfb-run -a -s "-screen 0 1440x1000x24 +extension GLX" "$@"; }
if [ "${1:-}" = --screenshots ]; then
    screen "$venv/bin/python" tests/napari/screenshots.py
    exit
fi
screen "$venv/bin/python" -m pytest -q -p no:cacheprovider -W ignore::DeprecationWarning --timeout 300 "${@:-tests/napari}"
