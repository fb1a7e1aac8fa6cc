"""The generated messages that the package ships are those of proto/."""
import shutil
import subprocess

import pytest

import bioseg
from bioseg._requests import METHODS
from bioseg.v1 import datasets_pb2, jobs_pb2, models_pb2, segmentation_pb2, server_pb2, training_pb2
from daemon import ROOT


def test_the_shipped_messages_are_generated_from_the_protocol(tmp_path):
    if not shutil.which("protoc"):
        pytest.skip("protoc is not installed")
    version = subprocess.run(["protoc", "--version"], capture_output=True, text=True, check=True).stdout
    if "3.21" not in version:
        pytest.skip(f"other protoc than the one that wrote them: {version}")
    subprocess.run([ROOT / "clients" / "python" / "generate.sh", tmp_path], check=True)
    fresh = sorted((tmp_path / "bioseg" / "v1").iterdir())
    assert len(fresh) >= 16
    for path in fresh:
        shipped = ROOT / "clients" / "python" / "src" / "bioseg" / "v1" / path.name
        assert shipped.read_text() == path.read_text(), f"{path.name} is out of date: run clients/python/generate.sh"


def test_every_method_is_called_as_the_protocol_declares_it():
    declared = {}
    for module in (datasets_pb2, jobs_pb2, models_pb2, segmentation_pb2, server_pb2, training_pb2):
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                declared[f"{service.name}/{method.name}"] = (method.input_type.name, method.output_type.name)
    for name, (_, request, response) in METHODS.items():
        assert declared[name] == (request.DESCRIPTOR.name, response.DESCRIPTOR.name)
    assert bioseg.Client.segment.__doc__
