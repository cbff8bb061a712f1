"""HAM10000 from Kaggle, through the `kaggle` package: its log-in, its request, its resume."""

import io
import zipfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import urllib3

from dermaline.base.errors import DermalineError
from dermaline.base.files import locked, require_space, scratch
from dermaline.base.stopping import STATUSES
from dermaline.params.data import Data, Kaggle
from dermaline.sources import layout
from dermaline.sources.fetch import quoted, require_trusted

if TYPE_CHECKING:
    from kaggle.api.kaggle_api_extended import KaggleApi
    from kagglesdk.datasets.types.dataset_api_service import ApiDownloadDatasetRequest

STORAGE = "storage.googleapis.com"  # where Kaggle keeps data sets, and redirects to
HELP = (
    "make a token at kaggle.com -> Settings -> API and set KAGGLE_API_TOKEN or save it as ~/.kaggle/access_token"
    " (a legacy key: ~/.kaggle/kaggle.json, or KAGGLE_USERNAME and KAGGLE_KEY); or use data.source: dataverse"
)


def fetch(data: Data, folder: Path) -> None:
    """Download the pinned version of the data set, unless it is here, and make the raw folder from it.

    Raises:
        DermalineError: no or wrong credentials, no such version, a broken connection, or it is not HAM10000.
    """
    owner, _, slug = data.kaggle.dataset.partition("/")
    if not owner or not slug or "/" in slug:
        raise DermalineError(f"params.yaml: data.kaggle.dataset: '{data.kaggle.dataset}' is not OWNER/NAME")
    archive = scratch("downloads", "kaggle", f"{owner}-{slug}-v{data.kaggle.version}.zip")
    with locked(scratch("downloads")):
        if not archive.exists():
            _download(data.kaggle, archive)
    layout.write([archive], folder, official=True)


def _download(source: Kaggle, archive: Path) -> None:
    """Fill `ARCHIVE.part` with the client's own resume, then move it into place."""
    part = archive.with_name(archive.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    api = _log_in()
    what = f"Kaggle: {source.dataset} version {source.version}"
    try:
        with api.build_kaggle_client() as client:
            answer = client.datasets.dataset_api_client.download_dataset(_request(source))
            for hop in answer.history:  # the client has followed them, but without the credentials to another host
                require_trusted(hop.url, hop.headers["Location"], STORAGE)
            have = part.stat().st_size if part.exists() else 0
            require_space(part.parent, int(answer.headers.get("Content-Length", 0)) - have)
            api.download_file(answer, str(part), client.http_client(), quiet=False, resume=True)
    except (OSError, urllib3.exceptions.HTTPError) as problem:  # requests' errors are OSErrors
        raise _explained(what, problem) from None
    except ValueError:  # the client's word for a wrong size: after a refused resume the rest may be an error page
        part.unlink(missing_ok=True)
    if not part.exists() or not zipfile.is_zipfile(part):
        part.unlink(missing_ok=True)
        raise DermalineError(f"{what}: what came is not the whole zip; it was deleted, run again")
    part.replace(archive)


def _request(source: Kaggle) -> "ApiDownloadDatasetRequest":
    from kagglesdk.datasets.types.dataset_api_service import ApiDownloadDatasetRequest

    request = ApiDownloadDatasetRequest()
    request.owner_slug, request.dataset_slug = source.dataset.split("/")
    request.dataset_version_number = source.version
    return request


def _log_in() -> "KaggleApi":
    """The client with the user's credentials. It logs in at import, prints its advice and exits: none of that here."""
    with redirect_stdout(io.StringIO()):
        try:
            from kaggle.api.kaggle_api_extended import KaggleApi

            api = KaggleApi()
            api.authenticate()
        except SystemExit as ended:
            if ended.code in STATUSES:
                raise
            raise DermalineError(f"Kaggle: no valid credentials found; {HELP}") from None
        except OSError as problem:
            raise _explained("Kaggle: log-in", problem) from None
    return api


def _explained(what: str, problem: Exception) -> DermalineError:
    status = getattr(getattr(problem, "response", None), "status_code", None)
    line = quoted(str(problem))
    if status in (401, 403):
        why = "the credentials are wrong or expired, or have no right to it"
        return DermalineError(f"{what}: refused ({status}: {line}), {why}; {HELP}")
    if status == 404:
        return DermalineError(f"{what}: no such data set or version; check data.kaggle in params.yaml")
    return DermalineError(f"{what}: {type(problem).__name__}: {line}; run again, what has come is kept")
