"""Maps that are kept: other thresholds without the network, the same bytes as with it, and nobody else's."""
import os

import grpc
import numpy as np
import pytest

from bioseg.v1 import common_pb2 as common
from bioseg.v1 import models_pb2 as models
from bioseg.v1 import segmentation_pb2 as seg
from bioseg.v1 import server_pb2 as server
from conftest import SAMPLE, Client, blobs, collect, default_spec, describe, encode, parts, refused
from daemon import Daemon

C = grpc.StatusCode


def number(v):
    return common.ParameterValue(number=v)


def keep(client, image, spec=None):
    data, description = encode(image)
    return client.segmentation.Segment(seg.SegmentRequest(spec=spec or default_spec(), image=description, pixels=data, keep_maps=True))


def again(client, kept_id, spec=None):
    return client.segmentation.Segment(seg.SegmentRequest(spec=spec or default_spec(), kept_maps_id=kept_id))


THRESHOLDS = {"foreground_threshold": number(0.7), "center_distance_threshold": number(0.35), "min_size": number(10)}


@pytest.mark.parametrize("image, options", [
    (blobs(256, 300), {}), (blobs(256, 300), dict(scale=0.8)), (blobs(400, 300), dict(tiling=seg.Tiling(tile_px=128))),
    (SAMPLE.read_bytes(), {}), (np.stack([blobs(128, 128, s) for s in range(3)], 2), dict(channel_index=1)),
    (np.where(np.arange(160)[:, None] < 20, np.nan, blobs(160, 160)).astype(np.float32), dict(no_data=float("nan")))],
    ids=["plain", "scaled", "tiled", "file", "channel", "no data"])
def test_labels_from_kept_maps_are_those_of_a_run(client, image, options):
    first = keep(client, image, default_spec(**options))
    kept = first.result.kept_maps
    assert len(kept.id) == 32 and kept.expires_ms > 0 and kept.bytes > len(encode(image)[0])
    assert not first.result.provenance.kept_maps and first.result.provenance.network_seconds > 0
    fresh = client.segment(image, default_spec(parameters=THRESHOLDS, **options))
    for spec in (default_spec(parameters=THRESHOLDS), default_spec(parameters=THRESHOLDS, **options)):
        other = again(client, kept.id, spec)
        assert other.labels == fresh.labels and other.labels != first.labels
        assert list(other.objects.area_px) == list(fresh.objects.area_px)
        assert np.array_equal(other.objects.mean_intensity, fresh.objects.mean_intensity, equal_nan=True)
        p, q = other.result.provenance, fresh.result.provenance
        assert p.kept_maps and not q.kept_maps and p.network_seconds == 0
        assert (p.input_sha256, p.plan_hash, dict(p.parameters)) == (q.input_sha256, q.plan_hash, dict(q.parameters))
        assert [w.text for w in other.result.warnings] == [w.text for w in fresh.result.warnings]
        assert other.result.kept_maps.id == kept.id


def test_a_stream_takes_an_id_instead_of_chunks(client):
    image = blobs(300, 200)
    data, description = encode(image)
    start = seg.SegmentStart(spec=default_spec(), image=description, total_bytes=len(data), keep_maps=True)
    begun, found, _, _ = collect(client.segmentation.SegmentStream(parts(seg.SegmentStreamRequest, start, data)))
    spec = default_spec(parameters=THRESHOLDS, outputs=[common.OUTPUT_LABELS, common.OUTPUT_MAPS])
    messages = iter([seg.SegmentStreamRequest(start=seg.SegmentStart(spec=spec, kept_maps_id=begun.result.kept_maps.id))])
    other, labels, _, progress = collect(client.segmentation.SegmentStream(messages))
    fresh = client.segment(image, spec)
    assert bytes(labels[common.OUTPUT_LABELS]) == fresh.labels and bytes(labels[common.OUTPUT_MAPS]) == fresh.maps
    assert other.result.provenance.kept_maps and not progress


def test_the_same_image_again_finds_its_maps_only_if_it_asks(client):
    image = blobs(200, 210, seed=5)
    first = keep(client, image)
    second = keep(client, image, default_spec(parameters=THRESHOLDS))
    assert second.result.provenance.kept_maps and second.result.kept_maps.id == first.result.kept_maps.id
    assert not client.segment(image).result.provenance.kept_maps
    for other in (keep(client, image, default_spec(tiling=seg.Tiling(tile_px=128))), keep(client, blobs(200, 210, seed=6)),
                  keep(client, (image.tobytes(), describe(image.reshape(210, 200)))),
                  keep(client, (image.tobytes(), describe(image, pixel_size=0.5)))):
        assert not other.result.provenance.kept_maps and other.result.kept_maps.id != first.result.kept_maps.id


