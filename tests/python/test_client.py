"""The blocking client against a real daemon: results, input that is refused, jobs, models, broken connections."""
import threading
import time

import numpy as np
import pytest

import bioseg
from bioseg import errors
from daemon import MODEL, SAMPLE, Daemon


def test_one_line_gives_labels_and_a_table(client, blobs):
    image = blobs(200, 256)
    result = client.segment(image, model="nuclei")
    assert result.labels.dtype == np.uint32 and result.labels.shape == image.shape
    assert result.object_count == result.labels.max() == result.objects.count > 5
    assert list(result.objects["area_px"]) == list(np.bincount(result.labels.ravel())[1:])
    assert "area_um2" not in result.objects and result.pixel_size_um is None and result.maps is None
    assert result.provenance["model_name"] == "nuclei" and result.request_id


def test_a_stream_and_one_message_give_the_same_bytes(client, blobs):
    image = blobs(600, 500)
    seen = []
    one = client.segment(image, model="nuclei", outputs=["labels", "objects", "maps"], tile=128)
    streamed = client.segment(image, model="nuclei", outputs=["labels", "objects", "maps"], tile=128, progress=seen.append)
    assert streamed.labels.tobytes() == one.labels.tobytes() and streamed.maps.tobytes() == one.maps.tobytes()
    assert {name: list(one.objects[name]) for name in one.objects} == {name: list(streamed.objects[name]) for name in streamed.objects}
    tiles = [p for p in seen if p.phase == "tiles"]
    assert tiles[-1].done == tiles[-1].total >= 1 and seen[-1].phase == "download" and seen[-1].done == seen[-1].total


def test_other_thresholds_need_neither_image_nor_network(client, blobs):
    image = blobs(300, 260)
    result = client.segment(image, model="nuclei", keep_maps=True)
    assert result.kept and result.kept.bytes > image.nbytes and result.kept.expires and not result.provenance["kept_maps"]
    changed = {"foreground_threshold": 0.7, "min_size": 5}
    fresh = client.segment(image, model="nuclei", parameters=changed)
    for other in (client.relabel(result, parameters=changed), client.relabel(result.kept, model="nuclei", parameters=changed)):
        assert (other.labels == fresh.labels).all() and other.provenance["kept_maps"] and other.kept.id == result.kept.id
        assert other.objects["area_px"].tolist() == fresh.objects["area_px"].tolist()
    streamed = client.segment(image, model="nuclei", keep_maps=True, progress=lambda p: None)
    assert streamed.provenance["kept_maps"] and streamed.kept.id == result.kept.id
    with pytest.raises(errors.Refused, match="scale"):
        client.relabel(result, scale=2)
    with pytest.raises(errors.NotFound, match="Send the image again") as gone:
        client.relabel(bioseg.KeptMaps("0" * 32, None, 0), model="nuclei")
    with pytest.raises(errors.NotFound) as no_model:
        client.relabel(result.kept, model="nowhere")
    assert (gone.value.reason, no_model.value.reason) == ("maps-gone", None)
    with pytest.raises(errors.InvalidRequest, match="keep_maps=True"):
        client.relabel(fresh)
    with pytest.raises(errors.InvalidRequest, match="which model"):
        client.relabel(result.kept)
    network = {p.name for p in client.model("nuclei").parameters if p.network}
    assert {"scale", "tile"} <= network and not {"min_size", "foreground_threshold"} & network


def test_a_preview_grows_into_the_foreground_map_and_changes_no_label(client, blobs):
    image = np.tile(blobs(400, 400), (2, 2))
    plain = client.segment(image, model="nuclei", tile=128, outputs=("labels", "maps"))
    shown = []
    result = client.segment(image, model="nuclei", tile=128, preview=shown.append, preview_side=200)
    assert (result.labels == plain.labels).all() and shown
    last = shown[-1]
    assert last.pixels.shape == (200, 200) and last.pixel == (4, 4) and last.pixels.dtype == np.uint8
    expected = np.rint(255 * plain.maps[0][2::4, 2::4])
    painted = last.pixels > 0  # the rest of the box of what is new may wait for its tiles
    assert painted[last.part].any() and np.abs(last.pixels - expected)[painted].max() <= 1
    assert painted.sum() > (expected > 1).sum() / 16  # the last of them may have come some tiles before the end
    assert all(a.pixels is not b.pixels for a, b in zip(shown, shown[1:]))
    shown.clear()
    for step in client.start(image, model="nuclei", tile=128, preview=shown.append):
        assert isinstance(step, bioseg.Progress)
    assert shown
    with pytest.raises(bioseg.errors.InvalidRequest, match="16 to 1024"):
        client.segment(image, model="nuclei", preview=shown.append, preview_side=5000)
    with pytest.raises(bioseg.errors.InvalidRequest, match="interval_ms is 90000"):
        client.segment(image, model="nuclei", preview=shown.append, preview_seconds=90)


