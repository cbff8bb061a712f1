"""HTTP downloads that survive a broken connection, a changed file and a small disk."""

import hashlib
import html
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
from tqdm import tqdm

from dermaline.base.errors import DermalineError
from dermaline.base.files import require_space

RETRIES = 6
PAUSE = 0.5  # seconds before the first retry, doubled for each further one
TIMEOUT = (10, 60)  # seconds to connect, seconds without a byte
CHUNK = 1 << 16  # bytes; a broken connection loses up to one chunk
AGENT = "dermaline (reproducible skin-lesion classification; fetches HAM10000 once and keeps it)"
_REFUSALS = (401, 403)
_QUERY = re.compile(r"\?\S+")  # of an address; a signed one's is as good as a password
_NO_TEXT = re.compile(r"<!--.*?-->|<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)


class Session(requests.Session):
    """Says who asks (some servers refuse the name that `requests` gives), and is not led just anywhere."""

    def __init__(self, storage: str | None = None) -> None:
        """Make a session; `storage` is the one other host that a server may redirect to."""
        super().__init__()
        self.headers["User-Agent"] = AGENT
        self._storage = storage

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Where `requests` is to go next; raises as `require_trusted`."""
        target = super().get_redirect_target(resp)
        if target is not None:
            require_trusted(resp.url, target, self._storage)
        return target


def require_trusted(url: str, target: str, storage: str | None) -> None:
    """Refuse a redirect from encryption to none, or to a host that is neither the same nor `storage`.

    Raises:
        DermalineError: it is refused; the line names the host alone, for the rest may be signed.
    """
    old, new = urlsplit(url), urlsplit(urljoin(url, target))
    if new.hostname not in (old.hostname, storage) or (old.scheme, new.scheme) == ("https", "http"):
        where = f"{new.scheme}://{new.hostname}"
        raise DermalineError(f"{quoted(url)}: redirected to {where}, which is not trusted; take another data.source")


def verdict(answer: requests.Response) -> str:
    """What an answer that is no use says, on one line: that it refuses, or its status; and the server's own sentence.

    That is the `message` of a JSON object, or the text of any other page, cut to 200 characters.
    """
    content = next(answer.iter_content(CHUNK), b"").decode("utf-8", "replace")
    try:
        parsed = json.loads(content)
        text = str(parsed.get("message", "")) if isinstance(parsed, dict) else ""
    except ValueError:
        text = html.unescape(_NO_TEXT.sub(" ", content))
    printable = "".join(letter if letter.isprintable() else " " for letter in text)  # no codes that steer a terminal
    status = " ".join(f"{answer.status_code} {answer.reason or ''}".split())
    said = ": ".join(part for part in (status, _cut(printable)) if part)
    return f"the server refuses ({said})" if answer.status_code in _REFUSALS else f"the server answered {said}"


def download(
    url: str,
    target: Path,
    *,
    size: int | None = None,
    md5: str | None = None,
    session: requests.Session | None = None,
    otherwise: str = "check the address and the right to read it",
) -> Path:
    """Download `url` to `target`, going on from `TARGET.part` where an earlier attempt ended.

    Args:
        url: an HTTP address.
        target: appears only when whole and checked; one that is there and passes the checks is reused.
        size: bytes the file must have.
        md5: hexadecimal digest it must have.
        session: carries headers or credentials; by default a `Session` that is led to no other host.
        otherwise: what to do, for a person, when the server has an answer but not the file.

    Returns:
        `target`.

    Raises:
        DermalineError: the server refuses or redirects elsewhere, the connection keeps breaking, the disk is too
            small, or the file is not the expected one (which is then deleted).
    """
    if target.exists():
        if not _fault(target, size, md5):
            return target
        target.unlink()
    target.parent.mkdir(parents=True, exist_ok=True)
    transfer = _Transfer(session or Session(), url, target.with_name(target.name + ".part"), size, otherwise)
    transfer.run()
    fault = _fault(transfer.part, size, md5)
    if fault:
        transfer.start_over()
        raise DermalineError(f"{url}: {fault}; the damaged download was deleted, run again")
    transfer.part.replace(target)
    transfer.start_over()
    return target


def _fault(path: Path, size: int | None, md5: str | None) -> str | None:
    """What is wrong with a finished file, or None."""
    if size is not None and _length(path) != size:
        return f"has {_length(path)} bytes, expected {size}"
    if md5 is not None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
        if found != md5.lower():
            return f"has MD5 {found}, expected {md5}"
    return None


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


class _BrokenOff(Exception):
    """The transfer ended early; the next attempt goes on from what is on disk."""


_PASSING = (_BrokenOff, requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


@dataclass(frozen=True)
class _Transfer:
    """Fills `part`. What tells the server's file from a later version of it stands in a note beside the part."""

    session: requests.Session
    url: str
    part: Path
    size: int | None
    otherwise: str

    def run(self) -> None:
        """Attempt until all bytes are there."""
        for retry in range(RETRIES + 1):
            if self.size is not None and _length(self.part) == self.size:
                return  # an earlier run was stopped between the last byte and the check
            try:
                return self._attempt()
            except _PASSING as e:
                if retry == RETRIES:
                    kept = f"{_length(self.part) / 1e6:,.1f} MB are kept, run again to go on"
                    why = quoted(str(e))
                    raise DermalineError(f"{self.url}: broken off {retry + 1} times ({why}); {kept}") from None
            except requests.RequestException as e:
                why = quoted(str(e))
                raise DermalineError(f"{self.url}: cannot be downloaded ({why}); check the address") from None
            time.sleep(PAUSE * 2**retry)

    def start_over(self) -> None:
        """Forget what was received."""
        self.part.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    @property
    def _note(self) -> Path:
        return self.part.with_name(self.part.name + ".etag")

    def _attempt(self) -> None:
        """One request: append what is missing, or start over when the server sends all of the file."""
        have = _length(self.part)
        begun = self._note.read_text(encoding="utf-8") if self._note.exists() else ""
        headers = {"Accept-Encoding": "identity"}  # ranges and sizes count the stored bytes
        if have and begun:
            headers |= {"Range": f"bytes={have}-", "If-Range": begun}
        with self.session.get(self.url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            self._check(answer, have, begun)
            if answer.status_code == 200:
                self.start_over()
                have = 0
                self._note.write_text(_validator(answer), encoding="utf-8")
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else self.size
            require_space(self.part.parent, (total or have) - have)
            self._append(answer, have, total)
        if total is not None and _length(self.part) < total:
            raise _BrokenOff(f"{_length(self.part)} of {total} bytes")

    def _check(self, answer: requests.Response, have: int, begun: str) -> None:
        """Return when the body can be used: all of the file (200), or the very rest of the one begun (206)."""
        if answer.status_code == 206:
            the_rest = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            if the_rest and _validator(answer) in ("", begun):
                return
        if answer.status_code in (206, 416):  # other bytes than asked for, or beyond the end of a file that changed
            self.start_over()
            raise _BrokenOff("the server's file has changed")
        if answer.status_code == 429 or answer.status_code >= 500:
            raise _BrokenOff(verdict(answer))
        if answer.status_code != 200:
            raise DermalineError(f"{self.url}: {verdict(answer)}; {self.otherwise}")

    def _append(self, answer: requests.Response, have: int, total: int | None) -> None:
        name = self.part.name.removesuffix(".part")
        with (
            self.part.open("ab") as file,
            tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=name) as bar,
        ):
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))


def _validator(answer: requests.Response) -> str:
    """What If-Range may name: a strong ETag or the date; a weak ETag does not promise the same bytes."""
    etag = answer.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified", "")


def quoted(text: str) -> str:
    """The start of what others say in errors of theirs, without the queries of addresses."""
    return _cut(_QUERY.sub("?...", text))


def _cut(text: str) -> str:
    return " ".join(text.split())[:200]
