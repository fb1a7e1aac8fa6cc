#!/usr/bin/env bash
# bioseg jobs and models against the real daemon: work that is handed in once, watched, fetched, forgotten.
. "$(dirname "$0")/cli_common.sh"
sample=$repo/deploy/samples/nuclei.png
job=""

test_a_job_is_handed_in_watched_and_fetched() {
    run 0 bioseg jobs submit -m nuclei --table "$sample"
    job=${out%% *}
    run 0 bioseg jobs watch "$job"
    says SUCCEEDED
    run 0 bioseg jobs get "$job"
    says succeeded
    run 0 bioseg jobs fetch -o "$tmp/fetched" "$job"
    there "$tmp/fetched/nuclei.tif" "$tmp/fetched/nuclei.csv" "$tmp/fetched/nuclei.json"
    run 0 bioseg segment -m nuclei -o "$tmp/direct" "$sample"
    cmp -s "$tmp/fetched/nuclei.tif" "$tmp/direct/nuclei.tif" || fail "a job's labels differ from a direct request's"
}

test_the_same_command_again_hands_nothing_in() {
    run 0 bioseg jobs submit -m nuclei --table "$sample"
    says "handed in before"
    [ "${out%% *}" = "$job" ] || fail "another job: $out"
    run 0 bioseg jobs submit -m nuclei --table --again "$sample"
    [ "${out%% *}" != "$job" ] || fail "--again gave the old job"
    bioseg -q jobs watch "${out%% *}" >/dev/null 2>&1
}

test_jobs_are_listed_by_name_and_state() {
    run 0 bioseg jobs list --state succeeded
    says "$job"
    says nuclei.png
    run 0 bioseg --json jobs list
    python3 -c 'import json,sys; assert any(j["id"] == sys.argv[1] for j in json.load(sys.stdin))' "$job" <<<"$out" ||
        fail "the JSON list lacks the job"
}

test_labels_find_jobs_and_lifetimes_are_kept() {
    run 0 bioseg jobs submit -m nuclei --label plate=7 --label "note=a b" --keep 0.0005 "$sample"
    local marked=${out%% *}
    [ "$marked" != "$job" ] || fail "a job with labels is not one without"
    run 0 bioseg jobs submit -m nuclei --label plate=7 --label "note=a b" --keep 0.0005 "$sample"
    says "handed in before"
    run 0 bioseg jobs list --label plate=7 --model nuclei
    says "$marked"
    says nuclei.png
    [ "$(grep -c nuclei.png <<<"$out")" = 1 ] || fail "more than the labelled job is listed: $out"
    run 0 bioseg jobs list --label plate=8
    says "no jobs"
    run 0 bioseg jobs get "$marked"
    says "a b"
    run 0 bioseg jobs watch "$marked"
    sleep 3
    run 5 bioseg jobs fetch -o "$tmp/expired" "$marked"
    says expired
    run 2 bioseg jobs submit -m nuclei --label plate "$sample"
    says KEY=VALUE
}

test_models_carry_labels_and_an_end() {
    run 0 bioseg models import "$repo/deploy/models/unet-nuclei.safetensors" --name brief --label stain=dapi --keep 1
    run 0 bioseg models describe brief
    says dapi
    says expires
    run 0 bioseg models list --label stain=dapi
    says brief
    run 0 bioseg models list --label stain=none
    says "no models with these labels"
    run 0 bioseg models delete brief@1
}

test_a_broken_image_is_a_failed_job_that_says_why() {
    head -c 5000 "$sample" >"$tmp/broken.png"
    run 0 bioseg jobs submit -m nuclei "$tmp/broken.png"
    local failed=${out%% *}
    run 1 bioseg jobs watch "$failed"
    says FAILED
    run 5 bioseg jobs fetch -o "$tmp/fetched" "$failed"
}

test_a_finished_job_can_be_forgotten() {
    run 0 bioseg jobs delete "$job"
    run 5 bioseg jobs get "$job"
}

test_a_dry_run_says_what_memory_it_would_need() {
    run 0 bioseg jobs submit -m nuclei --dry-run "$sample"
    says iB
}

test_models_are_described_loaded_and_deleted() {
    run 0 bioseg models list
    says nuclei
    run 0 bioseg models describe nuclei
    says foreground_threshold
    run 0 bioseg models load nuclei
    run 0 bioseg models unload nuclei
    run 0 bioseg models import "$repo/deploy/models/unet-nuclei.safetensors" --name other
    run 2 bioseg models delete other
    says "which version"
    run 0 bioseg models delete other@1
    run 5 bioseg models describe other
    head -c 100000 "$repo/deploy/models/unet-nuclei.safetensors" >"$tmp/short.safetensors"
    run 5 bioseg models import "$tmp/short.safetensors" --name short
}

start_daemon
import_model
run_tests
