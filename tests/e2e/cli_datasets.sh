#!/usr/bin/env bash
# bioseg datasets against the real daemon: files paired by name, sent once, kept apart, reported by name.
. "$(dirname "$0")/cli_common.sh"

# Eight pairs of four series: crops would need a tool, so the files are the same picture with another byte behind its end, which
# PNG readers do not mind.
make_files() {
    mkdir -p "$tmp/images" "$tmp/masks" "$tmp/direct"
    bioseg -q segment -m nuclei -o "$tmp/direct" "$repo/deploy/samples/nuclei.png" || exit 1
    local i
    for i in a_1 a_2 a_3 a_4 b_1 b_2 c_1 d_1; do
        { cat "$repo/deploy/samples/nuclei.png"; printf %s "$i"; } >"$tmp/images/$i.png"
        cp "$tmp/direct/nuclei.tif" "$tmp/masks/${i}_mask.tif"
    done
}

test_files_are_paired_by_name_and_split_by_group() {
    run 0 bioseg datasets create cells --licence CC0-1.0 --label plate=7
    says cells
    run 5 bioseg datasets create cells
    says "already"
    run 0 bioseg datasets add cells --images "$tmp/images" --labels "$tmp/masks" --validation 0.25 --group '*_?.png'
    says "8 added, 0 there already, 0 refused"
    run 0 bioseg --json datasets pairs cells
    python3 - "$out" <<'E2' || fail "groups or splits are wrong: $out"
import json, sys
pairs = json.loads(sys.argv[1])
assert len(pairs) == 8 and all(p["object_count"] > 3 for p in pairs)
splits = {}
for p in pairs:
    assert p["group"] == p["name"][0], p
    splits.setdefault(p["group"], set()).add(p["split"])
assert all(len(s) == 1 for s in splits.values()), splits
assert {"SPLIT_TRAIN", "SPLIT_VALIDATION"} == set.union(*splits.values()), splits
E2
}

test_the_same_command_again_sends_nothing_and_a_new_file_only_itself() {
    run 0 bioseg datasets add cells --images "$tmp/images" --labels "$tmp/masks" --validation 0.25 --group '*_?.png'
    says "0 added, 8 there already, 0 refused"
    { cat "$repo/deploy/samples/nuclei.png"; printf a_5; } >"$tmp/images/a_5.png"
    cp "$tmp/direct/nuclei.tif" "$tmp/masks/a_5.tif"
    run 0 bioseg datasets add cells --images "$tmp/images" --labels "$tmp/masks" --validation 0.25 --group '*_?.png'
    says "1 added, 8 there already, 0 refused"
    run 0 bioseg --json datasets pairs cells
    python3 -c 'import json,sys; s={p["split"] for p in json.load(sys.stdin) if p["group"] == "a"}; assert len(s) == 1, s' <<<"$out" ||
        fail "a new image of a series went another way: $out"
}

test_all_problems_of_names_are_told_at_once_and_nothing_is_sent() {
    mkdir -p "$tmp/bad" "$tmp/badmasks"
    cp "$tmp/images/a_1.png" "$tmp/bad/lonely.png"
    cp "$tmp/images/a_2.png" "$tmp/bad/also.png"
    cp "$tmp/images/a_3.png" "$tmp/bad/fine.png"
    cp "$tmp/direct/nuclei.tif" "$tmp/badmasks/fine.tif"
    bioseg -q datasets create bad >/dev/null
    run 2 bioseg datasets add bad --images "$tmp/bad" --labels "$tmp/badmasks"
    says lonely
    says also
    says "nothing was sent"
    run 0 bioseg datasets pairs bad
    says "no pairs"
    run 0 bioseg datasets add bad --images "$tmp/bad" --labels "$tmp/badmasks" --skip-unpaired --split test
    says "1 added"
    run 0 bioseg datasets pairs bad --split test
    says fine.png
}

test_bad_files_are_told_by_name_and_the_others_are_added() {
    mkdir -p "$tmp/mixed" "$tmp/mixedmasks"
    cp "$tmp/images/a_1.png" "$tmp/mixed/good.png"
    cp "$tmp/direct/nuclei.tif" "$tmp/mixedmasks/good.tif"
    head -c 500 "$tmp/images/a_2.png" >"$tmp/mixed/short.png"
    cp "$tmp/direct/nuclei.tif" "$tmp/mixedmasks/short.tif"
    cp "$tmp/images/a_3.png" "$tmp/mixed/colours.png"
    printf x >"$tmp/mixedmasks/colours.png"
    bioseg -q datasets create mixed >/dev/null
    run 1 bioseg datasets add mixed --images "$tmp/mixed/*.png" --labels "$tmp/mixedmasks/*"
    says short.png
    says colours.png
    says "1 added, 0 there already, 2 refused"
}

