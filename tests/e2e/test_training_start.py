"""Before a run: all that is wrong with a dataset is told at once, and a dry run says what would be."""
import json

import grpc
import numpy as np

from bioseg.v1 import common_pb2 as common
from bioseg.v1 import datasets_pb2 as datasets
from bioseg.v1 import jobs_pb2 as jobs
from conftest import refused
from test_annotation import PREDICTED, Annotation, Region, add
from test_datasets import TRAIN, VALIDATION, create, squares
from test_training import spec, start

C = grpc.StatusCode


def fill(client, name):
    create(client, name)
    add(client, name, "good.tif", *squares(48, 64, 1))
    add(client, name, "other.tif", *squares(48, 64, 2), split=VALIDATION)


def dry(client, what):
    answer = start(client, what, dry_run=True)
    assert not answer.HasField("job") and not answer.existing
    return answer.plan


def test_a_dry_run_tells_the_plan_and_starts_nothing(client):
    fill(client, "planned")
    add(client, "planned", "guess.tif", *squares(48, 64, 3), annotation=Annotation(origin=PREDICTED))
    before = len(client.jobs.List(jobs.ListJobsRequest()).jobs)
    plan = dry(client, spec("planned", patch=32))
    assert (plan.train_count, plan.validation_count, list(plan.left_out)) == (1, 1, ["guess.tif"])
    assert (plan.steps, plan.steps_per_epoch, plan.problem_count, plan.warning_count) == (40, 1, 0, 0)
    # At least value, gradient and two moments of each; the narrower network takes less, frozen parts are not trained.
    assert plan.parameters > 1000 and plan.planned_bytes > 16 * plan.parameters
    wide = dry(client, spec("planned", patch=32, features=8))
    assert wide.parameters > 3 * plan.parameters and wide.planned_bytes > plan.planned_bytes
    refused(C.RESOURCE_EXHAUSTED, lambda: dry(client, spec("planned", patch=8192, batch=64, features=64)))
    assert json.loads(plan.config_json)["batch"] == 2 and not plan.findings
    assert dry(client, spec("planned", patch=32, epochs=5, epoch_samples=7)).steps == 5 * 4
    assert len(client.jobs.List(jobs.ListJobsRequest()).jobs) == before
    run = start(client, spec("planned", patch=32, iterations=1))
    assert run.job.training.dataset_sha256 == plan.dataset_sha256 and not run.warnings
    client.wait(run.job.id)


def test_all_problems_are_told_at_once_with_the_names_of_files(client):
    fill(client, "wrong")
    image, labels = squares(48, 64, 4)
    add(client, "wrong", "flat.tif", np.full((48, 64), 7, np.uint8), labels)
    add(client, "wrong", "nothing.tif", image, labels, annotation=Annotation(ignored=[Region()]))
    add(client, "wrong", "colours.tif", common_image := np.stack([image, image[::-1], image]), np.stack([labels] * 3))
    add(client, "wrong", "untouched.tif", image[::-1].copy(), labels[::-1].copy(), labels[::-1].copy(),
        annotation=Annotation(origin=PREDICTED))
    add(client, "wrong", "empty.tif", image[:, ::-1].copy(), np.zeros_like(labels))
    error = refused(C.FAILED_PRECONDITION, lambda: start(client, spec("wrong", patch=64)), "3 problems", "flat.tif", "nothing.tif")
    plan = dry(client, spec("wrong", patch=64))
    problems = {(f.kind, f.pair) for f in plan.findings if not f.warning}
    assert problems == {("constant", "flat.tif"), ("nothing_counts", "nothing.tif"), ("nothing_counts", "untouched.tif")}
    assert plan.planned_bytes == plan.parameters == 0  # nothing to plan for
    assert plan.problem_count == 3 and not any(f.warning for f in plan.findings[:3])
    assert all(f.pair in f.text for f in plan.findings if f.pair)
    warnings = {(f.kind, f.pair) for f in plan.findings if f.warning}
    assert ("empty", "empty.tif") in warnings and {("small", n) for n in ("good.tif", "other.tif", "colours.tif")} <= warnings
    assert plan.warning_count == len(plan.findings) - 3 and common_image.ndim == 3
    assert dict(error.trailing_metadata())["bioseg-reason"] == "dataset-problems"


def test_what_is_odd_but_can_be_trained_on_is_told_with_the_run(client):
    fill(client, "odd")
    run = start(client, spec("odd", patch=64, iterations=1))
    assert {(w.kind, w.pair, w.warning) for w in run.warnings} == {("small", "good.tif", True), ("small", "other.tif", True)}
    client.wait(run.job.id)
