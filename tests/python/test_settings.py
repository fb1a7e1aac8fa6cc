"""Where the server is: arguments, environment, file, default; and what is refused before anything is sent."""
import os
import subprocess
import sys

import pytest

import bioseg
from bioseg._connection import Settings
from bioseg._crc32c import crc32c
from bioseg.errors import ConfigurationError


def settings_file(tmp_path, text):
    (tmp_path / "config" / "bioseg").mkdir(parents=True)
    (tmp_path / "config" / "bioseg" / "client.ini").write_text(text)


def test_an_argument_goes_before_the_environment_and_the_environment_before_the_file(tmp_path, monkeypatch):
    settings_file(tmp_path, "[bioseg]\nserver = 127.0.0.1:1\ntoken = of-the-file\n")
    assert (Settings.resolve().address, Settings.resolve().token) == ("127.0.0.1:1", "of-the-file")
    monkeypatch.setenv("BIOSEG_SERVER", "127.0.0.1:2")
    monkeypatch.setenv("BIOSEG_TOKEN", "of-the-environment")
    assert (Settings.resolve().address, Settings.resolve().token) == ("127.0.0.1:2", "of-the-environment")
    given = Settings.resolve("127.0.0.1:3", token="given")
    assert (given.address, given.token) == ("127.0.0.1:3", "given")


def test_without_settings_it_is_the_daemon_of_this_account(tmp_path):
    assert Settings.resolve().address == "127.0.0.1:8764"
    own = tmp_path / "share" / "bioseg"
    own.mkdir(parents=True)
    (own / "token").write_text("secret\n")
    assert Settings.resolve().token == "secret"
    (own / "biosegd.sock").touch()
    assert Settings.resolve().address == f"unix:{own}/biosegd.sock" and Settings.resolve().token is None


@pytest.mark.parametrize("address", ["nonsense", "host:", ":80", "host:0", "host:70000", "http://host:80", "unix:"])
def test_an_address_that_is_none_is_refused_with_what_would_be_one(address):
    with pytest.raises(ConfigurationError, match="HOST:PORT|path of a socket"):
        Settings.resolve(address)


def test_a_token_is_not_sent_to_another_machine_unencrypted(tmp_path):
    with pytest.raises(ConfigurationError, match="unencrypted"):
        Settings.resolve("lab-gpu:8764", token="secret")
    assert Settings.resolve("lab-gpu:8764", token="secret", tls=True).tls
    assert not Settings.resolve("localhost:8764", token="secret").tls
    assert not Settings.resolve("[::1]:8764", token="secret").tls


def test_mistakes_in_files_are_named(tmp_path, monkeypatch):
    with pytest.raises(ConfigurationError, match="token cannot be read"):
        Settings.resolve(token_file=tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="no token has"):
        Settings.resolve(token="two\nlines")
    settings_file(tmp_path, "[bioseg]\nservr = x:1\n")
    with pytest.raises(ConfigurationError, match="servr"):
        Settings.resolve()
    monkeypatch.setenv("BIOSEG_CONFIG", str(tmp_path / "gone.ini"))
    with pytest.raises(ConfigurationError, match="BIOSEG_CONFIG"):
        Settings.resolve()


def test_the_checksum_is_castagnolis_at_every_length_that_matters():
    def bitwise(data):
        c = 0xFFFFFFFF
        for byte in data:
            c ^= byte
            for _ in range(8):
                c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
        return c ^ 0xFFFFFFFF

    assert crc32c(b"123456789") == 0xE3069283
    for n in (0, 1, 63, 64, 255, 256, 257, 320, 1000, 4096, 4097, 9999):
        data = os.urandom(n)
        assert crc32c(data) == bitwise(data), n
        assert crc32c(memoryview(data)) == bitwise(data), n


def test_importing_brings_neither_frameworks_nor_asyncio_clients():
    heavy = subprocess.run([sys.executable, "-c", "import bioseg, sys; print(*(m for m in ('torch', 'tensorflow', 'tqdm', 'dask', 'pandas', "
                            "'bioseg.aio') if m in sys.modules))"], capture_output=True, text=True, check=True)
    assert heavy.stdout.strip() == ""
    assert bioseg.__version__
