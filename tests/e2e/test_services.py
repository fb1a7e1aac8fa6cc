"""What is there: information, health, reflection, and clear words for what is not there yet."""
import threading

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from bioseg.v1 import admin_pb2, comparisons_pb2, datasets_pb2, jobs_pb2, models_pb2, segmentation_pb2, server_pb2, training_pb2
from conftest import refused

FILES = [server_pb2, segmentation_pb2, models_pb2, jobs_pb2, datasets_pb2, training_pb2, comparisons_pb2, admin_pb2]


def every_method():
    for f in FILES:
        for service in f.DESCRIPTOR.services_by_name.values():
            for m in service.methods:
                yield f"/{service.full_name}/{m.name}", m


def call(channel, path, method, metadata=None):
    """Any method with an empty message, whatever its shape; returns status and details."""
    try:
        answers = channel.stream_stream(path, lambda b: b, lambda b: b)(iter([b""]), timeout=10, metadata=metadata)
        list(answers)
        return grpc.StatusCode.OK, ""
    except grpc.RpcError as e:
        return e.code(), e.details()


def test_info_tells_version_features_limits_and_device(client):
    info = client.server.GetInfo(server_pb2.GetInfoRequest())
    assert info.version and info.api_level == 1
    assert {"segment", "segment-stream", "jobs", "models-import"} <= set(info.features)
    assert info.limits.max_chunk_bytes == 1 << 20
    assert len(info.devices) == 1 and info.devices[0].ready and info.devices[0].threads >= 1


def test_every_method_answers_or_says_that_it_comes_later(daemon, client):
    methods = list(every_method())
    assert len(methods) >= 44
    for path, m in methods:
        code, details = call(daemon.channel(), path, m)
        later = "Admin" in path
        if later:
            assert code == grpc.StatusCode.UNIMPLEMENTED, (path, code)
            assert "later version" in details and "GetInfo" in details
        else:
            assert code in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT), (path, code, details)


def test_a_method_that_does_not_exist_is_unimplemented(daemon):
    code, details = call(daemon.channel(), "/bioseg.v1.Server/Nonsense", None)
    assert code == grpc.StatusCode.UNIMPLEMENTED and "reflection" in details


def test_health_is_serving_for_the_server_and_each_service(daemon):
    health = health_pb2_grpc.HealthStub(daemon.channel())
    for service in ("", "bioseg.v1.Segmentation", "bioseg.v1.Jobs"):
        assert health.Check(health_pb2.HealthCheckRequest(service=service)).status == health_pb2.HealthCheckResponse.SERVING
    refused(grpc.StatusCode.NOT_FOUND, lambda: health.Check(health_pb2.HealthCheckRequest(service="nonsense")))
    watch = health.Watch(health_pb2.HealthCheckRequest(service="nonsense"))
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_lists_services_and_describes_them(daemon, version):
    info = daemon.channel().stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString, reflection_pb2.ServerReflectionResponse.FromString)
    questions = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="bioseg.v1.Jobs.Submit"),
        reflection_pb2.ServerReflectionRequest(file_by_filename="bioseg/v1/common.proto"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="bioseg.v1.Nonsense"),
    ]
    answers = list(info(iter(questions), timeout=10))
    services = {s.name for s in answers[0].list_services_response.service}
    assert {"bioseg.v1." + n for n in ("Server", "Segmentation", "Models", "Jobs", "Datasets", "Training", "Admin")} <= services
    assert "grpc.health.v1.Health" in services and f"grpc.reflection.{version}.ServerReflection" in services
    names = {descriptor_pb2.FileDescriptorProto.FromString(f).name
             for f in answers[1].file_descriptor_response.file_descriptor_proto}
    assert {"bioseg/v1/jobs.proto", "bioseg/v1/common.proto", "bioseg/v1/segmentation.proto"} <= names
    assert len(answers[2].file_descriptor_response.file_descriptor_proto) == 1
    assert answers[3].error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


def test_many_watchers_at_once_do_not_stop_work(daemon, client):
    health = health_pb2_grpc.HealthStub(daemon.channel())
    watches = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(60)]
    threads = [threading.Thread(target=next, args=(w,)) for w in watches]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert client.server.GetInfo(server_pb2.GetInfoRequest(), timeout=5).version
    for w in watches:
        w.cancel()
