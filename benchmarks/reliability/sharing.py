"""Sharing and recovery: `python -m benchmarks.reliability sharing [--dvc DVC]`; Linux.

A run is pushed with its run-cache to a folder, over SSH (an sshd of this machine, if it has one) and to an S3 service
(moto's, if it is installed), and had from there in a fresh clone, where nothing may run. Then it is damaged in the ways
that happen, and what docs/troubleshooting.md says is typed.
"""

import argparse
import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.reliability.rows import Row, row
from benchmarks.reliability.small import Repository, place, ran

SSHD = "/usr/sbin/sshd"
HARM = "lost: a stage ran in the clone, or another byte came"
HEALED = "lost: not detected, or not healed by what the page says"


def main(options: list[str]) -> list[Row]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability sharing")
    parser.add_argument("--place", type=Path, help="keep the small repository there, for the next trial")
    parser.add_argument("--bin", type=Path, help="a folder with dvc (dvc[ssh,s3]) and moto_server")
    given = parser.parse_args(options)
    with place(given.place) as base, tempfile.TemporaryDirectory(dir=base.folder.parent) as name:
        shared, healed = {}, {}
        for number, (kind, remote) in enumerate(REMOTES.items()):
            folder = Path(name, str(number))
            folder.mkdir()
            with remote(folder, given.bin) as config:
                if config:
                    shared[kind] = pulled(base, folder, config, given.bin)
                    print(f"{kind}: {shared[kind] or 'works'}", flush=True)
        for number, (damage, heal) in enumerate(DAMAGES.items()):
            folder = Path(name, f"damage{number}")
            folder.mkdir()
            healed[damage] = heal(base, folder)
            print(f"{damage}: {healed[damage] or 'healed'}", flush=True)
    return [
        told(f"push and pull with the run-cache: {', '.join(shared)} ({HARM})", shared),
        told(f"damaged: {', '.join(healed)} ({HEALED})", healed),
    ]


def told(what: str, found: dict[str, str]) -> Row:
    faults = {name: fault for name, fault in found.items() if fault}
    return row(what, len(found), len(faults), faults=faults)


Config = dict[str, str]  # of DVC's remote


def pulled(base: Repository, folder: Path, config: Config, tools: Path | None) -> str:
    """Push, clone, pull and repro: what was wrong, or nothing."""
    first = with_tools(base.copy(folder / "first"), tools)
    first.run("dvc remote add --default storage " + config["url"])
    for key in config.keys() - {"url"}:
        first.run(f"dvc remote modify storage {key} {config[key]}")
    first.commit("remote")
    first.run("dvc push -q --run-cache")
    first.run(f"git clone -q {first.folder} {folder / 'clone'}")
    clone = with_tools(Repository(folder / "clone"), tools)
    clone.run("dvc pull -q --run-cache")
    if stages := ran(clone.run("dvc repro")):
        return f"ran {stages}"
    if changed := clone.run("git status --porcelain"):
        return f"changed {changed}"
    (clone.folder / "dvc.lock").unlink()  # what the run-cache is for: it knows what `download` made, and so on
    return f"ran {stages}" if (stages := ran(clone.run("dvc repro prepare"))) else ""


def with_tools(repository: Repository, tools: Path | None) -> Repository:
    if tools:  # its dvc, but not its python
        own = repository.folder.parent / "bin"
        own.mkdir(exist_ok=True)
        if not (own / "dvc").exists():
            (own / "dvc").symlink_to(tools.absolute() / "dvc")
        path = f"{own}{os.pathsep}{repository.environment['PATH']}"
        repository.environment = repository.environment | {"PATH": path}
    return repository


Remote = Iterator[Config | None]


@contextmanager
def a_folder(folder: Path, tools: Path | None) -> Remote:
    yield {"url": str(folder / "remote")}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


@contextmanager
def served(command: list[str], port: int, **options: object) -> Iterator[None]:
    """Run a server on a port of this machine."""
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        yield
    finally:
        running.terminate()
        running.wait()


@contextmanager
def ssh(folder: Path, tools: Path | None) -> Remote:
    """An sshd of this user, with keys of its own."""
    if not Path(SSHD).exists():
        yield None
        return
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    shutil.copy(folder / "user.pub", folder / "authorized")
    port, settings = free_port(), folder / "sshd_config"
    settings.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        f"PidFile {folder}/pid\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    with served([SSHD, "-D", "-f", str(settings)], port):
        url = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{folder}/remote"
        yield {"url": url, "keyfile": str(folder / "user"), "allow_agent": "false"}


