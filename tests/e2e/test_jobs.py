"""Durable jobs: submitted once, watched, cancelled, collected; lost by no crash."""
import os
import signal
import threading
import time

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bioseg.v1 import common_pb2 as common
from bioseg.v1 import jobs_pb2 as jobs
from bioseg.v1 import models_pb2 as models
from bioseg.v1 import segmentation_pb2 as seg
from bioseg.v1 import server_pb2 as server
from conftest import MODEL, Client, blobs, collect, default_spec, describe, encode, parts, refused

C = grpc.StatusCode
LARGE = np.tile(blobs(512, 512), (1, 2))
# Many tiles, each mostly halo: seconds of work for a small image.
SLOW = default_spec(tiling=seg.Tiling(tile_px=96, batch=1))


def get(client, job_id):
    return client.jobs.Get(jobs.GetJobRequest(id=job_id)).job


def result(client, job_id, outputs=()):
    return collect(client.jobs.GetResult(jobs.GetJobResultRequest(id=job_id, outputs=outputs)))


def test_a_job_gives_what_segment_gives(client):
    image = blobs(200, 220)
    spec = default_spec(outputs=[common.OUTPUT_LABELS, common.OUTPUT_MAPS, common.OUTPUT_OBJECT_TABLE])
    now = client.segment(image, spec)
    answer = client.submit(image, spec=spec, project="pilot")
    assert not answer.existing and answer.job.project == "pilot" and answer.job.model.version == 1
    job = client.wait(answer.job.id)
    assert job.state == jobs.JOB_STATE_SUCCEEDED and job.object_count == now.result.object_count
    assert 0 < job.created_ms <= job.started_ms <= job.finished_ms < job.expires_ms
    start, data, rows, _ = result(client, job.id)
    assert bytes(data[common.OUTPUT_LABELS]) == now.labels and bytes(data[common.OUTPUT_MAPS]) == now.maps
    assert rows == now.result.object_count
    assert start.result.provenance.input_sha256 == now.result.provenance.input_sha256
    start, data, rows, _ = result(client, job.id, [common.OUTPUT_LABELS])
    assert list(data) == [common.OUTPUT_LABELS] and rows == 0


def test_the_same_key_and_payload_is_the_same_job(client):
    image = blobs(64, 64, seed=3)
    first = client.submit(image, key="key-1")
    again = client.submit(image, key="key-1")
    assert not first.existing and again.existing and again.job.id == first.job.id
    refused(C.ALREADY_EXISTS, lambda: client.submit(blobs(64, 64, seed=4), key="key-1"), "key-1")
    refused(C.ALREADY_EXISTS, lambda: client.submit(image, key="key-1", spec=default_spec(scale=1.5)), "key-1")
    client.wait(first.job.id)
    assert client.submit(image, key="key-1").job.id == first.job.id


def listed(client, **filters):
    return [j.id for j in client.jobs.List(jobs.ListJobsRequest(**filters)).jobs]


def test_jobs_are_found_by_label_project_model_and_state(client):
    image = blobs(64, 64, seed=31)
    marks = {"plate": "seven", "path": "a/b é=1"}
    one = client.submit(image, labels=marks, project="screen").job
    two = client.submit(image, labels={"plate": "seven"}).job
    client.wait(one.id), client.wait(two.id)
    assert dict(one.labels) == marks and dict(get(client, one.id).labels) == marks
    assert listed(client, labels={"plate": "seven"}) == [two.id, one.id]
    assert listed(client, labels=marks) == [one.id] and listed(client, labels={"plate": "eight"}) == []
    assert listed(client, labels=marks, project="screen", model="nuclei", state=jobs.JOB_STATE_SUCCEEDED) == [one.id]
    assert listed(client, labels=marks, state=jobs.JOB_STATE_FAILED) == listed(client, labels=marks, model="cells") == []
    refused(C.INVALID_ARGUMENT, lambda: listed(client, labels={"": "x"}), "key")
    # A key belongs to its labels and lifetime as to the rest of its request.
    first = client.submit(image, key="marked", labels=marks, time_to_live_ms=600000).job
    assert client.submit(image, key="marked", labels=marks, time_to_live_ms=600000).job.id == first.id
    refused(C.ALREADY_EXISTS, lambda: client.submit(image, key="marked", labels={"plate": "eight"}, time_to_live_ms=600000))
    refused(C.ALREADY_EXISTS, lambda: client.submit(image, key="marked", labels=marks))


