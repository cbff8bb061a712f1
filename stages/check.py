"""Check all parameters, and the recipes that they name, before any other stage runs."""

from pathlib import Path

from dermaline.base.errors import run
from dermaline.base.files import write_text
from dermaline.params import whole


def main() -> None:
    whole.ensemble()
    write_text(Path("data/checked.txt"), "The parameters are ones that every stage takes.\n")


if __name__ == "__main__":
    run(main)
