"""HAM10000 from the Harvard Dataverse: its files, their ids and digests looked up by name."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import requests

from dermaline.base.errors import DermalineError
from dermaline.base.files import locked, require_space, scratch
from dermaline.params.data import Data, Dataverse
from dermaline.sources import layout
from dermaline.sources.fetch import TIMEOUT, Session, download, quoted, verdict

FILES = (
    "HAM10000_metadata",
    "HAM10000_images_part_1.zip",
    "HAM10000_images_part_2.zip",
    "HAM10000_segmentations_lesion_tschandl.zip",
)
# Beside them: 1,511 photographs of other lesions, the test part of ISIC 2018's Task 3, with the truth.
CHALLENGE_TEST = ("ISIC2018_Task3_Test_Images.zip", "ISIC2018_Task3_Test_GroundTruth")
STORAGE = "dvn-cloud.s3.amazonaws.com"  # where Harvard's server keeps its files, and redirects to
CHECK = "check data.dataverse in params.yaml"
OTHERS = "take another source: data.source=kaggle, or data.source=local for a copy that you have"


def fetch(data: Data, folder: Path) -> None:
    """Download what is not here yet and make the raw folder from it.

    Raises:
        DermalineError: the server cannot be reached or lacks a file, or the data is not HAM10000.
    """
    layout.write(bring(FILES, data.dataverse), folder, official=True)


def bring(names: Sequence[str], source: Dataverse) -> list[Path]:
    """Where the files of these names are, once what is not here yet is downloaded; raises as `fetch`."""
    place = scratch("downloads", "dataverse", re.sub(r"\W+", "-", source.doi))
    with locked(scratch("downloads")), Session(STORAGE) as session:  # two workers of a queue would write to one file
        listing = _listing(session, source)
        wanted = {place / name: _find(listing, name, source) for name in names}
        absent = sum(file["filesize"] for path, file in wanted.items() if not path.exists())
        require_space(place, absent - sum(part.stat().st_size for part in place.glob("*.part")))
        for path, file in wanted.items():
            _get(session, source.server, file, path)
    return list(wanted)


def _listing(session: requests.Session, source: Dataverse) -> list[dict[str, Any]]:
    """The files of the latest published version, as the server describes them."""
    url = f"{source.server}/api/datasets/:persistentId/versions/:latest-published/files"
    try:
        answer = session.get(url, params={"persistentId": source.doi}, timeout=TIMEOUT)
        return list(answer.json()["data"])
    except (requests.JSONDecodeError, KeyError, TypeError):  # a page, or Dataverse's own error, which has no data
        problem, advice = verdict(answer), CHECK if answer.status_code in (400, 404) else OTHERS
    except requests.RequestException as error:
        problem, advice = quoted(str(error)), CHECK
    raise DermalineError(f"{source.server}: cannot list {source.doi}: {problem}; {advice}")


def _find(listing: list[dict[str, Any]], name: str, source: Dataverse) -> dict[str, Any]:
    """The `dataFile` entry called `name`, with or without its extension."""
    for entry in listing:
        file = entry["dataFile"]
        for known in (entry.get("label", ""), file.get("filename", "")):
            if name in (known, Path(known).stem):
                return file
    raise DermalineError(f"{source.server}: {source.doi} has no file {name}; {CHECK}")


def _get(session: requests.Session, server: str, file: dict[str, Any], path: Path) -> None:
    url = f"{server}/api/access/datafile/{file['id']}"
    if file.get("tabularData") or file.get("filename", "").endswith(".tab"):
        # Dataverse rewrites an uploaded table, and the size and MD5 it shows are not those of the file it sends
        # (IQSS/dataverse#9501). So it is fetched anew, being small, and judged by its columns and counts.
        path.unlink(missing_ok=True)
        download(url, path, session=session, otherwise=OTHERS)
    else:
        download(url, path, size=file["filesize"], md5=_md5(file), session=session, otherwise=OTHERS)


def _md5(file: dict[str, Any]) -> str | None:
    checksum = file.get("checksum", {})
    return checksum.get("value") if checksum.get("type") == "MD5" else file.get("md5")
