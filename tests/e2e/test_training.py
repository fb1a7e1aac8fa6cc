"""Training as a durable job: followed live, paused, resumed, killed at any moment, and a model in the end."""
import os
import signal
import time

import grpc
import pytest

from bioseg.v1 import common_pb2 as common
from bioseg.v1 import datasets_pb2 as datasets
from bioseg.v1 import jobs_pb2 as jobs
from bioseg.v1 import models_pb2 as models
from bioseg.v1 import training_pb2 as training
from conftest import ROOT, Client, default_spec, refused
from test_datasets import TRAIN, VALIDATION, add, create

C = grpc.StatusCode
IMAGES = ROOT / "tests" / "fixtures" / "images"
NAMES = ["dsb_0147", "dsb_0148", "dsb_0152", "dsb_0161"]


def value(v):
    kind = "flag" if isinstance(v, bool) else "choice" if isinstance(v, str) else "number"
    return common.ParameterValue(**{kind: v})


# A U-Net of two levels: a step takes some milliseconds.
SMALL = {"features": 4, "depth": 2, "patch": 64, "batch": 2, "iterations": 40, "validate_every": 20, "checkpoint_every": 10,
         "learning_rate": 3e-3}


def fill(client, name="nuclei-data"):
    create(client, name)
    for i, stem in enumerate(NAMES):
        add(client, name, stem + ".png", (IMAGES / (stem + ".png")).read_bytes(),
            (IMAGES / (stem + ".labels.png")).read_bytes(), split=VALIDATION if i == 3 else TRAIN)
    return name


def spec(dataset, model="tiny", recipe="boundaries", architecture="unet", initial=None, seed=7, **parameters):
    return training.TrainingSpec(architecture="" if initial else architecture, dataset=dataset, recipe=recipe,
                                 model_name=model, seed=seed, initial=initial,
                                 parameters={k: value(v) for k, v in {**({} if initial else SMALL), **parameters}.items()})


def start(client, what, key="", **fields):
    return client.training.Start(training.StartTrainingRequest(spec=what, idempotency_key=key, **fields))


def metrics(client, job_id, after=0, timeout=100):
    return list(client.training.WatchMetrics(training.WatchMetricsRequest(job_id=job_id, after_step=after), timeout=timeout))


def get(client, job_id):
    return client.jobs.Get(jobs.GetJobRequest(id=job_id)).job


def wait_for(client, job_id, condition, timeout=60):
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        job = get(client, job_id)
        if condition(job):
            return job
        time.sleep(0.02)
    raise AssertionError(job)


def reached(step):
    return lambda job: job.progress.tiles_done >= step or job.state > jobs.JOB_STATE_RUNNING


def model_bytes(client, name, version=0):
    ref = common.ModelRef(name=name, version=version) if version else common.ModelRef(name=name)
    return b"".join(e.chunk.data for e in client.models.Export(models.ExportModelRequest(model=ref))
                    if e.WhichOneof("part") == "chunk")


@pytest.fixture(scope="module")
def data(client):
    return fill(client)


@pytest.fixture(scope="module")
def undisturbed(client, data):
    """A run that nobody disturbs, and what it told."""
    job = start(client, spec(data)).job
    assert job.kind == "train" and job.training.dataset == data and job.training.model_name == "tiny"
    told = metrics(client, job.id)
    return client.wait(job.id), told


def test_what_can_be_set_is_described_with_its_defaults(client):
    described = client.training.Describe(training.DescribeTrainingRequest(architecture="unet", recipe="boundaries"))
    by_name = {p.name: p for p in described.parameters}
    assert by_name["iterations"].default_value == 100000 and by_name["batch"].default_value == 2
    assert by_name["learning_rate"].default_value == 1e-4 and by_name["patch"].default_value == 512
    assert list(by_name["optimizer"].choices) == ["adam", "adamw"] and all(p.help and p.title for p in described.parameters)
    assert "depth" not in {p.name for p in client.training.Describe(
        training.DescribeTrainingRequest(architecture="vimunet")).parameters}
    refused(C.INVALID_ARGUMENT, lambda: client.training.Describe(training.DescribeTrainingRequest()), "unetr")


