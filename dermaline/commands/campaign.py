"""The command `campaign`: the rows of one table of results, trained, predicted and compared.

The rows stand in a file of `campaigns/`. What is done is not done again, so a campaign can be run in parts, and on
machines where DVC is not.
"""

import argparse
from itertools import chain
from pathlib import Path

from dermaline.base.errors import DermalineError
from dermaline.campaigns import cluster, plan
from dermaline.campaigns.plan import TrainingJob
from dermaline.campaigns.table import results_table
from dermaline.commands.numbers import count
from dermaline.commands.results_summary import check_data, keep_table
from dermaline.data.batches import packed_size
from dermaline.data.index import PREPARED
from dermaline.params import whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="such as campaigns/recipes.yaml")
    parser.add_argument("--data", required=True, help="what it is measured on, such as ham10000")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--jobs", type=count, default=1, metavar="N", help="trainings at a time here (default: 1)")
    where.add_argument("--scheduler", metavar="ADDRESS", help="a Dask scheduler that runs, such as tcp://host:8786")
    needs = "what a training takes of a worker's resources (default: GPU=1, or CPU=1 without a GPU)"
    parser.add_argument("--needs", type=_resource, metavar="NAME=N", help=needs)
    parser.add_argument("--minutes", type=float, default=1e6, metavar="N", help="then stop; call again to go on")


def _resource(text: str) -> tuple[str, int]:
    name, _, amount = text.partition("=")
    return name, count(amount)


def main(options: argparse.Namespace) -> str:
    """Do what is left of a campaign, and write the rows that are done to `results/DATA/NAME.csv`.

    Several runs of a row, with other seeds or on other folds, are pooled: an image is there once a run that scored it,
    and an interval redraws lesions, not runs, for which the standard deviation stands.

    Raises:
        DermalineError: the campaign can't be read, other images are packed, or a stage failed (after the others).
    """
    path, campaign = options.file, plan.read(options.file)
    check_data(options.data)
    params = whole.read()
    if params.prepare.size != tuple(packed_size()):
        raise DermalineError(f"{PREPARED}: packed at another size than prepare.size; run dvc repro, or set it back")
    jobs = {row.name: [plan.jobs(campaign, row, run) for run in plan.runs(campaign)] for row in campaign.rows}
    trainings: dict[Path, list[TrainingJob]] = {}
    for job in chain.from_iterable(chain.from_iterable(jobs.values())):
        trainings.setdefault(job.folder, []).append(job)
    left = [same for same in trainings.values() if not all(job.predictions.exists() for job in same)]
    needs = options.needs or cluster.needed(params.compute.device)
    errors = cluster.run_all(left, needs, options.jobs, options.scheduler, options.minutes)
    done = {name: runs for name, runs in jobs.items() if all(job.predictions.exists() for run in runs for job in run)}
    if campaign.rows[0].name in done:
        command = f"python -m dermaline campaign {path} --data {options.data}"
        keep_table(results_table(campaign, done), path.stem, options.data, campaign.split, command)
    if errors:
        raise DermalineError(f"{path}: {errors[0]}{f', and {len(errors) - 1} more' if errors[1:] else ''}")
    again = "" if len(done) == len(jobs) else "; call it again"
    return f"{path}: {len(done)} of {len(jobs)} rows are done{again}"
