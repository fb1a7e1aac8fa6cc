"""While a run goes on: its best weights segment like a model, and a picture shows what the network makes of a validation image."""
import grpc
import numpy as np
import pytest

from bioseg.v1 import common_pb2 as common
from bioseg.v1 import jobs_pb2 as jobs
from bioseg.v1 import models_pb2 as models
from bioseg.v1 import segmentation_pb2 as segmentation
from bioseg.v1 import training_pb2 as training
from conftest import default_spec, refused
from test_training import IMAGES, fill, metrics, spec, start, wait_for

C = grpc.StatusCode
LONG = {"iterations": 100000, "validate_every": 10, "checkpoint_every": 10}
SMALL_RUN = {"iterations": 1, "validate_every": 1, "batch": 1}


def segment(client, name):
    request = segmentation.SegmentRequest(spec=default_spec(model=common.ModelRef(name=name)),
                                          pixels=(IMAGES / "dsb_0147.png").read_bytes(),
                                          image=common.ImageDescription(encoding=common.IMAGE_ENCODING_FILE))
    return client.segmentation.Segment(request)


def sample(client, job_id):
    return client.training.GetSample(training.GetSampleRequest(job_id=job_id))


def pause(client, job_id):
    client.training.Pause(training.PauseTrainingRequest(job_id=job_id))
    return wait_for(client, job_id, lambda j: j.state == jobs.JOB_STATE_PAUSED)


@pytest.fixture(scope="module")
def data(client):
    return fill(client, "best-so-far")


@pytest.fixture(scope="module")
def run(client, data):
    """A run that was validated some times and waits, and a segmentation from before."""
    job = start(client, spec(data, model="unfinished", **LONG)).job
    wait_for(client, job.id, lambda j: j.training.WhichOneof("best_presence"))
    while_it_ran = segment(client, f"job:{job.id}")
    yield pause(client, job.id), while_it_ran
    client.jobs.Cancel(jobs.CancelJobRequest(id=job.id))


def test_the_best_weights_so_far_segment_and_are_named_with_their_step(client, run):
    job, while_it_ran = run
    name = f"job:{job.id}"
    answer = segment(client, name)
    origin, before = answer.result.provenance, while_it_ran.result.provenance
    assert origin.model_name == before.model_name == name
    assert 0 < before.model_version <= origin.model_version == job.training.best_step
    assert before.model_version == origin.model_version or before.model_sha256 != origin.model_sha256
    described = client.models.Get(models.GetModelRequest(model=common.ModelRef(name=name))).model
    assert (described.name, described.version, described.architecture) == (name, origin.model_version, "unet")
    assert described.parameters
    # They are no version of anything: nothing is listed under the run's name.
    assert not [m for m in client.models.List(models.ListModelsRequest(include_untrained=True)).models
                if m.name in (name, "unfinished")]


def test_better_weights_take_the_place_of_those_before(client, data):
    job = start(client, spec(data, model="better", **{**LONG, "iterations": 60})).job
    client.wait(job.id)
    told = [m for m in metrics(client, job.id) if "validation_loss" in m.values]
    origin = segment(client, f"job:{job.id}").result.provenance
    assert origin.model_version == min(told, key=lambda m: m.values["validation_loss"]).step


def test_what_a_run_has_not_is_refused(client, data, run):
    job, _ = run
    waiting = start(client, spec(data, model="waits", **{**LONG, "validate_every": 100000})).job
    refused(C.NOT_FOUND, lambda: segment(client, f"job:{waiting.id}"), "validated")
    refused(C.NOT_FOUND, lambda: sample(client, waiting.id), "validated")
    client.jobs.Cancel(jobs.CancelJobRequest(id=waiting.id))
    refused(C.NOT_FOUND, lambda: segment(client, "job:nonsense"), "nonsense")
    refused(C.NOT_FOUND, lambda: sample(client, "nonsense"), "nonsense")
    best = common.ModelRef(name=f"job:{job.id}")
    refused(C.INVALID_ARGUMENT, lambda: start(client, spec(data, initial=best)), "model.name")
    model = lambda **what: client.models.Get(models.GetModelRequest(model=common.ModelRef(name=f"job:{job.id}", **what))).model
    assert model(version=1).version == model(version=job.training.best_step).version == job.training.best_step
    refused(C.NOT_FOUND, lambda: model(version=job.training.best_step + 1), "step")
    refused(C.INVALID_ARGUMENT, lambda: model(alias="production"), "aliases")
    image = (IMAGES / "dsb_0147.png").read_bytes()
    first = jobs.SubmitJobRequest(start=jobs.SubmitJobStart(
        segment=default_spec(model=best), image=common.ImageDescription(encoding=common.IMAGE_ENCODING_FILE),
        total_bytes=len(image)))
    refused(C.INVALID_ARGUMENT, lambda: client.jobs.Submit(iter([first])), "wait")


def test_a_picture_of_the_last_validation_is_kept_and_announced(client, run):
    job, _ = run
    picture = sample(client, job.id)
    assert (picture.height, picture.width, picture.reduction) == (64, 64, 1)
    assert picture.channels == 1 and picture.target_channels == 2
    planes = np.frombuffer(picture.planes, np.uint8).reshape(5, 64, 64)
    assert planes[0].min() == 0 and planes[0].max() == 255
    assert set(np.unique(planes[1])) == {0, 255}  # the foreground's target
    assert len(np.unique(planes[3])) > 10
    announced = [m.step for m in metrics(client, job.id) if m.has_sample]
    assert announced[-1] == picture.step and announced == list(range(10, picture.step + 1, 10))


def test_large_pictures_are_reduced(client, data):
    job = start(client, spec(data, model="large", **{**SMALL_RUN, "patch": 272})).job
    client.wait(job.id)
    picture = sample(client, job.id)
    assert (picture.height, picture.width, picture.reduction) == (136, 136, 2)
    assert len(picture.planes) == 5 * 136 * 136
