"""Make one HTML page of the last run: report/index.html, which needs no other file and no network."""

from pathlib import Path

from dermaline.base import errors, files
from dermaline.base.parameters import load
from dermaline.params.evaluate import Evaluate
from dermaline.params.split import Split
from dermaline.reporting import run
from dermaline.reporting.page import page

PAGE = Path("report/index.html")


def main() -> None:
    recipes = load(list[str], "ensemble")
    files.keep_only(Path("metrics/explain"), [f"{name}.json" for name in recipes])
    files.keep_only(run.MAPS, [f"{name}.png" for name in recipes])
    told = run.read(recipes, load(Split, "split"), load(Evaluate, "evaluate"))
    files.write_text(PAGE, page(told))
    print(f"{PAGE}: {PAGE.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    errors.run(main)
