"""Photographs out of a request: read within limits, and never on a disk."""

import asyncio
import io
from collections.abc import AsyncGenerator, Collection
from contextlib import suppress
from pathlib import PurePosixPath
from typing import NamedTuple

from PIL import Image
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from dermaline.data.decode import BadImageError, what_fails_is_bad
from dermaline.user_files.photographs import CLOSED

FIELD = "images"
TAKEN = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")  # fewer than `predict` takes: these bytes come from strangers
JPEG, SCAN, END = b"\xff\xd8", 0xDA, 0xD9  # markers: where a file, and each of its scans, begins, and where it ends
MOST_SCANS = 100  # of a JPEG; usual are 10, and one more costs an attacker 31 bytes and us a pass over the image
NAME = 200  # letters of a name that are kept
DRAIN_SECONDS = 2


class Upload(NamedTuple):
    """A file of a request."""

    name: str
    content: bytes

    @property
    def image_id(self) -> str:
        return self.name

    def __str__(self) -> str:
        return self.name

    def read(self) -> bytes:
        """Its bytes; raises `BadImageError` if they are none of `TAKEN`, whatever the name or the request calls them.

        A JPEG of more than `MOST_SCANS` scans is refused too: nothing else bounds the time that it takes to decode.
        Raw files of cameras are TIFFs with a thumbnail, so those are known by their names.
        """
        suffix = PurePosixPath(self.name).suffix.lower()
        if suffix in CLOSED:
            raise BadImageError(f"{suffix} files are not read; convert it to JPEG, PNG or TIFF")
        with what_fails_is_bad():
            try:
                Image.open(io.BytesIO(self.content), formats=TAKEN)
            except Image.UnidentifiedImageError:
                raise BadImageError("no JPEG, PNG, WebP, TIFF or BMP") from None
        scans = _scans(self.content) if self.content.startswith(JPEG) else 0
        if scans > MOST_SCANS:
            raise BadImageError(f"a JPEG of {scans} scans, more than {MOST_SCANS}; save it anew")
        return self.content


def _scans(jpeg: bytes) -> int:
    """The scans of a JPEG, up to its end: telephones put films behind it, whose bytes look like anything."""
    count, place = 0, len(JPEG)
    while (place := jpeg.find(b"\xff", place)) >= 0 and place + 1 < len(jpeg):
        marker = jpeg[place + 1]
        if marker == END:
            break
        count += marker == SCAN
        # What is neither a byte of a scan, nor a restart of one, nor padding has a length, and may hold a thumbnail.
        alone = marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8
        place += (1 if marker == 0xFF else 2) if alone else 2 + max(int.from_bytes(jpeg[place + 2 : place + 4]), 2)
    return count


class _InMemory(MultiPartParser):
    """Starlette's, but a file of any size stays in memory: 0 is Python's word for no limit, `receive` has its own."""

    spool_max_size = 0


async def receive(
    request: Request, max_bytes: int, max_images: int, others: Collection[str]
) -> tuple[list[Upload], dict[str, str]]:
    """The files and the other fields of a form, which are some of `others`.

    Raises:
        HTTPException: 413, larger than `max_bytes` (whatever its header says); 415, no form; 400, a broken one, one
            with more than `max_images` files or without any, other files than `images`, or a field that is none.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise await refusal(request.receive, 415, f"send multipart/form-data with files in the field {FIELD}")
    if int(request.headers.get("content-length", "0")) > max_bytes:
        raise await refusal(request.receive, 413, _too_large(max_bytes))
    stream = _limited(request, max_bytes)
    parser = _InMemory(request.headers, stream, max_files=max_images, max_fields=8, max_part_size=1000)
    try:
        form = await parser.parse()
    except MultiPartException as problem:
        raise await refusal(request.receive, 400, problem.message) from None
    except ClientDisconnect:
        raise HTTPException(400, "the connection ended before the upload did") from None
    items = form.multi_items()
    uploads = [Upload(_named(one), await one.read()) for _, one in items if isinstance(one, UploadFile)]
    names = {name for name, one in items if isinstance(one, UploadFile)}
    await form.close()
    if names != {FIELD}:
        raise HTTPException(400, f"no file in the field {FIELD}" if not names else f"files belong in the field {FIELD}")
    fields = {name: value for name, value in items if isinstance(value, str)}
    for name in fields.keys() - set(others):
        raise HTTPException(400, f"no field is called {name!r}; there are {', '.join((FIELD, *others))}")
    return uploads, fields


async def refusal(receive: Receive, status: int, why: str, **headers: str) -> HTTPException:
    """What refuses a request, once the rest of its body has gone by unkept: a client that is cut off sees no answer."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while (await receive()).get("more_body"):
                pass
    return HTTPException(status, why, {name.replace("_", "-"): value for name, value in headers.items()})


async def _limited(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            raise await refusal(request.receive, 413, _too_large(max_bytes))
        yield chunk


def _too_large(max_bytes: int) -> str:
    return f"more than {max_bytes / 1e6:g} MB; send fewer photographs at once, or smaller ones"


def _named(file: UploadFile) -> str:
    """The file's name in one line, without folders."""
    return " ".join((file.filename or "").replace("\\", "/").split("/")[-1].split())[:NAME] or "photograph"
