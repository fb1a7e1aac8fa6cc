#!/usr/bin/env bash
# From a fresh Debian 12 or Ubuntu machine to segmented nuclei: installs what is needed, builds, starts the daemon on a data
# directory of its own, imports the nuclei model that comes with bioseg and segments a sample image with it.
#
#   ./deploy/quickstart.sh              do all of that; leave the daemon running
#   ./deploy/quickstart.sh --stop       stop the daemon that an earlier run left running
#
#   --data DIR     data directory of the daemon (default: bioseg-quickstart in $XDG_DATA_HOME or ~/.local/share)
#   --port N       serve 127.0.0.1:N too, with a token (default: the Unix socket only)
#   --keep         leave the daemon running at the end (this is the default)
#   --no-install   install no packages
#
# Runs as root or through sudo (for the packages only), asks nothing, and can be run again at any time.
set -euo pipefail
cd "$(dirname "$0")/.."
repo=$PWD

say() { printf '\n== %s\n' "$*"; }
die() {
    printf 'quickstart: %s\n' "$*" >&2
    exit 1
}
usage() { sed -n '2,13p' "$0" | sed 's/^# \{0,1\}//'; }

home=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
data=${XDG_DATA_HOME:-$home/.local/share}/bioseg-quickstart
port="" stop=false install=true
while [ $# -gt 0 ]; do
    case $1 in
    --data) data=${2:?--data needs a directory}; shift ;;
    --port) port=${2:?--port needs a number}; shift ;;
    --keep) ;;
    --stop) stop=true ;;
    --no-install) install=false ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; die "there is no option '$1'" ;;
    esac
    shift
done
case $data in /*) ;; *) data=$PWD/$data ;; esac
[[ $port =~ ^[0-9]*$ ]] && [ "${port:-1}" -ge 1 ] && [ "${port:-1}" -le 65535 ] || die "--port $port is not a number from 1 to 65535"
socket=$data/biosegd.sock
[ ${#socket} -le 107 ] || die "$socket is too long for a Unix socket (107 bytes): give a shorter --data"
log=$data/biosegd.log pidfile=$data/biosegd.pid

# The process of the pid file, if it still is a daemon of ours.
running() {
    local pid
    pid=$(cat "$pidfile" 2>/dev/null) || return 1
    [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = biosegd ] && echo "$pid"
}

if $stop; then
    pid=$(running) || die "no daemon of an earlier quickstart is running on $data"
    kill -TERM "$pid"
    for _ in $(seq 300); do
        running >/dev/null || { rm -f "$pidfile"; echo "stopped; data and models stay in $data"; exit 0; }
        sleep 0.1
    done
    die "process $pid has not ended within 30 s; its log is $log"
fi

if $install; then
    say "packages"
    ./deploy/packages.sh build || die "the packages could not be installed; --no-install goes on without"
fi

say "build"
if [ ! -f build/build.ninja ]; then
    mkdir -p build
    cmake --preset release -DBS_WITH_TESTS=OFF >build/configure.log 2>&1 || {
        tail -n 30 build/configure.log >&2
        die "configuring failed; all of its output is in build/configure.log"
    }
fi
cmake --build build --target bioseg_cli biosegd biosegd-worker -j "$(nproc)" >build/quickstart-build.log 2>&1 || {
    tail -n 30 build/quickstart-build.log >&2
    die "building failed; all of its output is in build/quickstart-build.log"
}
bioseg() { "$repo/build/bin/bioseg" --server "unix:$socket" "$@"; }

say "daemon"
mkdir -p "$data"
chmod 700 "$data"
if pid=$(running) && bioseg -q info >/dev/null 2>&1; then
    echo "already running (process $pid)"
else
    # Another daemon of this machine may have the usual port.
    listen=none
    [ -z "$port" ] || listen=127.0.0.1:$port
    setsid nohup "$repo/build/bin/biosegd" --data "$data" --listen "$listen" >>"$log" 2>&1 </dev/null &
    pid=$!
    echo "$pid" >"$pidfile"
    for _ in $(seq 300); do
        bioseg -q info >/dev/null 2>&1 && break
        kill -0 "$pid" 2>/dev/null || { tail -n 20 "$log" >&2; die "the daemon ended at once; its log is $log"; }
        sleep 0.1
    done
    bioseg -q info >/dev/null || die "the daemon does not answer within 30 s; its log is $log"
    echo "running (process $pid), log in $log"
fi

say "model"
model=deploy/models/unet-nuclei.safetensors
sha256=$(sha256sum "$model" | cut -d' ' -f1)
known=$(bioseg models describe unet-nuclei --json 2>/dev/null) || known=""
if [[ $known == *"$sha256"* ]]; then
    echo "unet-nuclei is there"
else
    bioseg models import "$model" --name unet-nuclei
fi

say "segment deploy/samples/nuclei.png"
out=$repo/build/quickstart
bioseg segment -m unet-nuclei -o "$out" --overlay --table --overwrite deploy/samples/nuclei.png
bioseg evaluate "$out/nuclei.tif" deploy/samples/nuclei-labels.png

cat <<END

Ready after $SECONDS s. Look at
  $out/nuclei.overlay.png   the picture with outlines
  $out/nuclei.tif           the labels
  $out/nuclei.csv           the objects

The daemon keeps running. Your own images:
  export BIOSEG_SERVER=unix:$socket PATH=$repo/build/bin:\$PATH
  bioseg segment -m unet-nuclei -o results --overlay YOUR_IMAGES
END
[ -z "$port" ] || echo "Other programs: 127.0.0.1:$port with the token in $data/token"
echo "Stop it: $repo/deploy/quickstart.sh --stop$([ "$data" = "${XDG_DATA_HOME:-$home/.local/share}/bioseg-quickstart" ] || echo " --data $data")"
