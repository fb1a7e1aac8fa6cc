"""One gate in front of every method of every port; a public address only with TLS and token."""
import hashlib
import os
import stat
import subprocess

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bioseg.v1 import jobs_pb2 as jobs
from bioseg.v1 import server_pb2 as server
from conftest import BIN, Client, Daemon, blobs, refused
from test_services import call, every_method

PUBLIC = ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch",
          "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
          "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"]


def all_paths():
    return [p for p, _ in every_method()] + PUBLIC


@pytest.mark.parametrize("metadata", [
    None, [("authorization", "Bearer wrong")], [("authorization", "Bearer ")], [("authorization", "")],
    [("authorization", "Basic cm9vdDpyb290")], [("authorization", "Bearer " + "a" * 64)],
    [("authorization", "Bearer x"), ("authorization", "Bearer y")], [("authorization", "Bearer " + "b" * 4000)]])
def test_no_method_answers_on_tcp_without_the_token(daemon, metadata):
    channel = daemon.channel("tcp")
    for path in all_paths() + ["/bioseg.v1.Server/Nonsense"]:
        code, details = call(channel, path, None, metadata)
        assert code == grpc.StatusCode.UNAUTHENTICATED, (path, code, details)
        assert "Nonsense" not in details


def test_every_method_is_let_through_on_tcp_with_the_token(daemon):
    channel = daemon.channel("tcp")
    metadata = [("authorization", "Bearer " + daemon.token)]
    for path in all_paths():
        if path.endswith("Watch"):
            continue
        code, _ = call(channel, path, None, metadata)
        assert code not in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED), path


def test_a_wrong_token_is_refused_on_the_unix_socket_too(daemon):
    for path in all_paths():
        assert call(daemon.channel(), path, None, [("authorization", "Bearer x")])[0] == grpc.StatusCode.UNAUTHENTICATED


def test_secrets_and_socket_are_closed_to_others(daemon):
    assert stat.S_IMODE(os.stat(daemon.data).st_mode) == 0o700
    for name in ("token", "biosegd.sock", "lock", "bioseg.db"):
        assert stat.S_IMODE(os.stat(daemon.data / name).st_mode) == 0o600, name
    assert daemon.token not in daemon.log.read_text()


def test_a_public_address_without_tls_is_refused_with_what_to_do(tmp_path):
    run = subprocess.run([BIN / "biosegd", "--data", tmp_path / "d", "--listen", "0.0.0.0:0", "--device", "ref"],
                         capture_output=True, text=True, timeout=30)
    assert run.returncode == 1
    assert "--tls-cert" in run.stderr and "127.0.0.1" in run.stderr


def test_tls_needs_the_token_as_well(tmp_path):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", tmp_path / "key.pem", "-out",
                    tmp_path / "cert.pem"], check=True, capture_output=True)
    d = Daemon(tmp_path / "data", "--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"),
               listen="0.0.0.0:0", device="ref").start()
    try:
        port = d.tcp.rsplit(":", 1)[1]
        credentials = grpc.ssl_channel_credentials((tmp_path / "cert.pem").read_bytes())
        channel = grpc.secure_channel("localhost:" + port, credentials)
        refused(grpc.StatusCode.UNAUTHENTICATED, lambda: Client(channel).server.GetInfo(server.GetInfoRequest()))
        assert Client(channel, d.token).server.GetInfo(server.GetInfoRequest()).version
        plain = grpc.insecure_channel("localhost:" + port)
        with pytest.raises(grpc.RpcError):
            Client(plain, d.token).server.GetInfo(server.GetInfoRequest(), timeout=5)
    finally:
        d.stop()


def test_users_see_their_own_jobs_only_and_administer_nothing(tmp_path):
    d = Daemon(tmp_path / "data")
    d.data.mkdir(mode=0o700)
    secret = {"ada": "a" * 40, "bob": "b" * 40}
    users = d.data / "users"
    users.write_text("# name role token\n" + "".join(
        f"{n} user {hashlib.sha256(t.encode()).hexdigest()}\n" for n, t in secret.items()))
    users.chmod(0o600)
    d.start()
    try:
        admin = Client(d.channel())
        admin.import_model()
        ada, bob = (Client(d.channel("tcp"), secret[n]) for n in ("ada", "bob"))
        assert ada.server.GetInfo(server.GetInfoRequest()).caller == "ada"
        hers = ada.submit(blobs(64, 64), key="one").job
        his = bob.submit(blobs(64, 64, seed=1), key="one").job
        assert hers.id != his.id and (hers.owner, his.owner) == ("ada", "bob")
        assert [j.id for j in bob.jobs.List(jobs.ListJobsRequest()).jobs] == [his.id]
        for method, request in (("Get", jobs.GetJobRequest), ("Cancel", jobs.CancelJobRequest),
                                ("Delete", jobs.DeleteJobRequest), ("Watch", jobs.WatchJobRequest),
                                ("GetResult", jobs.GetJobResultRequest)):
            refused(grpc.StatusCode.NOT_FOUND, lambda: getattr(bob.jobs, method)(request(id=hers.id)), hers.id)
        code, details = call(d.channel("tcp"), "/bioseg.v1.Admin/Drain", None, [("authorization", "Bearer " + secret["bob"])])
        assert code == grpc.StatusCode.PERMISSION_DENIED and "bob" in details
        assert ada.wait(hers.id).state == jobs.JOB_STATE_SUCCEEDED
    finally:
        d.stop()


def test_a_token_file_that_others_can_read_is_refused(tmp_path):
    data = tmp_path / "d"
    data.mkdir(mode=0o700)
    (data / "token").write_text("c" * 64)
    (data / "token").chmod(0o644)
    run = subprocess.run([BIN / "biosegd", "--data", data, "--device", "ref"], capture_output=True, text=True, timeout=30)
    assert run.returncode == 1 and "0600" in run.stderr


def test_two_daemons_do_not_share_a_data_directory(daemon):
    run = subprocess.run([BIN / "biosegd", "--data", daemon.data, "--listen", "none", "--device", "ref"], capture_output=True,
                         text=True, timeout=30)
    assert run.returncode == 1 and "another biosegd" in run.stderr
    assert health_pb2_grpc.HealthStub(daemon.channel()).Check(health_pb2.HealthCheckRequest()).status == 1


def test_a_directory_with_contents_that_is_open_to_others_is_refused(tmp_path):
    data = tmp_path / "open"
    data.mkdir()
    data.chmod(0o755)
    (data / "something").write_text("x")
    run = subprocess.run([BIN / "biosegd", "--data", data, "--listen", "none", "--device", "ref"], capture_output=True,
                         text=True, timeout=30)
    assert run.returncode == 1 and "chmod 700" in run.stderr