test_one_image_is_not_for_training_and_for_judging() {
    mkdir -p "$tmp/leak"
    cp "$tmp/images/b_1.png" "$tmp/leak/other-name.png"
    cp "$tmp/direct/nuclei.tif" "$tmp/leak/other-name_mask.tif"
    run 1 bioseg datasets add cells --images "$tmp/leak/other-name.png" --labels "$tmp/leak/other-name_mask.tif" --split test
    says "two splits"
}

test_annotations_are_drawn_into_files_that_can_be_added() {
    python3 - "$repo/deploy/samples/nuclei.png" >"$tmp/coco.json" <<'E2'
import json, struct, sys
width, height = struct.unpack(">II", open(sys.argv[1], "rb").read()[16:24])
squares = [[x, 5, x + 9, 5, x + 9, 14, x, 14] for x in (5, 25, 45)]
print(json.dumps({
    "images": [{"id": 1, "file_name": "elsewhere/a_1.png", "width": width, "height": height}],
    "categories": [{"id": 1, "name": "cell"}],
    "annotations": [{"id": i, "image_id": 1, "category_id": 1, "area": 81, "iscrowd": 0, "bbox": [s[0], 5, 9, 9],
                     "segmentation": [s]} for i, s in enumerate(squares, 1)]}))
E2
    run 0 bioseg datasets unpack "$tmp/coco.json" "$tmp/drawn"
    says "1 label images written"
    run 2 bioseg datasets unpack "$tmp/coco.json" "$tmp/drawn"
    says "drawn"
    run 6 bioseg datasets unpack "$repo/deploy/samples/nuclei.png" "$tmp/nothing"
    run 0 bioseg datasets create drawn
    mkdir -p "$tmp/one" && cp "$tmp/images/a_1.png" "$tmp/one"
    run 0 bioseg datasets add drawn --images "$tmp/one" --labels "$tmp/drawn"
    says "1 added"
    run 0 bioseg --json datasets pairs drawn
    python3 -c 'import json,sys; p = json.load(sys.stdin); assert [x["object_count"] for x in p] == [3], p' <<<"$out" ||
        fail "three squares were annotated: $out"
    run 0 bioseg datasets delete drawn
}

test_what_counts_is_said_with_files_and_marked_later() {
    run 0 bioseg datasets create parts
    mkdir -p "$tmp/part" "$tmp/predicted"
    cp "$tmp/images/a_1.png" "$tmp/images/a_2.png" "$tmp/part"
    cp "$tmp/direct/nuclei.tif" "$tmp/predicted/a_1.tif"
    run 2 bioseg datasets add parts --images "$tmp/part" --labels "$tmp/masks" --predictions "$tmp/predicted" --skip-unpaired --annotated 1,2
    says "no box"
    run 0 bioseg datasets add parts --images "$tmp/part" --labels "$tmp/masks" --predictions "$tmp/predicted" --skip-unpaired \
        --ignored 0,0,4,5 --ignore-label 60000
    says "1 added"
    run 0 bioseg datasets pairs parts
    says "predicted, not done"
    run 0 bioseg datasets add parts --images "$tmp/part/a_1.png" --labels "$tmp/masks" --predictions "$tmp/predicted" --skip-unpaired
    says "0 added, 1 there already"
    run 2 bioseg datasets mark parts --pair other.png --done
    says "other.png"
    run 0 bioseg datasets mark parts --pair a_1.png --done --annotated 0,0,20,30
    run 0 bioseg --json datasets pairs parts
    python3 -c 'import json,sys; a = json.load(sys.stdin)[0]["annotation"]; assert a["done"] and a["origin"] == "LABEL_ORIGIN_PREDICTED" and int(a["ignore_label"]) == 60000 and len(a["ignored"]) == 1 and int(a["annotated"][0]["width"]) == 30, a' <<<"$out" ||
        fail "what was not said anew is kept: $out"
    run 0 bioseg datasets mark parts --pair a_1.png --everything
    says "done"
    run 0 bioseg datasets delete parts
}

test_datasets_are_listed_shown_and_deleted() {
    run 0 bioseg datasets list
    says cells
    says mixed
    run 0 bioseg datasets list --label plate=7
    [ "$(grep -c . <<<"$out")" = 2 ] || fail "more than the labelled dataset is listed: $out"
    run 0 bioseg datasets show cells
    says CC0-1.0
    run 0 bioseg datasets delete cells --pair b_1.png
    run 2 bioseg datasets delete cells --pair b_1.png
    says b_1.png
    run 0 bioseg datasets delete cells
    run 5 bioseg datasets show cells
    says "no dataset"
    run 2 bioseg datasets add mixed --images "$tmp/images" --labels "$tmp/masks" --split somewhere
    says train
    run 2 bioseg datasets add mixed --images "$tmp/images"
    says "--labels"
}

start_daemon --device cpu
import_model
make_files
run_tests
