#!/usr/bin/env bash
# Tests of the Python client, installed from its wheel as a user would, against a real daemon.
#
#   tests/python/run.sh [pytest arguments]   with the newest protobuf, then the core again with protobuf 4.25 and 5
#   tests/python/run.sh --matrix             on every Python from 3.10 to 3.13 that is there, each with protobuf 4.25, 5 and 6
#
# BS_BUILD   build folder (build); its bin/ must hold biosegd, biosegd-worker and bioseg
set -eu
cd "$(dirname "$0")/../.."
build=$(realpath "${BS_BUILD:-build}")
export BS_BUILD=$build PYTHONDONTWRITEBYTECODE=1
pip="-m pip -q --disable-pip-version-check"

environment() { # folder, python
    [ -x "$1/bin/pytest" ] && [ "$1" -nt clients/python/pyproject.toml ] && return
    rm -rf "$1"
    "$2" -m venv "$1"
    # shellcheck disable=SC2086
    "$1/bin/python" $pip install pytest dask tqdm hatchling
}

install() { # folder, requirement of protobuf
    rm -rf "$1/wheel"
    # shellcheck disable=SC2086
    "$1/bin/python" $pip wheel --no-deps --no-build-isolation -w "$1/wheel" clients/python
    # shellcheck disable=SC2086
    "$1/bin/python" $pip install --force-reinstall --no-deps "$1"/wheel/*.whl
    # shellcheck disable=SC2086
    "$1/bin/python" $pip install "$1"/wheel/*.whl "$2"
    echo "$("$1/bin/python" -V), protobuf $("$1/bin/python" -c 'import google.protobuf as p; print(p.__version__)')"
}

run() { # folder, pytest arguments
    "$1/bin/python" -m pytest -q -p no:cacheprovider "${@:2}"
}

core="tests/python/test_settings.py tests/python/test_client.py --deselect tests/python/test_client.py::test_a_daemon_that_dies_and_comes_back_is_waited_for"
if [ "${1:-}" = --matrix ]; then
    for version in 3.10 3.11 3.12 3.13; do
        python=$(command -v "python$version") && "$python" -V >/dev/null 2>&1 || { echo "no Python $version"; continue; }
        environment "$build/python-$version" "$python"
        for protobuf in "protobuf==4.25.*" "protobuf==5.*" "protobuf==6.*"; do
            install "$build/python-$version" "$protobuf"
            # shellcheck disable=SC2086
            run "$build/python-$version" $core
        done
    done
    exit
fi
environment "$build/python-venv" python3
if [ $# -eq 0 ]; then
    for protobuf in "protobuf==4.25.*" "protobuf==5.*"; do
        install "$build/python-venv" "$protobuf"
        # shellcheck disable=SC2086
        run "$build/python-venv" $core
    done
fi
install "$build/python-venv" "protobuf<7"
run "$build/python-venv" "${@:-tests/python}"
