"""The Connect panel: what works, and for each thing that does not, a sentence that says what to do."""
import concurrent.futures
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

import grpc
import pytest

import bioseg
from bioseg.v1 import server_pb2
from conftest import WAIT
from daemon import BIN, MODEL, Daemon
from napari_bioseg import _session, _settings


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("localhost", "other"):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "8", "-subj",
                        f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", f"{name}-key.pem", "-out", f"{name}.pem"],
                       cwd=folder, check=True, capture_output=True)
        (folder / f"{name}-key.pem").chmod(0o600)
    return folder


@pytest.fixture(scope="module")
def encrypted(certificates, tmp_path_factory):
    d = Daemon(tmp_path_factory.mktemp("tls") / "data", "--tls-cert", str(certificates / "localhost.pem"), "--tls-key",
               str(certificates / "localhost-key.pem")).start()
    yield d
    d.stop()


@pytest.fixture
def connect(viewer, qtbot):
    """The panel after an attempt to connect with these entries."""
    _session.session().tried = True  # not by itself
    _, panel = viewer.window.add_plugin_dock_widget("napari-bioseg", "Connect")

    def attempt(address="", token="", certificate="", name=""):
        panel.address.setText(str(address))
        panel.token.edit.setText(str(token))
        panel.certificate.edit.setText(str(certificate))
        panel.name.setText(name)
        panel.connect_button.click()
        assert _session.session().connecting
        qtbot.waitUntil(lambda: not _session.session().connecting, timeout=WAIT)
        return panel

    attempt.panel = panel
    return attempt


def test_token_and_certificate_connect_and_are_remembered_without_the_token_itself(connect, encrypted, certificates):
    address = "localhost:" + encrypted.tcp.split(":")[1]
    panel = connect(address, encrypted.data / "token", certificates / "localhost.pem")
    assert "Connected" in panel.status.text() and address in panel.status.text() and panel.message.text() == ""
    remembered = _settings.path().read_text()
    assert address in remembered and encrypted.token not in remembered
    assert type(panel)(None).address.text() == address
    panel.disconnect_button.click()
    assert "Not connected" in panel.status.text()
    port = encrypted.tcp.split(":")[1]
    panel = connect("127.0.0.1:" + port, encrypted.data / "token", certificates / "localhost.pem", name="localhost")
    assert "Connected" in panel.status.text()


def test_every_mistake_has_its_sentence(connect, encrypted, certificates, daemon, tmp_path):
    port = encrypted.tcp.split(":")[1]
    token, certificate = encrypted.data / "token", certificates / "localhost.pem"
    wrong = tmp_path / "wrong"
    wrong.write_text("not-the-token")
    with socket.create_server(("127.0.0.1", 0)) as web:
        def answer():
            try:
                while True:
                    peer, _ = web.accept()
                    peer.recv(1000)
                    peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    peer.close()
            except OSError:
                pass

        threading.Thread(target=answer, daemon=True).start()
        cases = [
            (("",), "No bioseg daemon is running for this account"),
            (("nonsense",), "HOST:PORT"),
            (("nowhere.invalid:8764",), "no machine called nowhere.invalid"),
            (("localhost:1",), "no bioseg server listens at localhost:1"),
            ((f"localhost:{web.getsockname()[1]}",), "it is no bioseg server"),
            ((f"localhost:{port}", wrong, certificate), "does not know this token"),
            ((f"localhost:{port}", "", certificate), "wants a token"),
            ((f"localhost:{port}", token, certificates / "other.pem"), "is not the one you gave"),
            ((f"127.0.0.1:{port}", token, certificate), "not made out to 127.0.0.1"),
            ((f"localhost:{port}", token, wrong), "not a certificate"),
            ((f"localhost:{port}", token), "probably wants encryption"),
            ((daemon.tcp, daemon.data / "token", certificate), "does not encrypt"),
            (("lab-gpu:8764", token), "unencrypted"),
            ((f"localhost:{port}", tmp_path / "gone", certificate), "token cannot be read"),
        ]
        for entries, words in cases:
            panel = connect(*entries)
            assert words in panel.message.text(), (entries, panel.message.text())
            assert "Not connected" in panel.status.text() and panel.connect_button.isEnabled()


def old_server(answer):
    """A server whose GetInfo answers so."""
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))

    def get_info(request, context):
        if answer is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "unknown service")
        return answer

    handler = grpc.unary_unary_rpc_method_handler(get_info, server_pb2.GetInfoRequest.FromString, server_pb2.GetInfoResponse.SerializeToString)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bioseg.v1.Server", {"GetInfo": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, f"127.0.0.1:{port}"


