"""What all sections of `params.yaml` have in common: their kinds of numbers, and how they are read and refused."""

import difflib
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from ruamel.yaml import YAML

from dermaline.base.errors import DermalineError

PARAMS = Path("params.yaml")


def within(low: float, high: float) -> WrapValidator:
    """A check that it is a number (no yes or no, which pydantic takes for 1 or 0) in [low, high], which it names."""

    def check(value: Any, convert: ValidatorFunctionWrapHandler) -> float:
        if isinstance(value, bool):
            raise ValueError(f"{str(value).lower()} is no number; give one from {low} to {high}")
        try:
            number = convert(value)
        except ValidationError as problem:
            raise ValueError(f"{fault(problem)}; give one from {low} to {high}") from None
        if not low <= number <= high:
            raise ValueError(f"{number} is outside {low} to {high}")
        return number

    return WrapValidator(check)


def nearest(word: str, known: list[str]) -> str:
    """A hint: the known word nearest to a wrong one, or all of them when none is near."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"


Count = Annotated[int, within(1, 10**9)]
Seed = Annotated[int, within(0, 2**31 - 1)]
Fraction = Annotated[float, within(0, 1)]
Positive = Annotated[float, within(1e-12, 1e12)]
NotNegative = Annotated[float, within(0, 1e12)]
Power = Annotated[float, within(0, 3)]
Side = Annotated[int, within(16, 4096)]
Size = tuple[Side, Side]  # height, width, in pixels


class Section(BaseModel):
    """One mapping of `params.yaml`: unknown keys and infinite numbers are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys_only(cls, values: Any) -> Any:
        for key in values if isinstance(values, dict) else ():
            if key not in cls.model_fields:
                raise ValueError(f"unknown key '{key}'; {nearest(str(key), list(cls.model_fields))}")
        return values


T = TypeVar("T")


def load(kind: type[T], key: str, path: Path = PARAMS) -> T:
    """Read and check one entry of the parameters.

    Args:
        kind: what it is to be: a section, or the type of a leaf.
        key: a dotted path such as `split` or `data.source`; a stage may only ask for what its
            `params` in `dvc.yaml` name.
        path: the file, read as DVC reads it (YAML 1.2, so `1e-5` and `1e-05` are numbers).

    Raises:
        DermalineError: the file or the key is missing, or the first of its faults in one line.
    """
    entry = _read(path, "run at the project's root")
    for part in key.split("."):
        if not isinstance(entry, dict):
            raise DermalineError(f"{path}: {key}: there are no keys and values; put them back, as Git has them")
        known = [str(name) for name in entry]
        if part not in known:
            raise DermalineError(f"{path}: no key '{key}'; {nearest(part, known)}")
        entry = entry[part]
    return checked(kind, entry, path, key)


def read_as(kind: type[T], path: Path, advice: str) -> T:
    """Read and check a YAML file.

    Raises:
        DermalineError: it is missing (with `advice`), no YAML, or no `kind`: the first of its faults.
    """
    return checked(kind, _read(path, advice), path)


def _read(path: Path, advice: str) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DermalineError(f"{path}: not found; {advice}") from None
    except OSError as problem:
        raise DermalineError(f"{path}: cannot be read ({problem.strerror}); {advice}") from None
    except MemoryError:
        raise
    except Exception as problem:  # no UTF-8, a YAMLError, and what its parts raise: a date or a number that is none
        raise DermalineError(f"{path}: not YAML: {' '.join(str(problem).split()) or type(problem).__name__}") from None


def checked(kind: type[T], content: Any, path: Path, key: str = "") -> T:
    """Return the content at `key` of the file at `path` as a `kind`; raise its first fault as a `DermalineError`."""
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as problem:
        raise DermalineError(f"{path}: {key}{'.' if key else ''}{fault(problem)}") from None


def fault(problem: ValidationError) -> str:
    """The first of its faults, with the key and the value that was given."""
    first = problem.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    what = first["msg"].removeprefix("Value error, ")
    given = f" (got {first['input']!r})" if first["type"] not in ("value_error", "missing") else ""
    return f"{where}{': ' if where else ''}{what}{given}"
