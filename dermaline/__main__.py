"""The command line: `python -m dermaline COMMAND`; only the module of the command that is named is imported."""

import argparse
import gc
import importlib
import os

from dermaline.base.errors import DEBUG, run

COMMANDS = {  # each is a module of dermaline/commands
    "predict": "apply trained models to images, folders or zips of images",
    "export": "write trained models and their decision as one ONNX file",
    "serve": "the same over HTTP, with a page for a browser",
    "score": "measure predictions against the truth",
    "campaign": "train, predict and compare the rows of a results table",
    "challenge": "download ISIC 2018's test photographs, to validate the last run's model on",
    "record": "keep the last run's metrics and figures under results/",
    "release": "put the last run's models under released/, in half precision",
    "readme": "write the tables of the README and of docs/ from the files that were measured",
}


def main() -> None:
    listed = "\n".join(f"  {name:10}{description}" for name, description in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="python -m dermaline",
        description="Dermaline's commands beside the pipeline.",
        epilog=f"commands:\n{listed}\n\n`python -m dermaline COMMAND --help` says more of one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help=f"show the trace of an error, as {DEBUG}=1 does in stages")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="...", help="what it takes")
    given = parser.parse_args()
    if given.debug:
        os.environ[DEBUG] = "1"
    gc.disable()  # as in stages/__init__.py
    module = importlib.import_module(f"dermaline.commands.{given.command}")
    gc.enable()
    command = argparse.ArgumentParser(prog=f"{parser.prog} {given.command}", description=COMMANDS[given.command])
    module.add_arguments(command)
    line = module.main(command.parse_args(given.options))
    if line:
        print(line)


if __name__ == "__main__":
    run(main)
