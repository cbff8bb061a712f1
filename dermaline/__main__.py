"""The command line: `python -m dermaline COMMAND`; each command imports what it needs, so that `--help` is quick."""

import argparse
from pathlib import Path

from dermaline.errors import run


def main() -> None:
    options = parser().parse_args()
    line = options.act(options)
    if line:
        print(line)


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="python -m dermaline", description="Dermaline's commands beside the pipeline.")
    commands = whole.add_subparsers(dest="command", required=True)
    for add in (_predict, _score, _campaign, _record, _release, _readme):
        add(commands)
    return whole


def _predict(commands: argparse._SubParsersAction) -> None:
    def act(options: argparse.Namespace) -> str:
        from dermaline.apply import predict

        named = (options.model, options.decision, options.last_run, options.output)
        return predict(options.paths, *named, options.format, options.metadata, options.tta, options.device)

    command = commands.add_parser("predict", help="apply trained models to images, folders or zips of images")
    command.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="an image, a folder, or a zip")
    models = command.add_mutually_exclusive_group()
    several = {"nargs": "+", "action": "extend", "default": [], "type": Path}
    models.add_argument("--model", **several, metavar="FOLDER", help="default: the released ones")
    models.add_argument("--last-run", action="store_true", help="the last run's models and decision")
    command.add_argument("--decision", type=Path, metavar="FILE", help="of the --model; default: their plain mean")
    command.add_argument("--output", type=Path, default=Path("predictions.csv"), metavar="FILE.csv")
    command.add_argument("--format", choices=("csv", "isic"), default="csv", help="isic: ISIC 2018 Task 3")
    command.add_argument("--metadata", type=Path, metavar="TABLE", help="image_id and any of age, sex, localization")
    command.add_argument("--tta", choices=("none", "flips", "d4"), help="default: as the model or predict.tta")
    command.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    command.set_defaults(act=act)


def _score(commands: argparse._SubParsersAction) -> None:
    def act(options: argparse.Namespace) -> str:
        from dermaline.score import score

        return score(options.predictions, options.truth, options.output, options.bootstrap)

    command = commands.add_parser("score", help="measure predictions against the truth")
    command.add_argument("predictions", type=Path, help="what predict wrote, in either format")
    command.add_argument("truth", type=Path, help="image_id, dx and maybe lesion_id; or ISIC's image, MEL, NV, ...")
    command.add_argument("--output", type=Path, default=Path("scores.json"), metavar="FILE.json")
    command.add_argument("--bootstrap", type=int, default=1000, metavar="N", help="replicates for the intervals")
    command.set_defaults(act=act)


def _campaign(commands: argparse._SubParsersAction) -> None:
    def act(options: argparse.Namespace) -> str:
        from dermaline.campaign import run as run_campaign

        return run_campaign(options.file, options.data, options.jobs, options.minutes)

    command = commands.add_parser("campaign", help="train, predict and compare the rows of a results table")
    command.add_argument("file", type=Path, help="such as campaigns/recipes.yaml")
    command.add_argument("--data", required=True, help="what it is measured on, such as ham10000")
    command.add_argument("--jobs", type=int, default=1, metavar="N", help="trainings at a time")
    command.add_argument("--minutes", type=float, default=1e6, metavar="N", help="then stop; call again to go on")
    command.set_defaults(act=act)


def _record(commands: argparse._SubParsersAction) -> None:
    def act(options: argparse.Namespace) -> Path:
        from dermaline.results import record

        return record(options.name, options.data, options.made_by, options.seconds)

    command = commands.add_parser("record", help="keep the last run's metrics and figures under results/")
    command.add_argument("name", help="the row's name, such as the recipe's")
    command.add_argument("--data", required=True, help="what it was measured on, such as ham10000")
    command.add_argument("--made-by", required=True, metavar="COMMAND", help="the command that made it")
    command.add_argument("--seconds", required=True, type=float, help="how long that command took")
    command.set_defaults(act=act)


def _release(commands: argparse._SubParsersAction) -> None:
    def act(options: argparse.Namespace) -> str:
        from dermaline.release import release

        return release()

    command = commands.add_parser("release", help="put the last run's models under released/, in half precision")
    command.set_defaults(act=act)


def _readme(commands: argparse._SubParsersAction) -> None:
    def act(options: argparse.Namespace) -> None:
        from dermaline.readme import write_readme

        write_readme()

    command = commands.add_parser("readme", help="write the README's tables from the files that were measured")
    command.set_defaults(act=act)


if __name__ == "__main__":
    run(main)
