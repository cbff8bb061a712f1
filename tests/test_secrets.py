"""Nothing that Git keeps has the form of a key, a token or a password; what `make` installs is locked with hashes."""

import re
import subprocess

import pytest
from closure import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SECRETS = re.compile(
    "|".join(
        (
            r"-----BEGIN [A-Z ]*PRIVATE KEY",
            r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",  # Amazon
            r"\bAIza[\w-]{35}",  # Google
            r"\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_\w{50}|\bglpat-[\w-]{20}",
            r"\bhf_[A-Za-z0-9]{30}|\bKGAT_[0-9a-f]{32}",  # Hugging Face, Kaggle
            r"\bpypi-[\w-]{50}|\bnpm_[A-Za-z0-9]{36}|\bxox[abprs]-[\w-]{20}",
            r"\bey[\w-]{15,}\.ey[\w-]{15,}\.[\w-]{20,}",  # JSON web tokens
            r"[?&](?:X-Amz-Signature|X-Goog-Signature|api_key|access_token)=[\w%-]{20,}",
            r"(?i:kaggle_?key)['\"]?\s*[:=]\s*['\"]?[0-9a-f]{32}",
            r"\"key\":\s*\"[0-9a-f]{32}\"",  # kaggle.json
            r"https?://[^\s/:@{}\"'`]+:[^\s/@{}\"'`]+@[\w.-]+",  # a password in an address
        )
    )
)


def test_no_file_that_git_keeps_has_a_secret():
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for name in filter(None, names):
        path = ROOT / name.decode()
        if path.is_file() and path.suffix not in (".png", ".safetensors"):
            found = SECRETS.search(path.read_text(encoding="utf-8", errors="replace"))
            assert found is None, f"{path}: what looks like a secret: {found[0][:12]}..."


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN RSA PRIVATE " + "KEY-----",
        "aws = 'AKIA" + "ABCDEFGHIJKLMNOP'",
        "ghp_" + "a1" * 18,
        "KGAT_" + "0f" * 16,
        '{"username": "me", "key": "' + "0f" * 16 + '"}',
        "KAGGLE_" + "KEY=" + "0f" * 16,
        "https://me:" + "hunter2@example.org/x",
    ],
)
def test_a_secret_is_seen(text):
    assert SECRETS.search(f"some words {text} and others")


def locked() -> dict[str, list[tuple[str, str]]]:
    """Of each package in requirements.lock its entries: the requirement and the text of its hashes."""
    entries = re.findall(r"^([^\s#].*?) \\\n((?:    --hash.*\n?)+)", (ROOT / "requirements.lock").read_text(), re.M)
    found = {}
    for line, hashes in entries:
        found.setdefault(canonicalize_name(Requirement(line).name), []).append((line, hashes))
    return found


def test_what_is_locked_is_what_is_required_and_has_hashes():
    """`make lock` makes the one from the other; without it, `make` would install what was required before."""
    lock = locked()
    for folder in ("", "stages/", "tests/"):
        for line in (ROOT / f"{folder}requirements.txt").read_text().splitlines():
            text = line.partition("#")[0].strip()
            if text and not text.startswith("-r"):
                wanted = Requirement(text)
                entries = lock.get(canonicalize_name(wanted.name), [])
                pins = [Requirement(entry).specifier for entry, _ in entries]
                assert pins == [wanted.specifier], f"{folder}requirements.txt: {text}: not locked; run make lock"
    for entries in lock.values():
        for line, hashes in entries:
            assert re.search(r"==[^\s;]+", line), line
            assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", part) for part in hashes.replace("\\", "").split())


def test_the_lock_is_for_each_platform_and_names_no_index():
    text = (ROOT / "requirements.lock").read_text()
    assert len(re.findall(r"^\S+==", text, re.M)) == sum(map(len, locked().values()))  # none is without hashes
    assert "http" not in re.sub(r"^[\w.-]+==.*$", "", text, flags=re.M)
    assert "--index-url" not in text
    assert "--find-links" not in text
    lines = [Requirement(line) for entries in locked().values() for line, _ in entries]
    for platform in ({"sys_platform": "linux"}, {"sys_platform": "darwin"}):
        for version in ("3.11", "3.12", "3.13"):
            here = {"python_version": version, "python_full_version": f"{version}.4", **platform}
            names = [one.name for one in lines if one.marker is None or one.marker.evaluate(here)]
            assert len(names) == len(set(names))  # one version of each
            assert {"torch", "dvc", "numpy"} <= set(names)
            assert ("nvidia-cublas" in names) == (platform["sys_platform"] == "linux")
