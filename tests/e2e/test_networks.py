"""Every architecture through the daemon: imported, described with its card, left out of the default list while UNTRAINED,
segmented with a warning, switched under a memory budget. Formula weights, so labels mean nothing here."""
import subprocess

import numpy as np
import pytest

from bioseg.v1 import common_pb2 as common
from bioseg.v1 import jobs_pb2 as jobs
from bioseg.v1 import models_pb2 as models
from bioseg.v1 import server_pb2 as server
from conftest import BIN, SAMPLE, Client, Daemon, blobs, default_spec

MINI = ("mini-unetr", "mini-vimunet")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Model files by (network, seed), made when asked for."""
    folder, made = tmp_path_factory.mktemp("formula"), {}

    def make(network, seed=1):
        path = folder / f"{network}-{seed}.safetensors"
        if (network, seed) not in made:
            subprocess.run([str(BIN / "make_formula_model"), network, str(path), str(seed)], check=True)
            made[network, seed] = path.read_bytes()
        return made[network, seed]

    return make


def spec_of(name, **fields):
    return default_spec(model=common.ModelRef(name=name), **fields)


def names(client, **fields):
    return {m.name for m in client.models.List(models.ListModelsRequest(**fields)).models}


def info(client):
    return client.server.GetInfo(server.GetInfoRequest()).devices[0]


@pytest.mark.parametrize("network", MINI)
def test_a_transformer_is_served_and_warns_that_it_is_untrained(client, files, network):
    model = client.import_model(network, files(network))
    assert model.architecture == network.removeprefix("mini-") and model.input_channels == 3 and model.output_channels == 3
    assert model.state == models.MODEL_STATE_UNTRAINED and not model.trained
    image = blobs(90, 120)
    spec = spec_of(network, outputs=[common.OUTPUT_LABELS, common.OUTPUT_MAPS])
    answer = client.segment(image, spec)
    assert (answer.result.height, answer.result.width) == (90, 120) and len(answer.labels) == 4 * 90 * 120
    maps = np.frombuffer(answer.maps, np.float32)
    assert maps.size == 3 * 90 * 120 and 0 <= maps.min() < maps.max() <= 1
    assert "untrained_model" in {w.code for w in answer.result.warnings}
    # The same over a job: the warning is kept with the result.
    job = client.wait(client.submit(image, spec=spec).job.id)
    assert job.state == jobs.JOB_STATE_SUCCEEDED
    first = next(client.jobs.GetResult(jobs.GetJobResultRequest(id=job.id)))
    assert "untrained_model" in {w.code for w in first.start.result.warnings}


def test_untrained_models_are_listed_only_when_asked_for(client, files):
    client.import_model("mini-vimunet", files("mini-vimunet"))
    assert "mini-vimunet" not in names(client) and "nuclei" in names(client)
    assert {"mini-vimunet", "nuclei"} <= names(client, include_untrained=True)
    assert client.models.Get(models.GetModelRequest(model=common.ModelRef(name="nuclei"))).model.state == models.MODEL_STATE_READY


@pytest.mark.parametrize("network", ("nuclei", *MINI))
def test_a_card_says_what_a_model_costs(client, files, network):
    if network in MINI:
        client.import_model(network, files(network))
    ask = models.GetModelRequest(model=common.ModelRef(name=network))
    assert not client.models.Get(ask).model.HasField("card")
    ask.with_card = True
    model = client.models.Get(ask).model
    card = model.card
    assert card.parameters == model.weight_count > 0 and card.flops > 0 and card.tile_px > 0 and not card.plans
    ask.with_plans = True
    plans = {(p.batch, p.precision): p for p in client.models.Get(ask).model.card.plans}
    assert {(1, "fp32"), (4, "fp32")} <= set(plans)
    for p in plans.values():
        assert p.peak_bytes == p.arena_bytes + p.weight_bytes + p.window_bytes and p.algorithms
    assert plans[1, "fp32"].peak_bytes < plans[4, "fp32"].peak_bytes


def test_the_command_line_marks_untrained_models_and_passes_the_warning_on(daemon, client, files, tmp_path):
    client.import_model("mini-unetr", files("mini-unetr"))

    def bioseg(*words):
        done = subprocess.run([str(BIN / "bioseg"), "--server", f"unix:{daemon.data}/biosegd.sock", *map(str, words)],
                              capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    assert "mini-unetr" not in bioseg("models", "list")[1]
    assert "UNTRAINED" in bioseg("models", "list", "--untrained")[1]
    code, out, _ = bioseg("models", "describe", "mini-unetr", "--memory")
    assert code == 0 and "UNTRAINED" in out and "flops" in out and "peak_bytes" in out
    code, out, error = bioseg("segment", "-m", "mini-unetr", "-o", tmp_path / "out", SAMPLE)
    assert code == 0 and "UNTRAINED" in error, error


def test_models_take_turns_under_the_budget(files, tmp_path):
    """Three models, room for two: every request names another one; the one used least recently goes."""
    image = blobs(64, 64)
    kinds = {"a": ("mini-vimunet", 1), "b": ("mini-vimunet", 2), "c": ("mini-vimunet", 3)}
    probe = Daemon(tmp_path / "probe", listen="none").start()
    try:
        client = Client(probe.channel())
        client.import_model("a", files(*kinds["a"]))
        client.segment(image, spec_of("a"))
        one = info(client).resident_bytes
        assert one > 0 and info(client).resident_models == 1 and info(client).model_budget_bytes > one
    finally:
        probe.stop()
    d = Daemon(tmp_path / "data", "--model-budget", str(one * 5 // 2), listen="none").start()
    try:
        client = Client(d.channel())
        for name, kind in kinds.items():
            client.import_model(name, files(*kind))
        assert info(client).model_budget_bytes == one * 5 // 2
        used = []
        for name in "abcabcba":
            assert client.segment(image, spec_of(name)).result.provenance.model_name == name
            used.append(name)
            there = {m.name: m.resident_bytes for m in client.models.List(models.ListModelsRequest(include_untrained=True)).models
                     if m.loaded}
            last = [n for i, n in enumerate(used) if n not in used[i + 1:]][-2:]
            assert set(there) == set(last) and all(there.values())
            device = info(client)
            assert device.resident_models == len(there) and device.resident_bytes == sum(there.values()) <= one * 5 // 2
        ref = common.ModelRef(name="a")
        client.models.Unload(models.UnloadModelRequest(model=ref))
        assert not client.models.Get(models.GetModelRequest(model=ref)).model.loaded
        loaded = client.models.Load(models.LoadModelRequest(model=ref)).model
        assert loaded.loaded and info(client).resident_bytes <= one * 5 // 2
    finally:
        d.stop()
