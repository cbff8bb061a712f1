"""One trial: `python -m benchmarks.reliability NAME [options]`, NAME being a module beside this one."""

import argparse
import importlib
import pkgutil

import benchmarks.reliability as trials
from benchmarks.reliability.rows import keep
from dermaline.base import errors

OTHERS = ("__main__", "rows", "small")


def main() -> None:
    modules = [module for module in pkgutil.iter_modules(trials.__path__) if not module.ispkg]
    names = sorted(module.name for module in modules if module.name not in OTHERS)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description="One trial of reliability.")
    parser.add_argument("trial", choices=names)
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="...", help="what it takes")
    given = parser.parse_args()
    keep(importlib.import_module(f"benchmarks.reliability.{given.trial}").main(given.options))


if __name__ == "__main__":
    errors.run(main)