def test_a_run_tells_every_step_and_ends_with_a_model_that_segments(client, data, undisturbed):
    job, told = undisturbed
    assert job.state == jobs.JOB_STATE_SUCCEEDED, job.error
    steps = [m for m in told if "validation_loss" not in m.values]
    scores = [m for m in told if "validation_loss" in m.values]
    assert [m.step for m in steps] == list(range(1, 41)) and [m.step for m in scores] == [20, 40]
    assert all(m.values["train_loss"] > 0 and m.values["learning_rate"] > 0 for m in steps)
    assert scores[1].values["validation_loss"] < scores[0].values["validation_loss"]
    assert job.progress.tiles_done == job.progress.tiles_total == 40
    best = min(scores, key=lambda m: m.values["validation_loss"])
    assert job.training.best_step == best.step
    assert job.training.best_validation_loss == best.values["validation_loss"]
    assert job.model.name == "tiny" and job.model.version == 1
    model = client.models.Get(models.GetModelRequest(model=job.model)).model
    assert model.state == models.MODEL_STATE_READY and model.architecture == "unet" and model.recipe == "boundaries"
    image = (IMAGES / "dsb_0161.png").read_bytes()
    result = client.segment(image, default_spec(model=common.ModelRef(name="tiny")))
    assert result.result.provenance.model_version == 1 and result.labels
    refused(C.INVALID_ARGUMENT, lambda: list(client.jobs.GetResult(jobs.GetJobResultRequest(id=job.id))), "training run")


def test_metrics_can_be_attached_again_after_a_step(client, undisturbed):
    job, told = undisturbed
    assert metrics(client, job.id) == told
    again = metrics(client, job.id, after=20)
    assert again == [m for m in told if m.step > 20 or (m.step == 20 and "validation_loss" in m.values)]
    assert metrics(client, job.id, after=1000) == []


def test_the_same_run_again_gives_the_same_bytes_and_another_seed_others(client, data, undisturbed):
    job, told = undisturbed
    again, other = start(client, spec(data, model="again")).job, start(client, spec(data, model="other", seed=8)).job
    assert client.wait(again.id).state == client.wait(other.id).state == jobs.JOB_STATE_SUCCEEDED
    assert model_bytes(client, "again") == model_bytes(client, "tiny")
    assert model_bytes(client, "other") != model_bytes(client, "tiny")
    losses = lambda notes: [m.values["train_loss"] for m in notes]
    assert losses(metrics(client, again.id)) == losses(told)


def test_a_key_is_one_run_and_the_newest_version_stays_the_newest(client, data):
    first = start(client, spec(data, iterations=1, validate_every=1), key="once")
    again = start(client, spec(data, iterations=1, validate_every=1), key="once")
    assert not first.existing and again.existing and again.job.id == first.job.id
    refused(C.ALREADY_EXISTS, lambda: start(client, spec(data, iterations=2, validate_every=1), key="once"), "once")
    client.wait(first.job.id)
    assert start(client, spec(data, iterations=1, validate_every=1), key="once").existing


def test_a_model_is_trained_on(client, data, undisturbed):
    ref = common.ModelRef(name="tiny", version=1)
    job = start(client, spec(data, model="tiny", recipe="", initial=ref, patch=64, iterations=30, validate_every=15)).job
    assert job.training.initial == ref
    refused(C.FAILED_PRECONDITION, lambda: client.models.Delete(models.DeleteModelRequest(model=ref)), "needed")
    last = client.wait(job.id)
    assert last.state == jobs.JOB_STATE_SUCCEEDED, last.error
    assert last.model.version > 1
    assert model_bytes(client, "tiny", last.model.version) != model_bytes(client, "tiny", 1)
    first = metrics(client, job.id)[0].values["train_loss"]
    scratch = metrics(client, undisturbed[0].id)[0].values["train_loss"]
    assert first < scratch
    # Where the weights come from, newest first.
    steps = list(client.models.GetLineage(models.GetLineageRequest(model=last.model)).steps)
    assert [s.how for s in steps] == ["finetune", "train"] and steps[0].model == last.model
    assert steps[0].parent == steps[1].model == ref and not steps[1].HasField("parent")
    assert [s.job_id for s in steps] == [job.id, undisturbed[0].id] and {s.dataset for s in steps} == {data}
    assert [s.how for s in client.models.GetLineage(models.GetLineageRequest(model=common.ModelRef(name="nuclei"))).steps] == [
        "import"]


