"""The command line: `python -m dermaline record|readme|crossval`."""

import argparse
from pathlib import Path

from dermaline import crossval, results
from dermaline.errors import run


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m dermaline", description="Dermaline's commands beside the pipeline."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record", help="keep the last run's metrics and figures under results/")
    record.add_argument("name", help="the row's name, such as the recipe's")
    record.add_argument("--data", required=True, help="what it was measured on, such as ham10000")
    record.add_argument("--made-by", required=True, metavar="COMMAND", help="the command that made it")
    record.add_argument("--seconds", required=True, type=float, help="how long that command took")
    commands.add_parser("readme", help="write the README's results table from results/summary.json")
    folds = commands.add_parser("crossval", help="gather the experiments that tested one fold each")
    folds.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help="default: all of HEAD with a split.fold")
    folds.add_argument("--output", type=Path, default=Path("metrics/crossval.json"), metavar="FILE.json")
    options = parser.parse_args()
    if options.command == "record":
        print(results.record(options.name, options.data, options.made_by, options.seconds))
    elif options.command == "crossval":
        print(crossval.crossval(options.experiments, options.output))
    else:
        results.write_readme()


if __name__ == "__main__":
    run(main)