def test_what_only_the_network_can_change_is_refused(client):
    kept = keep(client, blobs(128, 128)).result.kept_maps.id
    for word, spec in (("scale", default_spec(scale=2)), ("tile", default_spec(tiling=seg.Tiling(tile_px=64))),
                       ("precision", default_spec(precision=seg.PRECISION_BF16)), ("no_data", default_spec(no_data=3))):
        refused(C.FAILED_PRECONDITION, lambda: again(client, kept, spec), word, "send the image")
    client.import_model("twin", None)
    other = client.models.Get(models.GetModelRequest(model=common.ModelRef(name="twin"))).model
    assert other.sha256 == client.models.Get(models.GetModelRequest(model=common.ModelRef(name="nuclei"))).model.sha256
    assert again(client, kept, default_spec(model=common.ModelRef(name="twin"))).result.provenance.kept_maps  # the same file
    other = refused(C.NOT_FOUND, lambda: again(client, kept, default_spec(model=common.ModelRef(name="nonsense"))), "nonsense")
    assert "bioseg-reason" not in dict(other.trailing_metadata())
    image = blobs(64, 64)
    refused(C.INVALID_ARGUMENT, lambda: client.segmentation.Segment(seg.SegmentRequest(
        spec=default_spec(), image=describe(image), pixels=image.tobytes(), kept_maps_id=kept)), "both")
    refused(C.INVALID_ARGUMENT, lambda: again(client, kept, default_spec(parameters={"min_size": number(-1)})), "-1")


def test_an_unknown_id_says_what_to_do(client):
    for bad in ("0" * 32, "x", "../../etc/passwd"):
        gone = refused(C.NOT_FOUND, lambda: again(client, bad), "not kept", "Send the image again")
        assert dict(gone.trailing_metadata())["bioseg-reason"] == "maps-gone"


def test_limits_and_parameters_tell_what_can_be_kept(client):
    info = client.server.GetInfo(server.GetInfoRequest())
    assert "kept-maps" in info.features and info.limits.max_kept_bytes == 4 << 30 and info.limits.kept_ms == 3600_000
    parameters = client.models.Get(models.GetModelRequest(model=common.ModelRef(name="nuclei"))).model.parameters
    network = {p.name: p.network for p in parameters}
    assert network["scale"] and network["tile"] and not network["foreground_threshold"] and not network["min_size"]


def test_the_oldest_go_when_room_runs_out_and_all_go_with_the_daemon(tmp_path):
    d = Daemon(tmp_path / "data", "--kept-maps", "2M").start()
    try:
        c = Client(d.channel())
        c.import_model()
        kept = [keep(c, blobs(200, 200, seed=s)).result.kept_maps for s in range(5)]  # 520 kB each
        assert all(k.id for k in kept)
        refused(C.NOT_FOUND, lambda: again(c, kept[0].id), "not kept")
        assert again(c, kept[4].id).result.provenance.kept_maps
        large = keep(c, blobs(500, 500))
        assert not large.result.kept_maps.id and "maps_not_kept" in {w.code for w in large.result.warnings}
        assert again(c, kept[4].id).result.provenance.kept_maps
        assert not os.listdir(tmp_path / "data" / "kept")  # nothing that a crash would leave
        d.kill()
        d.start()
        c = Client(d.channel())
        refused(C.NOT_FOUND, lambda: again(c, kept[4].id), "when the server ends")
    finally:
        d.stop()


def test_a_server_may_keep_nothing(tmp_path):
    d = Daemon(tmp_path / "data", "--kept-maps", "0").start()
    try:
        c = Client(d.channel())
        c.import_model()
        answer = keep(c, blobs(64, 64))
        assert answer.labels and not answer.result.kept_maps.id
        assert any(w.code == "maps_not_kept" and "keeps no maps" in w.text for w in answer.result.warnings)
        assert c.server.GetInfo(server.GetInfoRequest()).limits.max_kept_bytes == 0
    finally:
        d.stop()


def test_a_worker_that_died_meanwhile_changes_nothing(own_daemon):
    d = own_daemon.start()
    c = Client(d.channel())
    c.import_model()
    image = blobs(128, 128)
    kept = keep(c, image).result.kept_maps.id
    for pid in d.worker_pids():
        os.kill(pid, 9)
    assert again(c, kept, default_spec(parameters=THRESHOLDS)).labels == c.segment(image, default_spec(parameters=THRESHOLDS)).labels


def test_kept_maps_do_not_exist_for_other_users(tmp_path):
    import hashlib

    d = Daemon(tmp_path / "data").start()
    d.terminate()
    users = d.data / "users"
    tokens = {name: f"token-of-{name}" for name in ("ada", "eve")}
    users.write_text("".join(f"{n} user {hashlib.sha256(t.encode()).hexdigest()}\n" for n, t in tokens.items()))
    users.chmod(0o600)
    d.start()
    try:
        Client(d.channel()).import_model()
        ada, eve = (Client(d.channel("tcp"), t) for t in tokens.values())
        image = blobs(96, 96)
        kept = keep(ada, image).result.kept_maps.id
        assert again(ada, kept).result.provenance.kept_maps
        refused(C.NOT_FOUND, lambda: again(eve, kept), "not kept")
        assert not keep(eve, image).result.provenance.kept_maps
    finally:
        d.stop()
