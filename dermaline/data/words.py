"""What a table says of patients and lesions: its columns, its words, and the one rule of what says nothing."""

import pandas as pd

from dermaline.base.errors import DermalineError

SHOWN = 5  # words that are not known, in a message
SAYS_NOTHING = ("", "na", "n/a", "nan", "none", "null", "unknown", "-", "?")  # in any case
# Column -> its names in the tables of the ISIC archive and its challenges.
NAMES: dict[str, tuple[str, ...]] = {
    "image_id": ("isic_id", "image", "image_name"),
    "age": ("age_approx",),
    "sex": (),
    "localization": ("anatom_site_general", "anatom_site_general_challenge"),
}
COLUMNS = ("age", "sex", "localization")
SEXES = ("male", "female")
SITES = (
    *("abdomen", "acral", "back", "chest", "ear", "face", "foot", "genital", "hand", "lower extremity", "neck"),
    *("scalp", "trunk", "upper extremity"),
)
# Words of others for HAM10000's. Where the ISIC archive's is wider than any, it is the word for most of such places in
# HAM10000 (of head and neck, two in three are the face); a front or a side of the torso may be chest or abdomen, and
# `trunk` is what HAM10000 says when it does not tell.
_OTHERS: dict[str, dict[str, str]] = {
    "sex": {"m": "male", "f": "female"},
    "localization": {
        **{"torso": "trunk", "anterior torso": "trunk", "lateral torso": "trunk", "posterior torso": "back"},
        **{"head/neck": "face", "palms/soles": "acral", "oral/genital": "genital"},
    },
}
WORDS: dict[str, dict[str, str]] = {
    "sex": {word: word for word in SEXES} | _OTHERS["sex"],
    "localization": {word: word for word in SITES} | _OTHERS["localization"],
}


def named(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `NAMES`' columns called so, whatever the case; a column that is there under its own name stays."""
    found = {name.strip().lower(): name for name in reversed(table.columns)} | {name: name for name in table.columns}
    wanted = {
        next((found[word] for word in (name, *others) if word in found), None): name for name, others in NAMES.items()
    }
    return table.rename(columns=wanted)


def said(column: pd.Series) -> pd.Series:
    """The column as strings without blanks around them; NaN where it says nothing."""
    words = column.astype("str").str.strip()
    return words.mask(words.str.lower().isin(SAYS_NOTHING))


def alike(ids: pd.Series) -> list[str]:
    """Two ids that differ by case alone, if there are such: most likely one, and then a leak or a count too many."""
    different = pd.Series(ids.dropna().unique())
    same = different[different.str.casefold().duplicated(keep=False)]
    return same[same.str.casefold() == same.iloc[0].casefold()].tolist()[:2] if len(same) else []


def ages(column: pd.Series) -> pd.Series:
    """The column as float64 in years, 0 to 120; NaN where it says nothing.

    Raises:
        DermalineError: an age is something else.
    """
    words = said(column)
    years = pd.to_numeric(words, errors="coerce").astype("float64")
    wrong = words[words.notna() & ~years.between(0, 120)]
    if len(wrong):
        raise DermalineError(f"age '{wrong.iloc[0]}' is not in years, 0 to 120; correct it or leave it empty")
    return years


def known(rows: pd.DataFrame) -> pd.DataFrame:
    """`COLUMNS` of a table, whatever else it has: `age` as `ages`, `sex` and `localization` in HAM10000's words.

    NaN is what is not there, says nothing, or is a word that is not in `WORDS`; raises as `ages`.
    """
    rows = rows.reindex(columns=list(COLUMNS))
    words = {name: said(rows[name]).str.lower().map(WORDS[name]) for name in WORDS}
    return pd.DataFrame({"age": ages(rows["age"]), **words})


def strange(rows: pd.DataFrame) -> pd.Series:
    """The words that `known` does not know: "COLUMN 'WORD'" -> the number of rows, most first."""
    understood = known(rows)
    columns = [name for name in WORDS if name in rows]
    found = [f"{name} " + said(rows[name])[understood[name].isna()].dropna().map(repr) for name in columns]
    return pd.concat([pd.Series(dtype="str"), *found]).value_counts()


def strange_listed(rows: pd.DataFrame) -> str:
    """The same as a list for a reader, the first `SHOWN` by name; empty if there are none."""
    found = strange(rows)
    such = ", ".join(f"{word} in {count} of {len(rows)} rows" for word, count in found.head(SHOWN).items())
    return such + (f", and {len(found) - SHOWN} other words" if len(found) > SHOWN else "")