def test_a_result_is_kept_as_long_as_was_asked_for(client):
    job = client.wait(client.submit(blobs(64, 64), time_to_live_ms=1500).job.id)
    assert job.expires_ms == job.finished_ms + 1500
    result(client, job.id)
    time.sleep(2)
    refused(C.NOT_FOUND, lambda: result(client, job.id), "expired")
    assert get(client, job.id).state == jobs.JOB_STATE_SUCCEEDED
    default = client.wait(client.submit(blobs(64, 64)).job.id)
    assert default.expires_ms - default.finished_ms == 14 * 24 * 3600 * 1000


def test_a_signal_to_the_whole_service_lets_work_end_and_is_no_death(own_daemon):
    """Ctrl-C and service managers signal every process at once; the worker waits for the daemon's word."""
    own_daemon.start()
    client = Client(own_daemon.channel())
    client.import_model()
    job = client.submit(LARGE, spec=SLOW).job
    while get(client, job.id).state == jobs.JOB_STATE_QUEUED:
        time.sleep(0.05)
    for pid in own_daemon.worker_pids():
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
    assert own_daemon.terminate() == 0
    log = own_daemon.log.read_text()
    assert "drained" in log and "worker died" not in log, log
    own_daemon.start()
    last = Client(own_daemon.channel()).wait(job.id)
    assert last.state == jobs.JOB_STATE_SUCCEEDED and last.attempts == 0


def test_a_new_model_version_does_not_change_what_a_key_means(client):
    image = blobs(64, 64, seed=5)
    first = client.submit(image, key="key-2")
    client.import_model()
    assert client.submit(image, key="key-2").job.id == first.job.id


def test_bad_submissions_are_refused_before_anything_is_kept(client):
    image = blobs(64, 64)
    refused(C.INVALID_ARGUMENT, lambda: client.submit(image, key="two words"), "idempotency_key")
    refused(C.INVALID_ARGUMENT, lambda: client.submit(image, key="x" * 129), "129")
    refused(C.INVALID_ARGUMENT, lambda: client.submit(image, project="../x"), "project")
    refused(C.INVALID_ARGUMENT, lambda: client.submit(image, labels={"a b": "c"}), "a b")
    refused(C.INVALID_ARGUMENT, lambda: client.submit(image, labels={"a": "x" * 256}), "255")
    refused(C.INVALID_ARGUMENT, lambda: client.submit(image, labels={f"k{i}": "" for i in range(17)}), "16")
    refused(C.INVALID_ARGUMENT, lambda: client.submit(image, time_to_live_ms=-1), "-1")
    refused(C.INVALID_ARGUMENT, lambda: client.submit(image, time_to_live_ms=1 << 60), "ten years")
    refused(C.NOT_FOUND, lambda: client.submit(image, spec=default_spec(model=common.ModelRef(name="none"))), "none")
    refused(C.INVALID_ARGUMENT, lambda: client.jobs.Submit(iter([])), "start")
    refused(C.NOT_FOUND, lambda: get(client, "nonsense"), "nonsense")
    refused(C.INVALID_ARGUMENT, lambda: get(client, ""), "id")
    refused(C.INVALID_ARGUMENT, lambda: client.jobs.List(jobs.ListJobsRequest(page=common.Page(size=100000))), "1000")


def test_a_dry_run_tells_the_memory_and_keeps_nothing(client):
    before = len(client.jobs.List(jobs.ListJobsRequest()).jobs)
    start = jobs.SubmitJobStart(dry_run=True, segment=default_spec(), image=describe(np.zeros((1000, 1000), np.uint8)))
    plan = client.jobs.Submit(iter([jobs.SubmitJobRequest(start=start)])).plan
    assert 10 << 20 < plan.peak_bytes < 8 << 30
    assert len(client.jobs.List(jobs.ListJobsRequest()).jobs) == before


