#!/usr/bin/env bash
# bioseg segment against the real daemon: folders with a broken file, resume, Ctrl-C, overlays, tables, refusals.
. "$(dirname "$0")/cli_common.sh"
sample=$repo/deploy/samples/nuclei.png

# A PNG of SIDE x SIDE random grey pixels.
make_png() {
    python3 - "$1" "$2" <<'PY'
import os, struct, sys, zlib
path, side = sys.argv[1], int(sys.argv[2])
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
row = b"\0" + os.urandom(side)
with open(path, "wb") as f:
    f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(row * side, 1)) + chunk(b"IEND", b""))
PY
}

test_a_broken_file_among_good_ones_fails_alone_and_is_named() {
    mkdir -p "$tmp/in"
    cp "$sample" "$tmp/in/a2.png"
    cp "$sample" "$tmp/in/a10.png"
    head -c 5000 "$sample" >"$tmp/in/broken.png"
    run 1 bioseg segment -m nuclei -o "$tmp/out" --overlay --table "$tmp/in"
    says broken.png
    says "2 segmented, 1 failed"
    there "$tmp/out/a2.tif" "$tmp/out/a10.tif" "$tmp/out/a2.overlay.png" "$tmp/out/a2.csv" "$tmp/out/a2.json"
    absent "$tmp/out/broken.tif"
    # Nothing half-written stays.
    [ -z "$(find "$tmp/out" -name '.*' -type f)" ] || fail "left behind: $(find "$tmp/out" -name '.*')"
}

test_the_table_has_a_row_per_object_and_the_record_says_how() {
    local rows objects
    rows=$(($(wc -l <"$tmp/out/a2.csv") - 1))
    objects=$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["result"]["object_count"])' "$tmp/out/a2.json")
    [ "$rows" -eq "$objects" ] && [ "$objects" -gt 80 ] || fail "$rows rows, $objects objects"
    grep -q "$(sha256sum "$sample" | cut -d' ' -f1)" "$tmp/out/a2.json" || fail "the record does not have the input's hash"
    grep -q "$(sha256sum "$repo/deploy/models/unet-nuclei.safetensors" | cut -d' ' -f1)" "$tmp/out/a2.json" ||
        fail "the record does not have the model's hash"
}

test_the_labels_agree_with_the_annotation() {
    local msa
    run 0 "$bin/bioseg" --json evaluate "$tmp/out/a2.tif" "$repo/deploy/samples/nuclei-labels.png"
    msa=$(python3 -c 'import json,sys; print(json.load(sys.stdin)["summary"]["msa"])' <<<"$out")
    python3 -c "import sys; sys.exit(not 0.4 < $msa < 1)" || fail "mSA $msa"
}

test_resume_does_only_what_is_missing() {
    local before
    before=$(stat -c %Y.%i "$tmp/out/a2.tif")
    cp "$sample" "$tmp/in/broken.png" # repaired
    rm "$tmp/out/a10.csv"
    run 0 bioseg segment -m nuclei -o "$tmp/out" --overlay --table --resume "$tmp/in"
    says "2 segmented, 1 done before"
    there "$tmp/out/broken.tif" "$tmp/out/a10.csv"
    [ "$(stat -c %Y.%i "$tmp/out/a2.tif")" = "$before" ] || fail "a finished result was written again"
    # Other parameters are another result.
    run 0 bioseg segment -m nuclei -o "$tmp/out" --overlay --table --resume --min-size 500 "$tmp/in/a2.png"
    says "1 segmented"
}

test_what_is_there_is_not_replaced_unasked() {
    run 2 bioseg segment -m nuclei -o "$tmp/out" "$tmp/in"
    says "--overwrite"
    run 2 bioseg segment -m nuclei -o "$tmp/in" --overwrite --format png "$tmp/in/a2.png"
    says "is an input"
    cmp -s "$sample" "$tmp/in/a2.png" || fail "an input was overwritten"
}

test_png_labels_have_sixteen_bits() {
    run 0 bioseg segment -m nuclei -o "$tmp/png" --format png "$sample"
    [ "$(od -An -tu1 -j24 -N1 "$tmp/png/nuclei.png" | tr -d ' ')" = 16 ] || fail "not a 16-bit PNG"
}

