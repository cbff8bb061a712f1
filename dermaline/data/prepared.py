"""What is told of the images that `prepare` has packed, for report.json, and what of them is to be looked at."""

import pandas as pd

MANY = 5  # lesions in one group, from which it is more likely a chain of false alarms than one lesion


def report(index: pd.DataFrame, bad: dict[str, str], pairs: pd.DataFrame) -> dict:
    """Count the images, and print what is to be looked at.

    Args:
        index: the images that are packed, with their groups of near-duplicates.
        bad: image -> why it was left out.
        pairs: the near-duplicates, see `data.duplicates.near_duplicates`.
    """
    _name_doubts(index, bad, pairs)
    return {
        "images": len(index),
        "lesions": int(index.lesion_id.nunique()),
        "groups": int(index.group.nunique()),
        "largest_group": _largest_group(index),
        "images_per_class": index.dx.value_counts().sort_index().to_dict(),
        "lesions_per_class": index.groupby("dx").lesion_id.nunique().to_dict(),
        "missing": {name: int(index[name].isna().sum()) for name in ("age", "sex", "localization")},
        "dropped": bad,
        "near_duplicates": [
            {"a": index.image_id[a], "b": index.image_id[b], "similarity": None if pd.isna(value) else float(value)}
            for a, b, value in pairs.itertuples(index=False)
        ],
    }


def _name_doubts(index: pd.DataFrame, bad: dict[str, str], pairs: pd.DataFrame) -> None:
    """Say what was left out, and of which lesions a photograph has two diagnoses: one is wrong."""
    if bad:
        print(f"note: {len(bad)} of {len(index) + len(bad)} images are left out, {min(bad)} for one: {bad[min(bad)]}")
    ids, dx = index.image_id, index.dx
    for a, b in ((a, b) for a, b, _ in pairs.itertuples(index=False) if dx[a] != dx[b]):
        print(f"warning: {ids[a]} ({dx[a]}) and {ids[b]} ({dx[b]}) look like one lesion; one diagnosis is wrong")


def _largest_group(index: pd.DataFrame) -> dict:
    """The group of the most lesions; a split deals it as one, so it should be small."""
    lesions = index.groupby("group").lesion_id.nunique()
    name = lesions.idxmax()
    largest = {"group": name, "lesions": int(lesions[name]), "images": int((index.group == name).sum())}
    if largest["lesions"] >= MANY:
        print(
            f"warning: near-duplicates join {largest['lesions']} lesions ({largest['images']} images) to one group, "
            f"{name}; look at them in data/prepared/report.json; if they are none, raise "
            "prepare.duplicate_similarity_same_facts, or prepare.duplicate_similarity"
        )
    return largest
