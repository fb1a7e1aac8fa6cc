"""bioimage.io packages of `bioseg models export`, judged by bioimageio.core's own test."""
import zipfile

import numpy as np
import pytest
from bioimageio.core import test_model as judge
from bioimageio.spec import load_model_description
from conftest import CLOSE
from original import torch_em  # noqa: F401 (bioimageio.core imports it by name to make the network)

GIVEN = ["--author", "A. Person; Some Institute", "--author", "B. Person", "--licence", "CC0-1.0", "--title", "nuclei of the tests"]


@pytest.fixture(scope="module")
def package(bioseg, tmp_path_factory):
    return bioseg.export("nuclei", "bioimageio", tmp_path_factory.mktemp("package") / "nuclei.zip", *GIVEN)


@pytest.fixture(scope="module")
def unetr_package(bioseg, tmp_path_factory):
    return bioseg.export("mini-unetr", "bioimageio", tmp_path_factory.mktemp("package") / "unetr.zip", *GIVEN)


@pytest.mark.parametrize("weights", ["onnx", "pytorch_state_dict"])
def test_bioimageio_core_finds_its_own_test_passed(package, weights):
    summary = judge(package, weight_format=weights)
    assert summary.status == "passed", summary.format()


def test_so_it_does_for_a_unetr(unetr_package):
    summary = judge(unetr_package, weight_format="onnx")
    assert summary.status == "passed", summary.format()


def test_the_description_says_what_was_given_and_what_the_model_is(package):
    model = load_model_description(package)
    assert [(a.name, a.affiliation) for a in model.authors] == [("A. Person", "Some Institute"), ("B. Person", None)]
    assert model.license == "CC0-1.0" and model.name == "nuclei of the tests"
    batch, channel, y, x = model.inputs[0].axes
    assert (y.size.min, y.size.step) == (x.size.min, x.size.step) == (32, 16)
    assert model.outputs[0].axes[1].channel_names == ["foreground", "center_distance", "boundary_distance"]
    assert any(p.id == "zero_mean_unit_variance" for p in model.inputs[0].preprocessing)
    assert model.weights.pytorch_state_dict.architecture.callable == "UNet2d"


def test_the_daemon_computes_the_test_output_from_the_test_input(bioseg, package):
    with zipfile.ZipFile(package) as archive:
        assert archive.testzip() is None
        image, output = (np.load(archive.open(f"test_{what}.npy")) for what in ("input", "output"))
    np.testing.assert_allclose(bioseg.maps("nuclei", image[0, 0]), output[0], **CLOSE)


@pytest.mark.parametrize("missing, said", [(["--author"], "authors"), (["--title"], "5 to 64 letters"), (["--licence"], "SPDX")])
def test_nothing_that_people_must_say_is_made_up(bioseg, tmp_path, missing, said):
    given = {"--author": "A. Person", "--licence": "CC0-1.0", "--title": "a title"}
    for option in missing:
        given.pop(option)
    if "--licence" in missing:
        given["--licence"] = "do what you like"
    if "--title" in missing:
        given["--title"] = "a/b"
    options = [word for pair in given.items() for word in pair]
    path = tmp_path / "package.zip"
    assert said in bioseg.run("models", "export", "nuclei", "--format", "bioimageio", "-o", path, *options, code=2)
    assert not list(tmp_path.iterdir())


def test_a_model_without_a_licence_of_its_own_needs_one(bioseg, tmp_path):
    said = bioseg.run("models", "export", "golden", "--format", "bioimageio", "-o", tmp_path / "x.zip", "--author", "A. Person",
                      "--title", "a title", code=2)
    assert "states a licence" in said


def test_a_vimunet_is_refused(bioseg, tmp_path):
    said = bioseg.run("models", "export", "mini-vimunet", "--format", "bioimageio", "-o", tmp_path / "x.zip", *GIVEN, code=6)
    assert "selective scan" in said and not list(tmp_path.iterdir())