def test_a_file_its_bytes_and_its_path_give_the_same_labels(client):
    results = [client.segment(x, model="nuclei") for x in (SAMPLE, str(SAMPLE), SAMPLE.read_bytes())]
    assert results[0].object_count > 100
    assert len({r.labels.tobytes() for r in results}) == 1


def test_arrays_that_are_not_in_memory_or_not_contiguous_are_the_same_image(client, blobs):
    import dask.array as da

    image = blobs(600, 500)
    expected = client.segment(image, model="nuclei").labels
    lazy = da.from_array(image, chunks=(64, 100))
    assert (client.segment(lazy, model="nuclei").labels == expected).all()
    big = np.repeat(image, 2, axis=1)[:, ::2]
    assert not big.flags.c_contiguous
    assert (client.segment(big, model="nuclei").labels == expected).all()
    assert (client.segment(image.astype(">u2"), model="nuclei").labels == client.segment(image.astype("<u2"), model="nuclei").labels).all()


def test_pixel_size_and_parameters_are_passed_on(client, blobs):
    image = blobs(128, 128)
    result = client.segment(image, model="nuclei", pixel_size=0.5, parameters={"min_size": 0})
    assert result.pixel_size_um == 0.5 and result.objects["area_um2"][0] == result.objects["area_px"][0] * 0.25
    nanometres = client.segment(image, model="nuclei", pixel_size=(500, "nm"), parameters={"min_size": 0})
    assert nanometres.pixel_size_um == 0.5
    assert result.provenance["parameters"]["min_size"] == "0"


def test_axes_and_channels_are_never_guessed(client, blobs):
    image = np.stack([blobs(96, 96, s) for s in range(3)], axis=-1)
    with pytest.raises(ValueError, match="which axis is what"):
        client.segment(image, model="nuclei")
    with pytest.raises(errors.InvalidRequest, match="channel"):
        client.segment(image, model="nuclei", axes="yxc")
    second = client.segment(image, model="nuclei", axes="yxc", channel=1)
    assert (second.labels == client.segment(image[..., 1].copy(), model="nuclei").labels).all()
    named = client.segment(np.moveaxis(image, -1, 0), model="nuclei", axes="cyx", channel="b", channel_names=["a", "b", "c"])
    assert (named.labels == second.labels).all()


@pytest.mark.parametrize("image, words", [
    (np.zeros((0, 5), np.uint8), "no pixels"),
    (np.zeros((4, 4), object), "type object"),
    (np.zeros((4, 4), complex), "complex128"),
    (np.zeros(7, np.uint8), "which axis"),
    (b"", "is empty"),
    ("/nowhere/at/all.png", "cannot be read"),
])
def test_what_is_no_image_is_refused_before_it_is_sent(client, image, words):
    with pytest.raises(errors.InvalidRequest, match=words):
        client.segment(image, model="nuclei")
    assert client.info().version


def test_the_servers_refusals_keep_its_words(client, blobs):
    image = blobs(64, 64)
    with pytest.raises(LookupError, match="nowhere"):
        client.segment(image, model="nowhere")
    with pytest.raises(ValueError, match="min_size") as caught:
        client.segment(image, model="nuclei", parameters={"min_size": -5})
    assert caught.value.request_id
    with pytest.raises(ValueError, match="(?i)nan"):
        client.segment(np.full((64, 64), np.nan, np.float32), model="nuclei")
    with pytest.raises(errors.InvalidRequest):
        client.segment(b"not an image at all", model="nuclei")
    with pytest.raises(errors.DeadlineExceeded):
        client.segment(blobs(2000, 2000), model="nuclei", timeout=0.05)
    assert client.segment(image, model="nuclei").object_count >= 0


def test_cancelling_from_another_thread_ends_it_within_a_second(client, blobs):
    running = client.start(np.tile(blobs(500, 500), (6, 6)), model="nuclei", tile=256)
    began = []

    def cancel_soon():
        while not began:
            time.sleep(0.01)
        running.cancel()

    threading.Thread(target=cancel_soon).start()
    with pytest.raises(errors.Cancelled):
        for step in running:
            if step.phase == "tiles" and step.done and not began:
                began.append(time.monotonic())
    assert time.monotonic() - began[0] < 1


def test_a_folder_reports_each_file_by_itself(client, tmp_path):
    (tmp_path / "a.png").write_bytes(SAMPLE.read_bytes())
    (tmp_path / "b.tif").write_bytes(b"II*\0 broken")
    (tmp_path / "notes.txt").write_text("not an image")
    found = dict(client.segment_files(tmp_path, model="nuclei"))
    assert [p.name for p in found] == ["a.png", "b.tif"]
    assert found[tmp_path / "a.png"].object_count > 100
    assert isinstance(found[tmp_path / "b.tif"], errors.InvalidRequest)