def test_what_cannot_be_run_is_refused_before_anything_is_kept(client, data):
    before = len(client.jobs.List(jobs.ListJobsRequest()).jobs)
    refused(C.INVALID_ARGUMENT, lambda: start(client, spec(data, architecture="resnet")), "unetr")
    refused(C.INVALID_ARGUMENT, lambda: start(client, spec(data, recipe="colours")), "boundaries")
    refused(C.INVALID_ARGUMENT, lambda: start(client, spec(data, model="../x")), "model_name")
    refused(C.INVALID_ARGUMENT, lambda: start(client, spec(data, colour=1)), "colour", "Describe")
    refused(C.INVALID_ARGUMENT, lambda: start(client, spec(data, batch=0)), "batch", "1024")
    refused(C.INVALID_ARGUMENT, lambda: start(client, spec(data, batch=1.5)), "whole")
    refused(C.INVALID_ARGUMENT, lambda: start(client, spec(data, batch="two")), "number")
    refused(C.INVALID_ARGUMENT, lambda: start(client, spec(data, optimizer="sgd")), "adam|adamw")
    refused(C.INVALID_ARGUMENT, lambda: start(client, spec(data, patch=50)), "50")
    refused(C.NOT_FOUND, lambda: start(client, spec("nothing")), "nothing")
    refused(C.NOT_FOUND, lambda: start(client, spec(data, initial=common.ModelRef(name="none"))), "none")
    create(client, "no-validation")
    add(client, "no-validation", "a.png", (IMAGES / "dsb_0147.png").read_bytes(), (IMAGES / "dsb_0147.labels.png").read_bytes())
    refused(C.FAILED_PRECONDITION, lambda: start(client, spec("no-validation")), "0 for validation")
    refused(C.NOT_FOUND, lambda: metrics(client, "nonsense"), "nonsense")
    assert len(client.jobs.List(jobs.ListJobsRequest()).jobs) == before


def test_a_run_is_paused_resumed_given_another_rate_and_cancelled(client, data):
    job = start(client, spec(data, model="paused", iterations=100000, validate_every=100000, checkpoint_every=100000)).job
    wait_for(client, job.id, reached(5))
    client.training.Pause(training.PauseTrainingRequest(job_id=job.id))
    paused = wait_for(client, job.id, lambda j: j.state == jobs.JOB_STATE_PAUSED)
    assert "owner" in paused.error.message and paused.training.latest_step >= 5
    refused(C.FAILED_PRECONDITION, lambda: client.jobs.Delete(jobs.DeleteJobRequest(id=job.id)), "paused")
    refused(C.FAILED_PRECONDITION, lambda: client.datasets.Delete(datasets.DeleteDatasetRequest(name=data)), job.id)
    client.training.SetLearningRate(training.SetLearningRateRequest(job_id=job.id, learning_rate=3e-5))
    refused(C.INVALID_ARGUMENT, lambda: client.training.SetLearningRate(
        training.SetLearningRateRequest(job_id=job.id, learning_rate=2)), "at most 1")
    resumed = client.training.Resume(training.ResumeTrainingRequest(job_id=job.id)).job
    assert resumed.state in (jobs.JOB_STATE_QUEUED, jobs.JOB_STATE_RUNNING)
    wait_for(client, job.id, reached(paused.progress.tiles_done + 5))
    client.jobs.Cancel(jobs.CancelJobRequest(id=job.id))
    told = {m.step: m.values for m in metrics(client, job.id)}
    assert sorted(told) == list(range(1, len(told) + 1))
    assert told[paused.training.latest_step]["learning_rate"] == 3e-3
    assert told[paused.training.latest_step + 5]["learning_rate"] == 3e-5
    assert get(client, job.id).state == jobs.JOB_STATE_CANCELLED
    client.jobs.Delete(jobs.DeleteJobRequest(id=job.id))
    refused(C.NOT_FOUND, lambda: metrics(client, job.id), job.id)


