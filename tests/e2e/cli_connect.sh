#!/usr/bin/env bash
# Ways to the real daemon: Unix socket without token, loopback TCP with token, TLS with a certificate of one's own.
. "$(dirname "$0")/cli_common.sh"
sample=$repo/deploy/samples/nuclei.png
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
tcp=127.0.0.1:$port

test_the_socket_needs_no_token() {
    run 0 bioseg segment -m nuclei -o "$tmp/unix" "$sample"
    there "$tmp/unix/nuclei.tif"
}

test_the_environment_and_the_default_folder_are_looked_at() {
    run 0 env BIOSEG_SERVER="unix:$data/biosegd.sock" "$bin/bioseg" info
    mkdir -p "$XDG_DATA_HOME"
    ln -s "$data" "$XDG_DATA_HOME/bioseg"
    run 0 "$bin/bioseg" info
    says version
    rm "$XDG_DATA_HOME/bioseg"
    run 3 "$bin/bioseg" info
}

test_tcp_needs_the_right_token() {
    run 4 "$bin/bioseg" --server "$tcp" info
    says "--token-file"
    echo 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef >"$tmp/wrong"
    run 4 "$bin/bioseg" --server "$tcp" --token-file "$tmp/wrong" info
    run 4 "$bin/bioseg" --server "$tcp" --token-file "$tmp/wrong" segment -m nuclei -o "$tmp/no" "$sample"
    absent "$tmp/no/nuclei.tif"
    run 0 "$bin/bioseg" --server "$tcp" --token-file "$data/token" info
    run 0 "$bin/bioseg" --server "$tcp" --token-file "$data/token" segment -m nuclei -o "$tmp/tcp" "$sample"
    cmp -s "$tmp/tcp/nuclei.tif" "$tmp/unix/nuclei.tif" || fail "labels over TCP differ from those over the socket"
    # The token of this account's own daemon is found without being named.
    mkdir -p "$XDG_DATA_HOME/bioseg"
    cp "$data/token" "$XDG_DATA_HOME/bioseg/token"
    run 0 "$bin/bioseg" --server "$tcp" info
    rm -r "$XDG_DATA_HOME/bioseg"
}

test_a_server_that_shuts_down_is_not_there_any_more() {
    stop_daemon
    run 3 bioseg info
    says "is biosegd running there?"
}

test_tls_with_a_certificate_of_our_own() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout "$tmp/key.pem" -out "$tmp/cert.pem" 2>/dev/null
    chmod 600 "$tmp/key.pem"
    start_daemon --listen "$tcp" --tls-cert "$tmp/cert.pem" --tls-key "$tmp/key.pem"
    run 0 "$bin/bioseg" --server "$tcp" --tls-ca "$tmp/cert.pem" --token-file "$data/token" info
    run 0 "$bin/bioseg" --server "$tcp" --tls-ca "$tmp/cert.pem" --token-file "$data/token" \
        segment -m nuclei -o "$tmp/tls" --table --overlay "$sample"
    there "$tmp/tls/nuclei.overlay.png"
    cmp -s "$tmp/tls/nuclei.tif" "$tmp/unix/nuclei.tif" || fail "labels over TLS differ from those over the socket"
    # Without the certificate it is not believed, without TLS it is not understood, without token not admitted.
    run 3 "$bin/bioseg" --server "$tcp" --tls --token-file "$data/token" info
    run 3 "$bin/bioseg" --server "$tcp" --token-file "$data/token" info
    run 4 "$bin/bioseg" --server "$tcp" --tls-ca "$tmp/cert.pem" info
    run 3 "$bin/bioseg" --server "$tcp" --tls-ca "$tmp/cert.pem" --tls-name elsewhere.example \
        --token-file "$data/token" info
}

start_daemon --listen "$tcp"
import_model
run_tests
