"""The seven diagnoses of HAM10000: the one place where their order and names stand."""

DIAGNOSES: dict[str, str] = {
    "akiec": "Actinic keratosis",
    "bcc": "Basal cell carcinoma",
    "bkl": "Benign keratosis",
    "df": "Dermatofibroma",
    "mel": "Melanoma",
    "nv": "Melanocytic nevus",
    "vasc": "Vascular lesion",
}
CLASSES: tuple[str, ...] = tuple(DIAGNOSES)
INDEX: dict[str, int] = {name: number for number, name in enumerate(CLASSES)}
MELANOMA: int = INDEX["mel"]