def test_a_segmentation_does_not_wait_for_a_run(client, data):
    job = start(client, spec(data, model="busy", iterations=100000, validate_every=100000, patch=256, features=16)).job
    wait_for(client, job.id, lambda j: j.state == jobs.JOB_STATE_RUNNING)
    image = (IMAGES / "dsb_0161.png").read_bytes()
    assert client.segment(image, timeout=60).result.object_count > 0
    submitted = client.submit(image).job
    assert client.wait(submitted.id).state == jobs.JOB_STATE_SUCCEEDED
    assert get(client, job.id).state == jobs.JOB_STATE_RUNNING
    client.jobs.Cancel(jobs.CancelJobRequest(id=job.id))


def kill_worker(daemon):
    for pid in daemon.worker_pids():
        os.kill(pid, signal.SIGKILL)


def kill_daemon(daemon):
    daemon.kill()
    daemon.start()


def stop_daemon(daemon):
    assert daemon.terminate() == 0
    daemon.start()


def test_killed_and_stopped_runs_give_the_bytes_of_one_that_was_left_alone(client, data, own_daemon):
    longer = {"model": "long", "iterations": 200, "validate_every": 50}  # so that it has not ended before the last disturbance
    alone = client.wait(start(client, spec(data, **longer)).job.id)
    assert alone.state == jobs.JOB_STATE_SUCCEEDED, alone.error
    own_daemon.start()
    here = Client(own_daemon.channel())
    job = start(here, spec(fill(here), **longer)).job
    for step, disturb in [(3, kill_worker), (25, kill_daemon), (52, kill_worker), (75, stop_daemon), (98, kill_daemon)]:
        here = Client(own_daemon.channel())
        assert wait_for(here, job.id, reached(step)).state in (jobs.JOB_STATE_QUEUED, jobs.JOB_STATE_RUNNING)
        disturb(own_daemon)
    here = Client(own_daemon.channel())
    last = here.wait(job.id)
    assert last.state == jobs.JOB_STATE_SUCCEEDED, last.error
    assert model_bytes(here, "long") == model_bytes(client, "long")
    losses = lambda notes: [(m.step, m.values["train_loss"]) for m in notes]
    assert losses(metrics(here, job.id)) == losses(metrics(client, alone.id))
    assert [m.version for m in here.models.List(models.ListModelsRequest()).models if m.name == "long"] == [1]


def test_a_full_disk_pauses_the_run_and_loses_nothing(client, undisturbed, tmp_path):
    from conftest import Daemon
    d = Daemon(tmp_path / "data").start()
    try:
        here = Client(d.channel())
        fill(here)
        used = sum(f.stat().st_size for f in (d.data / "blobs").iterdir())
        d.terminate()
        # Room for the list of images, not for a checkpoint.
        d.arguments += ["--disk-cap", str(used + 8192)]
        d.start()
        here = Client(d.channel())
        job = start(here, spec("nuclei-data")).job
        paused = wait_for(here, job.id, lambda j: j.state != jobs.JOB_STATE_QUEUED and j.state != jobs.JOB_STATE_RUNNING)
        assert paused.state == jobs.JOB_STATE_PAUSED and "cap" in paused.error.message, paused
        d.terminate()
        d.arguments = d.arguments[:-2]
        d.start()
        here = Client(d.channel())
        assert get(here, job.id).state == jobs.JOB_STATE_PAUSED
        here.training.Resume(training.ResumeTrainingRequest(job_id=job.id))
        assert here.wait(job.id).state == jobs.JOB_STATE_SUCCEEDED
        assert model_bytes(here, "tiny") == model_bytes(client, "tiny", 1)
    finally:
        d.stop()
