"""Diagnoses of photographs by an exported model, with onnxruntime, NumPy and Pillow alone.

    python predict_with_onnx.py model.onnx lesion.jpg more.png

Prints a CSV table like that of `python -m dermaline predict`. Copy it into your own program.
"""

import csv
import json
import os
import sys

import numpy as np
from PIL import Image, ImageOps

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # else importing it lays an identifier into the home, and reports
import onnxruntime


def load(path: str) -> tuple[onnxruntime.InferenceSession, dict]:
    """The model, and what its file says of itself."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    return session, {key: json.loads(value) for key, value in facts.items() if key != "notice"}


def decode(path: str, size: tuple[int, int]) -> np.ndarray:
    """A photograph as the model wants it: uint8 [height, width, 3], RGB.

    Turned as its EXIF says, and on its side if it is a portrait (where the model's size is a landscape); transparent
    pixels white; cropped at the centre to the size's shape, and resized. All of it counts: the network has seen no
    others.
    """
    height, width = size
    with Image.open(path) as image:
        if image.mode.startswith(("I", "F")):
            raise ValueError(f"{path}: more than 8 bits a channel; convert it")
        long, short = max(size), min(size)
        image.draft("RGB", (long, short) if image.width > image.height else (short, long))
        image = ImageOps.exif_transpose(image)
        if (image.width - image.height) * (width - height) < 0:
            image = image.transpose(Image.Transpose.ROTATE_90)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.asarray(ImageOps.fit(image.convert("RGB"), (width, height), Image.Resampling.BICUBIC))


def main() -> None:
    model, *paths = sys.argv[1:]
    session, facts = load(model)
    classes = facts["classes"]
    outputs = [one.name for one in session.get_outputs()]
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["image", "predicted", *classes, *outputs[2:]])
    for path in paths:
        given = {"images": decode(path, facts["size"])[None]}
        if "unknown_metadata" in facts:  # age, sex and place: this program knows none of them
            given["metadata"] = np.array([facts["unknown_metadata"]], np.float32)
        found = dict(zip(outputs, session.run(outputs, given), strict=True))
        row = [path, classes[found["diagnosis"][0]], *(f"{share:.7f}" for share in found["probabilities"][0])]
        if "melanoma_suspected" in found:
            row.append(str(found["melanoma_suspected"][0]).lower())
        if "set" in found:
            row.append(" ".join(name for name, inside in zip(classes, found["set"][0], strict=True) if inside))
        table.writerow(row)


if __name__ == "__main__":
    main()
