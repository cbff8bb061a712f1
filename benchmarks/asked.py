"""What the benchmarks of results are asked on the command line."""

import argparse

from dermaline.commands.record import check_data


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
