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

small="--features 4 --set depth=2 --patch 64 --learning-rate 3e-3 --iterations 6 --set validate_every=3"

# pair DATASET NAME SPLIT [AS]: one image with its labels.
pair() {
    mkdir -p "$tmp/pair/i" "$tmp/pair/l"
    rm -f "$tmp"/pair/*/*
    cp "$images/dsb_$2.png" "$tmp/pair/i/${4:-$2}.png"
    cp "$images/dsb_$2.labels.png" "$tmp/pair/l/${4:-$2}.png"
    bioseg -q datasets add "$1" --images "$tmp/pair/i" --labels "$tmp/pair/l" --split "$3" >/dev/null || fail "no pair $2 for $1"
}

test_versions_with_a_history_are_made() {
    bioseg -q datasets create first >/dev/null
    pair first 0147 train
    pair first 0152 validation
    bioseg -q datasets create second >/dev/null
    pair second 0148 train
    pair second 0161 validation
    # shellcheck disable=SC2086 # the options are meant to split
    run 0 bioseg train --dataset first --model mine --recipe boundaries $small --watch
    run 0 bioseg train --dataset second --model mine --from mine@1 --set patch=64 --iterations 4 --set validate_every=2 --watch
    says "mine version 2"
    bioseg -q datasets create held-out >/dev/null
    pair held-out 0161 train # trained on elsewhere, which does not matter here: the test split is compared on
    "$repo/tests/e2e/make_unseen.py" "$images" "$tmp/unseen"
    run 0 bioseg -q datasets add held-out --images "$tmp/unseen/images" --labels "$tmp/unseen/labels" --split test
}

test_two_versions_are_compared_on_images_that_neither_saw() {
    run 0 bioseg models compare mine@2 nuclei@1 --dataset held-out --seed 3 --resamples 500
    says "candidate mine@2, baseline nuclei@1, on 3 images of held-out (test)"
    says "95 % interval"
    says "500 resamples, seed 3"
    says "what nuclei version 1 was trained on is not known here"
    grep -q FORCED <<<"$out" && fail "nothing was forced: $out"
    run 0 bioseg --json models compare mine@2 nuclei@1 --dataset held-out --seed 3 --resamples 500
    first=$out
    run 0 bioseg --json models compare mine@2 nuclei@1 --dataset held-out --seed 3 --resamples 500
    python3 - "$first" "$out" <<'E2' || fail "the comparison is wrong: $out"
import json, sys
one, two = (json.loads(t[t.index("\n{\n") + 1:] if not t.startswith("{") else t) for t in sys.argv[1:])
assert len(one["images"]) == 3 and not one["forced"], one
for key in ("images", "differences"):
    assert one[key] == two[key], (one[key], two[key])
for k, d in enumerate(one["differences"]):
    of = [(i["candidate"][d["metric"]], i["baseline"][d["metric"]]) for i in one["images"]]
    assert abs(sum(a - b for a, b in of) / 3 - d["difference"]) < 1e-9, d
    assert d["low"] <= d["difference"] <= d["high"], d
assert one["differences"][0]["baseline_mean"] > 0.3, one["differences"]
E2
    # a model against itself differs by exactly nothing
    run 0 bioseg --json models compare nuclei@1 nuclei@2 --dataset held-out
    python3 -c 'import json, sys; t = sys.argv[1]; d = json.loads(t[t.index("\n{\n") + 1:] if not t.startswith("{") else t)["differences"]
assert all(x["difference"] == x["low"] == x["high"] == 0 for x in d), d' "$out" || fail "equal files differ: $out"
}

# the metric is that of bioseg evaluate on what bioseg segment finds
test_scores_are_those_of_evaluate() {
    run 0 bioseg -q segment -m nuclei@1 -o "$tmp/found" --overwrite "$tmp/unseen/images"
    run 0 bioseg --json evaluate "$tmp/found" "$tmp/unseen/labels"
    python3 - "$out" "$first" <<'E2' || fail "scores differ: $out"
import json, sys
evaluated, t = json.loads(sys.argv[1]), sys.argv[2]
compared = json.loads(t[t.index("\n{\n") + 1:] if not t.startswith("{") else t)
for e, c in zip(sorted(evaluated["images"], key=lambda i: i["image"]), compared["images"]):
    assert c["name"].startswith(e["image"]) and abs(c["baseline"]["msa"] - e["msa"]) < 1e-9, (e, c)
    assert c["expected"] == e["expected"] and c["baseline"]["predicted"] == e["predicted"], (e, c)
E2
}

test_images_that_an_ancestor_saw_are_refused_unless_forced_and_then_marked() {
    bioseg -q datasets create tempting >/dev/null
    pair tempting 0147 test renamed
    pair tempting 0161 test
    run 5 bioseg models compare mine@2 nuclei@1 --dataset tempting
    says "renamed.png was seen by mine@1 (train)"
    says "0161.png was seen by mine@2 (validation)"
    says "2 of 2 images were seen in training"
    says "--force"
    # the other way round it is as bad
    run 5 bioseg models compare nuclei@1 mine@2 --dataset tempting
    run 0 bioseg models lineage mine@2
    # the ancestor goes; what it saw is not forgotten, nor when its file comes back under another name
    run 0 bioseg models export mine@1 -o "$tmp/mine1.safetensors"
    run 0 bioseg models delete mine@1
    run 0 bioseg models import "$tmp/mine1.safetensors" --name innocent
    run 5 bioseg models compare mine@2 nuclei@1 --dataset tempting
    says "renamed.png was seen by mine@1 (train)"
    run 5 bioseg models compare innocent nuclei@1 --dataset tempting
    says "seen by mine@1"
    run 0 bioseg models lineage mine@2
    says "mine@1"
    run 0 bioseg models compare mine@2 nuclei@1 --dataset tempting --force
    says "FORCED: 2 of 2 images were seen"
    says "[FORCED: seen in training]"
    says "mine@1 (train)"
    job=$(bioseg --json jobs list --model mine | python3 -c 'import json, sys; print(next(j["id"] for j in json.load(sys.stdin) if j["kind"] == "compare"))')
    run 0 bioseg models comparison "$job"
    says "FORCED"
    run 5 bioseg jobs fetch -o "$tmp/out" "$job"
    says "Comparisons.Get"
}

test_files_of_the_command_line_are_compared_on() {
    run 0 bioseg models compare nuclei@2 mine@2 --images "$tmp/unseen/images" --labels "$tmp/unseen/labels"
    says "on 3 images of compare-"
    run 2 bioseg models compare nuclei@2 mine@2 --images "$tmp/unseen/images" --labels "$images"
    says "no label file has this name"
    [ "$(bioseg datasets list | grep -c compare-)" = 1 ] || fail "what could not be used is not kept"
    bioseg -q datasets create scratch >/dev/null
    pair scratch 0148 test # leaves the files in a folder
    run 5 bioseg models compare nuclei@2 mine@2 --images "$tmp/pair/i" --labels "$tmp/pair/l"
    says "seen by mine@2 (train)"
    run 2 bioseg models compare nuclei@2 mine@2
    says "--dataset"
    run 5 bioseg models compare nuclei@2 mine@2 --dataset first --split test
    says "no images in its test split"
    run 5 bioseg models compare nuclei@2 mine@2 --dataset held-out --confidence 0.9999
    says "confidence"
}

test_a_comparison_goes_on_after_a_crash_and_holds_its_versions() {
    run 0 bioseg models compare innocent nuclei@1 --dataset held-out --detach
    job=$out
    kill -KILL "$daemon_pid" && wait "$daemon_pid" 2>/dev/null
    start_daemon --device cpu
    run 0 bioseg -q jobs watch "$job"
    run 0 bioseg models comparison "$job"
    says "candidate innocent@1"
}

test_a_run_becomes_one_page_in_which_names_are_names() {
    local hostile='<img src=x onerror=alert(1)>"'"'"'&amp;.png' id
    bioseg -q datasets create hostile --description '<script>alert(2)</script>' >/dev/null
    pair hostile 0147 train "${hostile%.png}"
    pair hostile 0152 validation
    pair hostile 0161 test "third<b>"
    # shellcheck disable=SC2086 # the options are meant to split
    run 0 bioseg train --dataset hostile --model page --recipe boundaries $small --watch
    run 0 bioseg models compare page@1 nuclei@1 --dataset hostile
    id=$(bioseg --json jobs list --state succeeded | python3 -c 'import json, sys; print(next(j["id"] for j in json.load(sys.stdin) if j["kind"] == "train"))')
    run 2 bioseg jobs report "$id"
    says "-o FILE"
    run 0 bioseg jobs report "$id" -o "$tmp/report.html"
    run 2 bioseg jobs report "$id" -o "$tmp/report.html"
    says "--overwrite"
    run 0 bioseg jobs report "$id" -o "$tmp/report.html" --overwrite
    python3 - "$tmp/report.html" "$hostile" <<'E2' || fail "the page is wrong"
import html.parser, sys
page, hostile = open(sys.argv[1], encoding="utf-8").read(), sys.argv[2]
class Reader(html.parser.HTMLParser):
    tags, texts, outside = [], [], []
    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.outside += [a for a in attributes if a[0] in ("src", "href") or a[0].startswith("on")]
    def handle_data(self, data):
        self.texts.append(data)
reader = Reader()
reader.feed(page)
assert hostile in reader.texts, reader.texts           # shown as it is,
assert "third<b>.png" in reader.texts                  # also in the comparison,
assert "<script>alert(2)</script>" in reader.texts
assert not {"script", "img", "b", "link", "iframe"} & set(reader.tags), set(reader.tags)   # and never a tag
assert not reader.outside, reader.outside
assert reader.tags.count("svg") == 2 and "polyline" in reader.tags and "circle" in reader.tags
for text in ("Compared with nuclei@1 on 1 images of hostile (test)", "succeeded", "page version 1", "Best step", "sample.flips"):
    assert any(text in t for t in reader.texts), text
E2
    # a run that failed or goes on has a page as well
    # shellcheck disable=SC2086
    run 0 bioseg train --dataset hostile --model long --recipe boundaries $small --iterations 1000000
    id=${out%% *}
    run 0 bioseg jobs pause "$id"
    run 0 bioseg jobs metrics "$id"
    run 0 bioseg jobs report "$id" -o "$tmp/paused.html"
    grep -q "has not ended" "$tmp/paused.html" || fail "a paused run is shown as one"
    run 0 bioseg jobs cancel "$id"
    run 5 bioseg jobs report 000 -o "$tmp/none.html"
    absent "$tmp/none.html"
    [ -z "${BS_KEEP_REPORT:-}" ] || cp "$tmp/report.html" "$BS_KEEP_REPORT"
}

start_daemon --device cpu
run_tests
