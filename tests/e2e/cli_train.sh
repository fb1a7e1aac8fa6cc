#!/usr/bin/env bash
# bioseg train against the real daemon: from options and from YAML, followed live, paused, resumed, refused in words.
. "$(dirname "$0")/cli_common.sh"
images=$repo/tests/fixtures/images
small="--features 4 --set depth=2 --patch 64 --learning-rate 3e-3"
job=""

fill() {
    local i
    mkdir -p "$tmp/images" "$tmp/masks"
    for i in 0147 0148 0152 0161; do
        cp "$images/dsb_$i.png" "$tmp/images/$i.png"
        cp "$images/dsb_$i.labels.png" "$tmp/masks/$i.png"
    done
    bioseg -q datasets create nuclei >/dev/null && bioseg -q datasets add nuclei --images "$tmp/images" --labels "$tmp/masks" \
        --validation 0.25 >/dev/null || exit 1
}

test_a_run_from_options_is_followed_to_its_model() {
    # shellcheck disable=SC2086 # the options are meant to split
    run 0 bioseg train --dataset nuclei --model mine --recipe boundaries $small --iterations 10 --set validate_every=5 --watch
    says "step 5  loss"
    says "validation"
    says "mine version 1 (validation loss"
    run 0 bioseg models describe mine
    says boundaries
    run 0 bioseg segment -m mine -o "$tmp/out" "$tmp/images/0161.png"
    there "$tmp/out/0161.tif"
}

test_a_run_from_yaml_goes_on_from_a_model_and_the_command_line_counts_more() {
    cat >"$tmp/run.yaml" <<'E2'
# what to do with the corrected images
dataset: nuclei
model: better
from: mine@1
parameters:
  patch: 64
  iterations: 1000
  validate_every: 3
  flips: false
E2
    run 0 bioseg --json train --config "$tmp/run.yaml" --iterations 6 --seed 5 --watch
    python3 - "$out" <<'E2' || fail "the stream is wrong: $out"
import json, sys
told, end = sys.argv[1].split('\n{\n', 1)
lines = [json.loads(l) for l in told.splitlines() if l.startswith('{"')]
job = json.loads('{\n' + end)
assert [l["step"] for l in lines] == [1, 2, 3, 3, 4, 5, 6, 6], lines
assert job["state"] == "JOB_STATE_SUCCEEDED" and job["model"] == {"name": "better", "version": 1}, job
config = json.loads(job["training"]["config_json"])
assert config["iterations"] == 6 and config["seed"] == 5 and config["sample"]["flips"] is False, config
assert job["training"]["initial"] == {"name": "mine", "version": 1}, job
E2
}

test_a_model_says_where_it_comes_from() {
    run 0 bioseg models lineage better
    says "better@1"
    says "mine@1"
    says finetune
    says nuclei
    [ "$(grep -c . <<<"$out")" = 3 ] || fail "two steps and a title are expected: $out"
}

test_a_run_is_paused_resumed_and_cancelled() {
    # shellcheck disable=SC2086
    run 0 bioseg train --dataset nuclei --model long --recipe boundaries $small --iterations 1000000 --set validate_every=1000000 --key k
    job=${out%% *}
    # shellcheck disable=SC2086
    run 0 bioseg train --dataset nuclei --model long --recipe boundaries $small --iterations 1000000 --set validate_every=1000000 --key k
    says "$job"
    says "started before"
    run 0 bioseg jobs pause "$job"
    run 0 bioseg jobs metrics "$job"
    says "is paused"
    run 0 bioseg jobs list --state paused
    says "$job"
    says long
    run 0 bioseg jobs rate "$job" 1e-5
    run 5 bioseg jobs rate "$job" 7
    run 2 bioseg jobs rate "$job" fast
    run 0 bioseg jobs resume "$job"
    run 0 bioseg jobs get "$job"
    says nuclei
    run 0 bioseg jobs cancel "$job"
    run 1 bioseg jobs metrics "$job"
    says "was cancelled"
    run 0 bioseg jobs delete "$job"
}

