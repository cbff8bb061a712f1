"""The columns of a table of photographs: HAM10000's seven, and two that a table may have besides."""

COLUMNS: tuple[str, ...] = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
SOURCE = "dataset"  # which clinic or camera a photograph is from; Dataverse's table has it, Kaggle's has not
GENERATED = "synthetic"  # stands there for images that were drawn
PATIENT = "patient_id"  # whose lesion it is; HAM10000 does not say, one's own table may
