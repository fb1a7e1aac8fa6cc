# Sourced by the cli_*.sh tests: a daemon of its own, the program as a user calls it, and checks that say what they saw.
# BS_BIN is the folder of the programs (default: build/bin of this checkout).
set -uo pipefail
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bin=${BS_BIN:-$repo/build/bin}
[ -x "$bin/bioseg" ] && [ -x "$bin/biosegd" ] || { echo "SKIP: no bioseg and biosegd in $bin"; exit 77; }
tmp=$(mktemp -d)
data=$tmp/data
failures=0
daemon_pid=""
unset BIOSEG_SERVER BIOSEG_TOKEN_FILE BIOSEG_TLS_CA
export XDG_DATA_HOME=$tmp/xdg # nobody's own daemon is touched

finish() {
    stop_daemon
    rm -rf "$tmp"
}
trap finish EXIT

# start_daemon [OPTION...]: on $data, waits until it answers on its socket.
start_daemon() {
    mkdir -p "$data" && chmod 700 "$data"
    "$bin/biosegd" --data "$data" --listen none --disk-reserve 1M "$@" >>"$tmp/daemon.log" 2>&1 &
    daemon_pid=$!
    for _ in $(seq 300); do
        "$bin/bioseg" -q --server "unix:$data/biosegd.sock" info >/dev/null 2>&1 && return 0
        kill -0 "$daemon_pid" 2>/dev/null || break
        sleep 0.1
    done
    echo "the daemon does not answer:" >&2
    tail -n 20 "$tmp/daemon.log" >&2
    exit 1
}
stop_daemon() {
    [ -n "$daemon_pid" ] || return 0
    kill -TERM "$daemon_pid" 2>/dev/null
    wait "$daemon_pid" 2>/dev/null
    daemon_pid=""
}

bioseg() { "$bin/bioseg" --server "unix:$data/biosegd.sock" "$@"; }

import_model() {
    bioseg -q models import "$repo/deploy/models/unet-nuclei.safetensors" --name nuclei >/dev/null || exit 1
}

# run CODE COMMAND...: keeps what it says in $out and compares the exit code.
run() {
    local expected=$1 code
    shift
    out=$("$@" 2>&1)
    code=$?
    [ "$code" -eq "$expected" ] || fail "$* ended with $code, expected $expected: $out"
}
says() { grep -qF -- "$1" <<<"$out" || fail "expected '$1' in: $out"; }
there() { for f; do [ -s "$f" ] || fail "$f is missing"; done; }
absent() { for f; do [ ! -e "$f" ] || fail "$f should not be there"; done; }
fail() {
    echo "FAIL ${current:-}: $*" >&2
    failures=$((failures + 1))
}
# Runs every function whose name begins with test_, in order of appearance.
run_tests() {
    local t before
    for t in $(grep -oE '^test_[a-z0-9_]+' "$0"); do
        current=$t before=$failures
        "$t"
        [ "$failures" -eq "$before" ] && echo "ok   $t"
    done
    [ "$failures" -eq 0 ] || { tail -n 30 "$tmp/daemon.log" >&2; exit 1; }
}