def test_jobs_are_listed_newest_first_in_pages(client):
    ids = [client.submit(blobs(32, 32, seed=i)).job.id for i in range(5)]
    seen, token = [], ""
    while True:
        page = client.jobs.List(jobs.ListJobsRequest(page=common.Page(size=2, token=token)))
        assert len(page.jobs) <= 2
        seen += [j.id for j in page.jobs]
        token = page.next_page_token
        if not token:
            break
    assert seen[:5] == ids[::-1] and len(set(seen)) == len(seen)
    client.wait(ids[-1])
    done = client.jobs.List(jobs.ListJobsRequest(state=jobs.JOB_STATE_SUCCEEDED)).jobs
    assert {j.state for j in done} == {jobs.JOB_STATE_SUCCEEDED}


def test_a_running_job_is_cancelled_and_frees_the_device(client):
    job = client.submit(LARGE, spec=SLOW).job
    for answer in client.jobs.Watch(jobs.WatchJobRequest(id=job.id)):
        if answer.job.state == jobs.JOB_STATE_RUNNING:
            break
    refused(C.FAILED_PRECONDITION, lambda: result(client, job.id), "job is")
    cancelled = client.jobs.Cancel(jobs.CancelJobRequest(id=job.id)).job
    assert cancelled.state == jobs.JOB_STATE_CANCELLED
    began = time.monotonic()
    while client.server.GetInfo(server.GetInfoRequest()).devices[0].running:
        assert time.monotonic() - began < 1.0
        time.sleep(0.02)
    assert client.wait(job.id, 5).state == jobs.JOB_STATE_CANCELLED
    refused(C.FAILED_PRECONDITION, lambda: client.jobs.Cancel(jobs.CancelJobRequest(id=job.id)))
    client.jobs.Delete(jobs.DeleteJobRequest(id=job.id))
    refused(C.NOT_FOUND, lambda: get(client, job.id))


def test_a_watch_can_be_attached_again_where_it_ended(client):
    job = client.submit(blobs(64, 64, seed=9)).job
    first = list(client.jobs.Watch(jobs.WatchJobRequest(id=job.id), timeout=30))
    last = first[-1].job
    assert last.state == jobs.JOB_STATE_SUCCEEDED
    revisions = [a.job.revision for a in first]
    assert revisions == sorted(set(revisions))
    assert [a.job.revision for a in client.jobs.Watch(jobs.WatchJobRequest(id=job.id), timeout=5)] == [last.revision]
    assert list(client.jobs.Watch(jobs.WatchJobRequest(id=job.id, after_revision=last.revision), timeout=5)) == []


def test_a_job_with_a_bad_image_fails_with_its_reason(client):
    job = client.wait(client.submit(b"this is no image").job.id)
    assert job.state == jobs.JOB_STATE_FAILED
    assert job.error.code == C.INVALID_ARGUMENT.value[0] and job.error.message


def test_interactive_work_goes_before_queued_jobs(client):
    queue = [client.submit(np.tile(blobs(256, 256, seed=i), (2, 2)), spec=SLOW).job.id for i in range(4)]
    client.segment(blobs(64, 64))
    finished = [get(client, i).state == jobs.JOB_STATE_SUCCEEDED for i in queue]
    assert sum(finished) <= 1, "the viewer waited for more than the job that was running already"
    for i in queue:
        try:
            client.jobs.Cancel(jobs.CancelJobRequest(id=i))
        except grpc.RpcError as e:
            assert e.code() == C.FAILED_PRECONDITION


# ---- models ----

def test_models_are_imported_described_exported_loaded_and_deleted(client):
    data = MODEL.read_bytes()
    first, second = client.import_model("cells"), client.import_model("cells")
    assert (first.version, second.version) == (1, 2) and first.sha256 == second.sha256
    names = {p.name: p for p in first.parameters}
    assert names["center_distance_threshold"].maximum == 1 and names["precision"].choices == ["f32", "bf16"]
    ref = common.ModelRef(name="cells", version=2)
    answers = list(client.models.Export(models.ExportModelRequest(model=ref)))
    assert b"".join(a.chunk.data for a in answers) == data and answers[-1].end.sha256 == second.sha256
    assert client.models.Load(models.LoadModelRequest(model=ref)).model.loaded
    client.models.Unload(models.UnloadModelRequest(model=ref))
    assert not client.models.Get(models.GetModelRequest(model=ref)).model.loaded
    listed = [(m.name, m.version) for m in client.models.List(models.ListModelsRequest()).models]
    assert listed == sorted(listed) and ("cells", 2) in listed
    client.models.Delete(models.DeleteModelRequest(model=ref))
    refused(C.NOT_FOUND, lambda: client.models.Get(models.GetModelRequest(model=ref)), "2")
    refused(C.INVALID_ARGUMENT, lambda: client.models.Delete(models.DeleteModelRequest(model=common.ModelRef(name="cells"))),
            "version")
    client.models.Delete(models.DeleteModelRequest(model=common.ModelRef(name="cells", version=1)))