def test_a_job_is_found_again_by_its_id(daemon, client, blobs):
    image = blobs(256, 256)
    handle = client.submit(image, model="nuclei", key="python-1", outputs=["labels", "objects"])
    assert client.submit(image, model="nuclei", key="python-1").id == handle.id
    with bioseg.Client(daemon.address()) as other:
        again = other.job(handle.id)
        seen = []
        result = again.result(progress=seen.append)
        assert again.status().state == "succeeded" and again.status().object_count == result.object_count
        assert handle.id in [j.id for j in other.jobs(state="succeeded")]
    assert (result.labels == client.segment(image, model="nuclei").labels).all()
    handle.delete()
    with pytest.raises(LookupError):
        client.job(handle.id)


def test_a_failed_and_a_cancelled_job_say_so(client, blobs):
    failed = client.submit(b"no image either", model="nuclei")
    with pytest.raises(errors.JobFailed):
        failed.result()
    with pytest.raises(errors.Refused):
        failed.cancel()
    cancelled = client.submit(np.tile(blobs(500, 500), (5, 5)), model="nuclei", tile=128)
    cancelled.cancel()
    with pytest.raises(errors.Cancelled):
        cancelled.result()


def test_a_plan_says_what_it_would_need(client, blobs):
    before = len(list(client.jobs()))
    assert client.plan(blobs(256, 256), model="nuclei").peak_bytes > 1 << 20
    assert len(list(client.jobs())) == before


def test_models_describe_their_parameters_and_come_and_go(client, tmp_path):
    model = client.model("nuclei")
    names = [p.name for p in model.parameters]
    assert model.reference == "nuclei@1" and "min_size" in names
    parameter = model.parameters[names.index("min_size")]
    assert parameter.minimum <= parameter.default <= parameter.maximum and parameter.title and parameter.help
    copy = client.export_model("nuclei@1", tmp_path / "copy.safetensors")
    assert copy.read_bytes() == MODEL.read_bytes()
    with pytest.raises(errors.Refused, match="in the way"):
        client.export_model("nuclei@1", copy)
    second = client.import_model(copy, "other")
    assert second.sha256 == model.sha256 and "other" in [m.name for m in client.models()]
    client.load("other")
    client.unload("other")
    client.delete_model("other@1")
    with pytest.raises(LookupError):
        client.model("other")
    with pytest.raises(errors.InvalidRequest):
        client.import_model(SAMPLE, "no-model")
    with pytest.raises(errors.InvalidRequest, match="NAME@VERSION"):
        client.model("@3")


def test_nobody_there_is_a_sentence_and_quick(tmp_path):
    began = time.monotonic()
    with bioseg.Client(f"unix:{tmp_path}/none.sock") as client, pytest.raises(ConnectionError, match="no bioseg server answers"):
        client.info()
    with bioseg.Client("127.0.0.1:1") as client, pytest.raises(errors.NotReachable):
        client.segment(np.zeros((8, 8), np.uint8), model="nuclei")
    assert time.monotonic() - began < 5


def test_a_wrong_token_is_refused_and_the_right_one_works(daemon, tmp_path):
    with bioseg.Client(daemon.tcp, token="wrong") as client, pytest.raises(PermissionError) as unknown:
        client.info()
    with bioseg.Client(daemon.tcp, token_file=daemon.data / "token") as client:
        assert client.info().caller
    with bioseg.Client(daemon.tcp) as client, pytest.raises(errors.NotAllowed) as missing:
        client.models()
    assert (unknown.value.reason, missing.value.reason) == ("token-unknown", "token-missing")


def test_a_daemon_that_dies_and_comes_back_is_waited_for(tmp_path, blobs):
    d = Daemon(tmp_path / "data", listen="none").start()
    try:
        with bioseg.Client(d.address()) as client:
            client.import_model(MODEL, "nuclei")
            handle = client.submit(np.tile(blobs(500, 500), (3, 3)), model="nuclei", tile=256)
            results = []
            waiting = threading.Thread(target=lambda: results.append(handle.result()))
            waiting.start()
            time.sleep(0.5)
            d.kill()
            d.start()
            waiting.join(120)
            assert results and results[0].labels.shape == (1500, 1500)
            running = client.start(np.tile(blobs(500, 500), (6, 6)), model="nuclei", tile=256)
            threading.Timer(1.0, d.kill).start()
            with pytest.raises(errors.NotReachable):
                running.result()
            d.start()
            assert client.info().version
    finally:
        d.stop()