@contextmanager
def s3(folder: Path, tools: Path | None) -> Remote:
    server = (tools or Path(sys.executable).parent) / "moto_server"
    if not server.exists():
        yield None
        return
    port = free_port()
    with served([str(server), "-p", str(port)], port):
        url = f"http://127.0.0.1:{port}"
        keys = {"access_key_id": "a", "secret_access_key": "b", "region": "us-east-1"}
        make = "import boto3, sys; boto3.client('s3', endpoint_url=sys.argv[1], region_name='us-east-1', "
        make += "aws_access_key_id='a', aws_secret_access_key='b').create_bucket(Bucket='bucket')"
        subprocess.run([server.with_name("python"), "-c", make, url], check=True)
        yield {"url": "s3://bucket/dvc", "endpointurl": url, **keys}


REMOTES: dict[str, Callable[[Path, Path | None], object]] = {"a folder": a_folder, "SSH": ssh, "S3": s3}


def objects(cache: Path) -> list[Path]:
    return sorted((path for path in (cache / "files/md5").glob("*/*") if path.is_file()), key=lambda path: path.name)


def with_remote(base: Repository, folder: Path) -> Repository:
    found = base.copy(folder / "it")
    found.run(f"dvc remote add --default storage {folder / 'remote'}")
    found.run("dvc remote modify storage verify true")  # as docs/experiments.md has it
    found.run("dvc push -q")
    found.commit("remote")
    return found


def the_same(repository: Repository) -> str:
    """Whether every file is again as it was committed."""
    said = repository.run("dvc status") + repository.run("git status --porcelain")
    return "" if "up to date" in said and "M " not in said else said


def broken_object(base: Repository, folder: Path) -> str:
    """A cache object whose content is another: a fresh checkout of it must be refused, and `dvc pull` mend it."""
    found = with_remote(base, folder)
    for path in objects(found.folder / ".dvc/cache"):
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    shutil.rmtree(found.folder / "models")
    status, said = found.attempt("dvc checkout")
    if status == 0 and the_same(found) == "":
        return f"accepted: {said[-300:]}"
    found.run("dvc pull -q --force")
    return the_same(found)


def broken_remote(base: Repository, folder: Path) -> str:
    """A remote that holds half of an object: `dvc pull` says so, the clone takes nothing of it, a push mends it."""
    found = with_remote(base, folder)
    path = max(objects(folder / "remote"), key=lambda path: path.stat().st_size)
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(content[: len(content) // 2])
    found.run(f"git clone -q {found.folder} {folder / 'clone'}")
    clone = Repository(folder / "clone")
    status, said = clone.attempt("dvc pull")
    if status == 0 and the_same(clone) == "":
        return f"accepted: {said[-300:]}"
    for one in (path, *(folder / "remote").rglob("*.dir")):  # DVC takes a folder that it sees for whole
        one.unlink()
    found.run("dvc push -q")
    clone.run("dvc pull -q --force")
    return the_same(clone)


def remote_gone(base: Repository, folder: Path) -> str:
    """A push that was killed half-way: a second one completes it."""
    found = with_remote(base, folder)
    shutil.rmtree(folder / "remote")
    running = found.start("dvc push -q --run-cache")
    while not objects(folder / "remote"):
        time.sleep(0.01)
        if running.poll() is not None:
            break
    os.killpg(running.pid, 9)
    running.communicate()
    found.run("dvc push -q --run-cache")
    found.run(f"git clone -q {found.folder} {folder / 'clone'}")
    clone = Repository(folder / "clone")
    clone.run("dvc pull -q")
    return f"ran {stages}" if (stages := ran(clone.run("dvc repro"))) else the_same(clone)


def lost_lock(base: Repository, folder: Path) -> str:
    """dvc.lock is gone or half: Git has it; without Git, `dvc commit` or the run-cache does."""
    found = base.copy(folder / "it")
    lock = found.folder / "dvc.lock"
    text = lock.read_text()
    for content in ("", text[: len(text) // 2]):
        lock.write_text(content)
        status, said = found.attempt("dvc status")
        if status == 0 and "up to date" in said:
            return f"accepted: {said}"
        found.run("git checkout -q -- dvc.lock")
    lock.unlink()
    found.run("dvc commit -q --force")
    return the_same(found)


DAMAGES: dict[str, Callable[[Repository, Path], str]] = {
    "a cache object of other content": broken_object,
    "half an object in the remote": broken_remote,
    "a push killed half-way": remote_gone,
    "a dvc.lock empty, cut and gone": lost_lock,
}