def test_a_server_of_another_version_is_named(connect):
    for answer, words in ((server_pb2.GetInfoResponse(version="0.0.1", api_level=0), "too old for this plugin: it speaks level 0"),
                          (None, "does not say what it is")):
        server, address = old_server(answer)
        panel = connect(address)
        assert words in panel.message.text() and "Not connected" in panel.status.text()
        server.stop(0)
    server, address = old_server(server_pb2.GetInfoResponse(version="9.0", api_level=9))
    panel = connect(address)
    assert "Connected" in panel.status.text() and "9.0" in panel.status.text()
    server.stop(0)


def test_a_daemon_is_started_with_one_click_and_outlives_nothing_it_should_not(viewer, qtbot, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", f"{BIN}:{os.environ['PATH']}")
    _session.session().tried = True
    _, segment = viewer.window.add_plugin_dock_widget("napari-bioseg", "Segment")
    _, panel = viewer.window.add_plugin_dock_widget("napari-bioseg", "Connect")
    assert not panel.start_button.isHidden() and panel.local_hint.isHidden()
    panel.start_button.click()
    qtbot.waitUntil(lambda: not _session.session().connecting, timeout=WAIT)
    process = _session.session().daemon
    try:
        assert "this computer" in panel.status.text(), panel.message.text()
        assert (tmp_path / "share" / "bioseg" / "biosegd.sock").exists()
        qtbot.waitUntil(lambda: "no model yet" in segment.about.text(), timeout=WAIT)
        segment.add_model(str(MODEL))
        qtbot.waitUntil(lambda: bool(segment.form.fields), timeout=WAIT)
        assert process.poll() is None and os.getsid(process.pid) != os.getsid(0)
        assert not panel.stop_button.isHidden()
        panel.stop_button.click()
        process.wait(60)
        assert "Not connected" in panel.status.text() and not panel.start_button.isHidden()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)


def test_a_daemon_of_this_account_is_found_the_quickstarts_too(connect, qtbot, daemon, tmp_path):
    for folder in ("bioseg", "bioseg-quickstart"):
        place = tmp_path / "share" / folder
        place.mkdir(parents=True)
        (place / "biosegd.sock").symlink_to(daemon.data / "biosegd.sock")
        panel = connect()
        assert "this computer" in panel.status.text(), panel.message.text()
        shutil.rmtree(place)


def test_without_a_binary_the_panel_explains_the_other_machine(viewer, qtbot, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    _, panel = viewer.window.add_plugin_dock_widget("napari-bioseg", "Connect")
    qtbot.waitUntil(lambda: bool(panel.message.text()), timeout=WAIT)
    assert not panel.local_hint.isHidden() and panel.start_button.isHidden()
    assert not panel.help.body.isHidden() and "ssh -L 8764" in panel.help.body.text()


def test_on_windows_the_panel_offers_no_daemon_and_looks_for_no_socket(viewer, qtbot, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", f"{BIN}:{os.environ['PATH']}")
    monkeypatch.setenv("APPDATA", str(tmp_path / "appdata"))
    monkeypatch.setattr("sys.platform", "win32")
    assert _session.local_sockets() == [] and _session.daemon_binary() is None
    assert _settings.path() == tmp_path / "appdata" / "bioseg" / "napari.json"
    _, panel = viewer.window.add_plugin_dock_widget("napari-bioseg", "Connect")
    qtbot.waitUntil(lambda: bool(panel.message.text()), timeout=WAIT)
    assert panel.start_button.isHidden() and "ssh -L 8764" in panel.help.body.text() and not panel.help.body.isHidden()


def test_nobody_waits_for_a_server_that_does_not_answer(connect):
    """A machine that swallows everything: the panel stays alive and the attempt can be replaced by another."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        panel = connect.panel
        panel.address.setText(f"127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        panel.connect_button.click()
        assert time.monotonic() - began < 0.2 and _session.session().connecting
        panel._session.leave()
        assert "Not connected" in panel.status.text() and panel.connect_button.isEnabled()


def test_a_damaged_memory_is_no_obstacle(connect, daemon):
    _settings.path().parent.mkdir(parents=True, exist_ok=True)
    _settings.path().write_text("{ not json")
    assert _settings.load() == {}
    assert "Connected" in connect(daemon.address()).status.text()
    assert bioseg.__version__ and _settings.load()["connection"]["server"] == daemon.address()
