"""What the benchmarks of results are asked on the command line, and how they keep their answer."""

import argparse
from collections.abc import Mapping

import pandas as pd
from lightning_fabric import Fabric

from dermaline.commands.results_summary import check_data, keep_table
from dermaline.compute import in_words
from dermaline.evaluation.compare import models_table
from dermaline.params.whole import read as read_params


def asked(description: str, models: str | None = None) -> argparse.Namespace:
    """`data`, and `models` where its help is given.

    Raises:
        DermalineError: data/prepared holds other data than `data` says.
    """
    parser = argparse.ArgumentParser(description=description)
    if models:
        parser.add_argument("models", nargs="+", help=models)
    parser.add_argument("--data", required=True, help="what it is measured on, such as ham10000")
    chosen = parser.parse_args()
    check_data(chosen.data)
    return chosen


def keep(name: str, chosen: argparse.Namespace, tables: Mapping[str, pd.DataFrame], fabric: Fabric) -> pd.DataFrame:
    """Compare decided predictions on validation images with the first of them, into results/DATA/NAME.csv.

    Args:
        name: of the benchmark.
        chosen: what it was asked, see `asked`.
        tables: of each row, see `models_table`, whose result this gives.
        fabric: on which the models ran.
    """
    table = models_table(tables, read_params().evaluate).assign(seeds=1, machine=in_words(fabric))
    words = " ".join([name, *getattr(chosen, "models", [])])
    keep_table(table, name, chosen.data, "val", f"python -m benchmarks.{words} --data {chosen.data}")
    return table