test_parameters_are_listed_with_their_defaults() {
    run 0 bioseg train --parameters
    says "iterations = 100000"
    says "optimizer = adam   (adam, adamw)"
    run 0 bioseg train --parameters --from mine
    says "patch = "
}

test_a_picture_of_the_last_validation_and_the_best_weights_can_be_had() {
    local id
    # shellcheck disable=SC2086
    id=$(bioseg train --dataset nuclei --model seen $small --iterations 10 --set validate_every=5 --set checkpoint_every=5 | cut -d' ' -f1)
    run 0 bioseg jobs metrics "$id"
    run 0 bioseg jobs sample "$id" -o "$tmp/validation.png"
    says "after step 10"
    python3 - "$tmp/validation.png" <<'E2' || fail "the picture has another size"
import struct, sys
assert struct.unpack(">II", open(sys.argv[1], "rb").read()[16:24]) == (64 * 4 + 3 * 4, 64 * 2 + 4)
E2
    run 2 bioseg jobs sample "$id" -o "$tmp/validation.png"
    says "overwrite"
    run 0 bioseg -q segment -m "job:$id" -o "$tmp/best" "$images/dsb_0147.png"
    [ -s "$tmp/best/dsb_0147.tif" ] || fail "the best weights segmented nothing"
}

test_a_dry_run_lists_what_is_wrong_and_what_would_be() {
    # shellcheck disable=SC2086 # the options are meant to split
    run 0 bioseg train --dataset nuclei --model dry $small --iterations 30 --dry-run
    says "3 images to train on, 1 to validate with"
    says "30 steps, 2 for a pass"
    says "parameters to train"
    says "0 problems"
    run 0 bioseg datasets create flawed
    run 0 bioseg datasets add flawed --images "$tmp/images" --labels "$tmp/masks" --validation 0.25 --ignored 0,0,0,0
    # shellcheck disable=SC2086
    run 5 bioseg train --dataset flawed --model dry $small --dry-run
    says "problem: \"0152.png\": no pixel counts"
    # shellcheck disable=SC2086
    run 5 bioseg train --dataset flawed --model dry $small
    says "0147.png"
    says "0161.png"
    says "cannot be trained on as it is"
    run 0 bioseg datasets delete flawed
}

test_what_cannot_be_is_refused_before_anything_starts() {
    run 2 bioseg train
    says "--dataset"
    run 2 bioseg train --dataset nuclei --model x --set colour=blue
    says colour
    says learning_rate
    run 2 bioseg train --dataset nuclei --model x --set batch=many
    says "whole number"
    run 2 bioseg train --dataset nuclei --model x --arch unet --from mine
    says "one of them"
    run 5 bioseg train --dataset none --model x
    says "no dataset"
    run 5 bioseg train --dataset nuclei --model x --patch 50
    says 50
    printf 'dataset: nuclei\nmodel: x\ncolour: blue\n' >"$tmp/bad.yaml"
    run 2 bioseg train --config "$tmp/bad.yaml"
    says "line 3"
    says parameters
    printf 'dataset: [a, b]\n' >"$tmp/bad.yaml"
    run 2 bioseg train --config "$tmp/bad.yaml"
    says "line 1"
    printf 'dataset: &a nuclei\nmodel: *a\n' >"$tmp/bad.yaml"
    run 2 bioseg train --config "$tmp/bad.yaml"
    says anchors
    printf 'dataset: nuclei\n  model: "x\n' >"$tmp/bad.yaml"
    run 2 bioseg train --config "$tmp/bad.yaml"
    says "no YAML"
    run 2 bioseg train --config "$tmp/missing.yaml"
    says missing.yaml
    run 0 bioseg jobs list --state queued
    says "no jobs"
}

start_daemon --device cpu
fill
run_tests
