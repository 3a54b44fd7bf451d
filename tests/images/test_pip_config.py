"""The host's pip settings, as files for uv and pip in builds and containers."""

from __future__ import annotations

import base64
import http.server
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import matrix, pip_config
from images.errors import Stop
from images.pip_config import Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def test_settings_are_read_from_pip_config_list(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("x")
    (tmp_path / "wheels").mkdir()
    listing = f"""
global.index-url='https://user:token@mirror.example/simple'
global.extra-index-url='\\nhttps://more.example/simple\\nfile://{tmp_path}/wheels'
global.timeout='60'
install.trusted-host='mirror.example'
:env:.find-links='{tmp_path}/wheels https://links.example/'
global.find-links='/other'
:env:.cert='{tmp_path}/ca.pem'
"""
    assert pip_config.parse(listing, {"SSL_CERT_FILE": "/other.pem"}) == Settings(
        index="https://user:token@mirror.example/simple",
        extra_indexes=("https://more.example/simple",),
        links=("https://links.example/",),
        trusted_hosts=("mirror.example",),
        certificates=tmp_path / "ca.pem",
        folders=(tmp_path / "wheels",),
        local_indexes=(tmp_path / "wheels",),
    )


def test_empty_settings_give_empty_files() -> None:
    assert pip_config.parse("", {}) == Settings()
    assert pip_config.uv_toml(Settings(), []) == ""
    assert pip_config.pip_conf(Settings(), "/x") == "[global]\n"


def test_a_missing_certificate_bundle_is_refused() -> None:
    with pytest.raises(Stop, match=r"/no/such\.pem"):
        pip_config.parse("global.cert='/no/such.pem'\n", {})


def test_uv_and_pip_get_the_same_settings(tmp_path: Path) -> None:
    settings = Settings("https://a/", ("https://b/", "https://c/"), ("https://l/",), ("a",), tmp_path)
    config = tomllib.loads(pip_config.uv_toml(settings, ["/wheelhouse"], "cpu"))
    assert config == {
        "index-url": "https://a/",
        "extra-index-url": ["https://b/", "https://c/"],
        "index-strategy": "unsafe-best-match",
        "find-links": ["https://l/", "/wheelhouse"],
        "allow-insecure-host": ["a"],
        "pip": {"torch-backend": "cpu"},
    }
    assert pip_config.pip_conf(settings, "/run/ca") == (
        "[global]\nindex-url = https://a/\nextra-index-url = https://b/ https://c/\n"
        "find-links = https://l/\ntrusted-host = a\ncert = /run/ca\n"
    )


def test_pytorchs_own_index_is_used_only_without_other_settings() -> None:
    assert pip_config.torch_backend(Settings(), [], "cpu") == "cpu"
    assert pip_config.torch_backend(Settings(), ["torch-2.13.0-cp311.whl"], "cpu") == ""
    for settings in (
        Settings(index="https://a/"),
        Settings(extra_indexes=("https://a/",)),
        Settings(links=("https://a/",)),
    ):
        assert pip_config.torch_backend(settings, [], "cpu") == ""


def test_only_the_owner_can_read_secret_files(tmp_path: Path) -> None:
    path = pip_config.private(tmp_path / "pip.conf", "token")
    assert path.stat().st_mode & 0o077 == 0
    with pip_config.secrets(dry=False) as folder:
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()


@pytest.fixture
def company_index(tmp_path: Path) -> Iterator[str]:
    """Address of a simple index (PEP 503) on the loopback that requires a name and a token; /more has a package."""
    pages = tmp_path / "pages"
    folder = pages / "more" / "simple" / "onlyhere"
    folder.mkdir(parents=True)
    (pages / "main" / "simple").mkdir(parents=True)
    with zipfile.ZipFile(folder / "onlyhere-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("onlyhere.py", "")
        wheel.writestr("onlyhere-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: onlyhere\nVersion: 1.0\n")
        wheel.writestr(
            "onlyhere-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr("onlyhere-1.0.dist-info/RECORD", "")
    (folder / "index.html").write_text('<a href="onlyhere-1.0-py3-none-any.whl">onlyhere-1.0-py3-none-any.whl</a>')
    wanted = "Basic " + base64.b64encode(b"me:token").decode()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(pages))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            if self.headers.get("Authorization") == wanted:
                super().do_GET()
            else:
                self.send_response(401)
                self.send_header("WWW-Authenticate", "Basic")
                self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://me:token@127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_uv_and_pip_find_a_package_with_these_files(company_index: str, tmp_path: Path) -> None:
    settings = Settings(index=f"{company_index}/main/simple/", extra_indexes=(f"{company_index}/more/simple/",))
    environment = pip_config.uv_environment(settings, tmp_path, [])
    words = [
        pip_config.uv(),
        "pip",
        "install",
        "--no-cache",
        "--target",
        str(tmp_path / "by-uv"),
        "--python",
        sys.executable,
        "onlyhere",
    ]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "by-uv" / "onlyhere.py").exists()

    conf = pip_config.private(tmp_path / "pip.conf", pip_config.pip_conf(settings, ""))
    words = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--no-cache-dir",
        "-d",
        str(tmp_path / "by-pip"),
        "onlyhere",
    ]
    plain = {key: value for key, value in environment.items() if not key.startswith("PIP_")}
    done = subprocess.run(words, env={**plain, "PIP_CONFIG_FILE": str(conf)}, capture_output=True, text=True)
    assert (tmp_path / "by-pip" / "onlyhere-1.0-py3-none-any.whl").exists(), done.stderr


def test_uv_uses_the_pytorch_index_of_the_flavor(tmp_path: Path) -> None:
    """Offline, so that uv only reports which index it would use."""
    config = pip_config.private(tmp_path / "uv.toml", pip_config.uv_toml(Settings(), [], "cpu"))
    environment = {**pip_config.uv_environment(Settings(), tmp_path, []), "UV_CONFIG_FILE": str(config)}
    words = [pip_config.uv(), "pip", "compile", "-", "--offline", "--no-cache", "-v"]
    done = subprocess.run(words, input="torch==2.13.0+cpu", env=environment, capture_output=True, text=True)
    assert "whl/cpu" in done.stderr


def test_uv_finds_wheels_in_a_folder_with_a_comma(tmp_path: Path) -> None:
    folder = tmp_path / "a b,c"
    folder.mkdir()
    environment = pip_config.uv_environment(Settings(), tmp_path, [folder, tmp_path])
    words = [pip_config.uv(), "pip", "compile", "-", "--no-index", "--quiet"]
    done = subprocess.run(words, input="", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_uv_has_a_cache_where_home_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CACHE_HOME", "UV_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "UV_CACHE_DIR" not in pip_config.uv_environment(Settings(), tmp_path, [])
    monkeypatch.setenv("HOME", "/dev/null/home")  # which not even root can make
    environment = pip_config.uv_environment(Settings(), tmp_path, [])
    assert environment["UV_CACHE_DIR"] == str(matrix.ROOT / ".pintune" / "uv")
