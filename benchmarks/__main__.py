"""The one command of the benchmark: ``python -m benchmarks`` and one of ``COMMANDS``."""

import argparse
import dataclasses
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from . import backends, compare, lists, peers, scale, table
from .driver import HERE, Options

COMMANDS = {
    "models": "every model on the course's split: results.csv",
    "splits": "some models on ten random splits: splits.csv",
    "folds": "some models on the five official folds, and on each user's last ten ratings: folds.csv",
    "lists": "top-ten lists beside other libraries, tuned and scored: lists.csv",
    "backends": "three networks on each backend of Keras that is installed: backends.csv",
    "tune": "choose the peers' settings again, and print them",
    "scale": "the measurements of the notebook on scale at full size: scale.csv",
    "table": "print the stored results as the tables of the READMEs",
    "all": "models, splits, folds, lists, scale, table",
}
LIMIT = 1200  # seconds for one model
SCALE_LIMIT = 1800  # seconds for one measurement of scale.csv


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return what the command line chose; argparse ends the program with a sentence when it makes no sense."""
    known = {
        "models": list(compare.MODELS),
        "splits": list(compare.MODELS),
        "folds": list(compare.MODELS),
        "lists": list(lists.LISTERS),
        "tune": list(peers.GRIDS),
    }
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=compare.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, purpose in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=purpose)
        command.add_argument("--out", type=Path, help="folder of the CSV files (default: benchmarks)")
        if name == "table":
            continue
        command.add_argument("--quick", action="store_true", help="a small trial, into a temporary folder")
        command.add_argument("--threads", type=int, default=2, help="for each model (default 2)")
        command.add_argument(
            "--limit",
            type=float,
            help=f"seconds for one measurement (default {LIMIT}; {SCALE_LIMIT} for scale)",
        )
        command.add_argument("--envs", type=Path, default=HERE / ".envs", help="folder of the environments")
        if name in known:
            command.add_argument(
                "--only",
                nargs="+",
                default=[],
                choices=known[name],
                metavar="NAME",
                help=", ".join(known[name]),
            )
        if name in ("models", "lists"):
            command.add_argument("--seeds", nargs="+", type=int, default=[], help="not each model's own")
        if name == "scale":
            parts = list(scale.MEASURE)
            # argparse would check an empty list against `choices`, so the parts are checked below.
            command.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts))
    chosen = parser.parse_args(arguments)
    for part in getattr(chosen, "parts", []):
        if part not in scale.MEASURE:
            parser.error(f"There is no part {part!r}. The parts are {', '.join(scale.MEASURE)}.")
    return chosen


def options_of(chosen: argparse.Namespace) -> Options:
    """Return the options of a measuring command. A quick run never touches the stored results."""
    out = chosen.out or (Path(tempfile.mkdtemp(prefix="benchmark-")) if chosen.quick else HERE)
    limit = chosen.limit or (SCALE_LIMIT if chosen.command == "scale" else LIMIT)
    lists = {name: tuple(getattr(chosen, name, ())) for name in ("only", "seeds")}
    return Options(out, chosen.envs, chosen.threads, limit, quick=chosen.quick, **lists)


def main(arguments: Sequence[str]) -> None:
    """Run one command."""
    chosen = parse(arguments)
    if chosen.command == "table":
        print(table.all_tables(chosen.out or HERE))
        return
    options, start = options_of(chosen), time.perf_counter()
    wanted = ("models", "splits", "folds", "lists", "scale") if chosen.command == "all" else (chosen.command,)
    if "tune" in wanted:
        compare.tune(options)
        return
    if "backends" in wanted:
        backends.backends(options)
    if "models" in wanted:
        compare.models(options)
    if "splits" in wanted:
        compare.over("splits", range(1, 3 if options.quick else 11), options)
    if "folds" in wanted:
        compare.over("folds", [1] if options.quick else [1, 2, 3, 4, 5, compare.LAST_TEN], options)
    if "lists" in wanted:
        lists.lists(options)
    if "scale" in wanted:
        longer = dataclasses.replace(options, limit=chosen.limit or SCALE_LIMIT)
        scale.scale(getattr(chosen, "parts", None) or list(scale.MEASURE), longer)
    if chosen.command == "all":
        print(table.all_tables(options.out))
    print(f"{chosen.command}: {time.perf_counter() - start:.0f} s, results in {options.out}")


if __name__ == "__main__":
    main(sys.argv[1:])