test_maps_are_written() {
    run 0 bioseg segment -m nuclei -o "$tmp/maps" --maps "$sample"
    # Three pages of 520 x 696 samples of 32-bit floating point.
    python3 - "$tmp/maps/nuclei.maps.tif" <<'PY' || fail "not three float32 maps"
import struct, sys
data = open(sys.argv[1], "rb").read()
assert data[:4] == b"II*\0"
at, pages = struct.unpack_from("<I", data, 4)[0], 0
while at:
    n = struct.unpack_from("<H", data, at)[0]
    tags = {}
    for i in range(n):
        tag, kind, count, value = struct.unpack_from("<HHII", data, at + 2 + 12 * i)
        tags[tag] = value & 0xFFFF if kind == 3 else value
    assert (tags[256], tags[257], tags[258], tags[339]) == (696, 520, 32, 3), tags
    at, pages = struct.unpack_from("<I", data, at + 2 + 12 * n)[0], pages + 1
assert pages == 3, pages
PY
}

test_a_large_image_goes_as_a_stream_and_equals_the_unary_result() {
    # The same pixels in a file beyond the size of a unary request: a text chunk makes it long.
    python3 - "$sample" "$tmp/long.png" <<'PY'
import os, struct, sys, zlib
data = open(sys.argv[1], "rb").read()
text = b"Comment\0" + os.urandom(6 << 20).hex().encode()
chunk = struct.pack(">I", len(text)) + b"tEXt" + text + struct.pack(">I", zlib.crc32(b"tEXt" + text))
open(sys.argv[2], "wb").write(data[:33] + chunk + data[33:])
PY
    run 0 bioseg segment -m nuclei -o "$tmp/stream" "$tmp/long.png"
    run 0 bioseg segment -m nuclei -o "$tmp/unary" "$sample"
    run 0 "$bin/bioseg" --json evaluate --min-size 0 "$tmp/stream/long.tif" "$tmp/unary/nuclei.tif"
    grep -q '"msa": 1.0' <<<"$out" || fail "the results differ: $out"
}

test_wrong_parameters_are_refused_with_what_is_accepted() {
    run 2 bioseg segment -m nuclei -o "$tmp/none" --set foreground_threshold=7 "$sample"
    says "foreground_threshold"
    run 2 bioseg segment -m nuclei -o "$tmp/none" --set nonsense=1 "$sample"
    says "has no parameter 'nonsense'"
    run 5 bioseg segment -m no-such-model -o "$tmp/none" "$sample"
    says "no-such-model"
    absent "$tmp/none/nuclei.tif"
}

test_json_has_every_image_and_a_summary() {
    local text
    head -c 5000 "$sample" >"$tmp/half.png"
    text=$(bioseg --json -q segment -m nuclei -o "$tmp/json" "$sample" "$tmp/half.png" 2>/dev/null)
    python3 - "$text" <<'PY' || fail "JSON is not as promised: $text"
import json, sys
j = json.loads(sys.argv[1])
assert j["exit_code"] == 1 and j["summary"]["segmented"] == 1 and j["summary"]["failed"] == 1, j["summary"]
good, bad = j["images"]
assert good["state"] == "segmented" and good["result"]["object_count"] > 80 and good["outputs"]["labels"].endswith("nuclei.tif")
assert bad["state"] == "failed" and bad["error"]["message"]
PY
}

test_ctrl_c_stops_at_once_keeps_what_is_done_and_can_be_resumed() {
    local pid code began
    mkdir -p "$tmp/many"
    cp "$sample" "$tmp/many/a.png"
    make_png "$tmp/many/b.png" 6000
    # A process group of its own with SIGINT at its default, as a shell gives it to a command in the foreground.
    python3 -c 'import os,signal,sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])' \
        "$bin/bioseg" --server "unix:$data/biosegd.sock" segment -m nuclei -o "$tmp/int" -j 1 "$tmp/many" >"$tmp/int.log" 2>&1 &
    pid=$!
    for _ in $(seq 200); do
        [ -e "$tmp/int/a.json" ] && grep -q parameters_hash "$tmp/int/a.json" && break
        sleep 0.1
    done
    sleep 0.5
    began=$(date +%s%N)
    kill -INT "$pid"
    wait "$pid"
    code=$?
    [ "$code" -eq 130 ] || fail "exit code $code: $(cat "$tmp/int.log")"
    [ $(($(date +%s%N) - began)) -lt 3000000000 ] || fail "it took more than 3 s to stop"
    grep -q "1 segmented, 1 left" "$tmp/int.log" || fail "said: $(cat "$tmp/int.log")"
    there "$tmp/int/a.tif"
    absent "$tmp/int/b.tif"
    rm "$tmp/many/b.png"
    cp "$sample" "$tmp/many/c.png"
    run 0 bioseg segment -m nuclei -o "$tmp/int" --resume "$tmp/many"
    says "1 segmented, 1 done before"
}

start_daemon
import_model
run_tests
