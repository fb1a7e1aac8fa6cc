"""What grpcurl does: every service listed and every method called with nothing but what the server tells of itself. No
generated code of bioseg's protos is used here; the messages are made from the descriptors that reflection gives."""
import json
import shutil
import subprocess

import grpc
import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

C = grpc.StatusCode
# What each service answers to a request that asks for nothing wrong: method, request, what its answer must hold.
GOOD = {
    "bioseg.v1.Server": ("GetInfo", {}, "version"),
    "bioseg.v1.Models": ("List", {"page": {"size": 5}}, "models"),
    "bioseg.v1.Jobs": ("List", {}, None),
    "bioseg.v1.Datasets": ("List", {}, None),
    "bioseg.v1.Training": ("Describe", {"architecture": "unet"}, "parameters"),
    "grpc.health.v1.Health": ("Check", {}, "status"),
}
# Services of later versions say so, every method of them.
LATER = ("bioseg.v1.Admin",)
# A request without content: refused by name of what is missing, or an answer.
REFUSALS = {C.INVALID_ARGUMENT, C.NOT_FOUND, C.UNIMPLEMENTED}


class Reflected:
    def __init__(self, channel):
        self.channel = channel
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self.pool = descriptor_pool.DescriptorPool(self.database)

    def services(self):
        return {name: self.pool.FindServiceByName(name) for name in self.database.get_services()}

    def call(self, method, request, timeout=20):
        """The first answer to one request, whatever the kind of the method; raises what the server refuses with."""
        ask = message_factory.GetMessageClass(method.input_type)
        tell = message_factory.GetMessageClass(method.output_type)
        kind = ("stream" if method.client_streaming else "unary") + "_" + ("stream" if method.server_streaming else "unary")
        stub = getattr(self.channel, kind)(f"/{method.containing_service.full_name}/{method.name}", ask.SerializeToString,
                                           tell.FromString)
        message = json_format.ParseDict(request, ask())
        answer = stub(iter([message]) if method.client_streaming else message, timeout=timeout)
        if method.server_streaming:
            first = next(iter(answer))
            answer.cancel()
            return first
        return answer


@pytest.fixture(scope="module")
def reflected(daemon, client):
    return Reflected(daemon.channel())


def test_every_service_is_listed_and_described(reflected):
    services = reflected.services()
    assert set(GOOD) | set(LATER) | {"bioseg.v1.Segmentation"} <= set(services)
    assert sum(n.startswith("grpc.reflection.") for n in services) == 2
    assert all(s.methods for s in services.values())


@pytest.mark.parametrize("service", sorted(GOOD))
def test_one_call_of_each_service_that_is_there_succeeds(reflected, service):
    name, request, field = GOOD[service]
    answer = reflected.call(reflected.services()[service].methods_by_name[name], request)
    assert field is None or getattr(answer, field)


def test_an_image_is_segmented_with_nothing_but_reflection(reflected):
    method = reflected.services()["bioseg.v1.Segmentation"].methods_by_name["Segment"]
    answer = reflected.call(method, {
        "spec": {"model": {"name": "nuclei"}},
        "image": {"encoding": "IMAGE_ENCODING_RAW", "sampleType": "SAMPLE_TYPE_UINT8",
                  "axes": [{"name": "y", "size": 8}, {"name": "x", "size": 8}]},
        "pixels": "AAECAwQFBgcICQoLDA0ODwABAgMEBQYHCAkKCwwNDg8AAQIDBAUGBwgJCgsMDQ4PAAECAwQFBgcICQoLDA0ODw=="})
    assert len(answer.labels) == 4 * 64 and answer.result.provenance.model_name == "nuclei"


def test_every_method_answers_an_empty_request_or_refuses_it_in_words(reflected):
    answered = set()
    for name, service in reflected.services().items():
        for method in service.methods:
            if name.startswith("grpc.reflection."):
                continue  # in use all the time here
            try:
                reflected.call(method, {})
                assert name not in LATER, method.full_name
                answered.add(method.full_name)
            except grpc.RpcError as error:
                assert error.code() in REFUSALS, (method.full_name, error.code(), error.details())
                assert len(error.details()) > 10, (method.full_name, error.details())
                if name in LATER:
                    assert error.code() == C.UNIMPLEMENTED and "later version" in error.details(), method.full_name
    assert {"bioseg.v1.Server.GetInfo", "bioseg.v1.Models.List", "bioseg.v1.Jobs.List", "grpc.health.v1.Health.Check",
            "grpc.health.v1.Health.Watch"} <= answered


@pytest.mark.skipif(not shutil.which("grpcurl"), reason="grpcurl is not installed")
def test_grpcurl_lists_and_calls(daemon, client):
    def grpcurl(*words):
        return subprocess.run(["grpcurl", "-plaintext", "-unix", f"{daemon.data}/biosegd.sock", *words], capture_output=True,
                              text=True, timeout=60)

    listed = grpcurl("list").stdout.split()
    assert set(GOOD) | set(LATER) <= set(listed)
    for service in listed:
        assert grpcurl("list", service).stdout.split(), service
        assert "service" in grpcurl("describe", service).stdout, service
    for service, (name, request, field) in GOOD.items():
        done = grpcurl("-d", json.dumps(request), f"{service}/{name}")
        assert done.returncode == 0 and (field is None or field in done.stdout), done.stderr
    for service in LATER:
        done = grpcurl(grpcurl("list", service).stdout.split()[0])
        assert done.returncode != 0 and "later version" in done.stderr, done.stderr