def test_bad_model_files_are_refused_and_leave_no_model(client):
    data = MODEL.read_bytes()
    for bad in (b"\0" * 8, b"\xff" * 64, data[:1000], data[:-1], b"PK\x03\x04" + bytes(100),
                data[:8] + b"}" + data[9:]):
        refused(C.INVALID_ARGUMENT, lambda: client.import_model("bad", bad))
    refused(C.INVALID_ARGUMENT, lambda: client.import_model("../bad", data), "../bad")
    refused(C.INVALID_ARGUMENT, lambda: client.import_model("bad", b"x"), "total_bytes")
    assert "bad" not in [m.name for m in client.models.List(models.ListModelsRequest()).models]


# ---- crashes and endings ----

def fresh(daemon):
    client = Client(daemon.start().channel())
    if not client.models.List(models.ListModelsRequest()).models:
        client.import_model()
    return client


def test_a_worker_killed_under_a_job_costs_one_attempt(own_daemon):
    client = fresh(own_daemon)
    job = client.submit(LARGE, spec=SLOW).job
    for answer in client.jobs.Watch(jobs.WatchJobRequest(id=job.id)):
        if answer.job.progress.tiles_total:  # the worker has it
            break
    pids = own_daemon.worker_pids()
    assert len(pids) == 1
    import os
    os.kill(pids[0], 9)
    done = client.wait(job.id)
    assert done.state == jobs.JOB_STATE_SUCCEEDED and done.attempts == 1
    assert client.segment(blobs(64, 64)).result.height == 64


def test_a_daemon_killed_with_queued_jobs_loses_none(own_daemon):
    client = fresh(own_daemon)
    small = [client.submit(blobs(64, 64, seed=i), key=f"k{i}").job.id for i in range(10)]
    large = client.submit(LARGE, key="large", spec=SLOW).job.id
    more = [client.submit(blobs(64, 64, seed=20 + i), key=f"m{i}").job.id for i in range(10)]
    own_daemon.kill()
    client = fresh(own_daemon)
    for i, job_id in enumerate(small + [large] + more):
        assert client.wait(job_id).state == jobs.JOB_STATE_SUCCEEDED, i
    again = client.submit(blobs(64, 64, seed=3), key="k3")
    assert again.existing and again.job.id == small[3]


def test_sigterm_drains_what_runs_and_refuses_what_is_new(own_daemon):
    client = fresh(own_daemon)
    health = health_pb2_grpc.HealthStub(own_daemon.channel())
    watch = health.Watch(health_pb2.HealthCheckRequest())
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    outcome = {}

    def run():
        outcome["rows"] = collect(client.segment_stream(LARGE, SLOW))[2]

    thread = threading.Thread(target=run)
    thread.start()
    while not client.server.GetInfo(server.GetInfoRequest()).devices[0].running:
        time.sleep(0.02)
    own_daemon.process.terminate()
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    time.sleep(0.6)
    refused(C.UNAVAILABLE, lambda: client.segment(blobs(32, 32)), "ending")
    thread.join()
    assert outcome["rows"] > 0
    assert own_daemon.process.wait(70) == 0


def test_a_job_that_does_not_finish_in_the_drain_time_runs_after_the_restart(tmp_path):
    from conftest import Daemon
    d = Daemon(tmp_path / "data", "--drain-seconds", "0")
    try:
        client = fresh(d)
        job = client.submit(LARGE, spec=SLOW).job
        for answer in client.jobs.Watch(jobs.WatchJobRequest(id=job.id)):
            if answer.job.state == jobs.JOB_STATE_RUNNING:
                break
        assert d.terminate() == 0
        client = fresh(d)
        done = client.wait(job.id)
        assert done.state == jobs.JOB_STATE_SUCCEEDED and done.attempts == 0
    finally:
        d.stop()
