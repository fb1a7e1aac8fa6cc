#!/usr/bin/env bash
# Promotion, comparison and reports against the real daemon: what a name means, and which of two models is better.
. "$(dirname "$0")/cli_common.sh"
images=$repo/tests/fixtures/images

versions_meant() { bioseg models describe "$1" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["version"])'; }

test_a_name_means_the_promoted_version_and_goes_back() {
    import_model
    import_model
    [ "$(versions_meant nuclei)" = 2 ] || fail "the newest is meant while none is promoted"
    run 2 bioseg models promote nuclei
    says "which version"
    run 0 bioseg models promote nuclei@1 --reason "known to be good"
    says "nuclei@production is version 1 now"
    import_model
    [ "$(versions_meant nuclei)" = 1 ] || fail "the promoted version is meant"
    [ "$(versions_meant nuclei@newest)" = 3 ] || fail "newest is the newest"
    run 0 bioseg --json segment -m nuclei -o "$tmp/out" --overwrite "$images/dsb_0161.png"
    run 0 bioseg models list
    says production
    run 0 bioseg models promote nuclei@newest --reason "touching nuclei"
    says "it was version 1"
    run 5 bioseg models delete nuclei@3
    says production
    run 0 bioseg models rollback nuclei --reason "worse after all"
    says "version 1 now (it was version 3)"
    run 5 bioseg models rollback nuclei
    says "no other version"
    run 0 bioseg models history nuclei
    says "worse after all"
    says "roll back"
    [ "$(grep -c . <<<"$out")" = 4 ] || fail "three moves and a title are expected: $out"
    run 0 bioseg models promote nuclei@2 --as confocal
    [ "$(versions_meant nuclei@confocal)" = 2 ] || fail "an alias names its version"
    run 0 bioseg models demote nuclei
    [ "$(versions_meant nuclei)" = 3 ] || fail "the newest is meant again"
    run 5 bioseg models describe nuclei@production
    run 5 bioseg models promote nuclei@9
}

start_daemon --device cpu
run_tests
