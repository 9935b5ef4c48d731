"""Arguments that several commands take, and how they are read."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any


def positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


_AGES = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def age(text: str) -> float:
    """Seconds of 90m, 12h, 30d or 2w."""
    if not text[:-1].isdigit() or text[-1] not in _AGES:
        raise argparse.ArgumentTypeError(f"{text!r} is no age; give one like 90m, 12h, 30d or 2w")
    return float(int(text[:-1]) * _AGES[text[-1]])


def _parsed(parse: Callable[[str], int], text: str) -> int:
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def size(text: str) -> int:
    """Bytes of 500MB or 1TB."""
    from pipeline.sizes import parse_bytes

    return _parsed(parse_bytes, text)


def device(text: str) -> str:
    if text not in ("auto", "cpu", "cuda") and not (text.startswith("cuda:") and text[5:].isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no device; choose auto, cpu, cuda or cuda:1")
    return text


def memory(text: str) -> int:
    from pipeline.allotment import parse_memory

    return _parsed(parse_memory, text)


class Parser(argparse.ArgumentParser):
    """Help texts keep their lines, options are written in full."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)


def plain(commands: Any, name: str, text: str, example: str, more: str) -> argparse.ArgumentParser:
    description = f"{text[0].upper()}{text[1:]}.\n{more}".strip()
    made: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=description, epilog=f"examples:\n  {example}"
    )
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return made


def where(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--config", metavar="CONFIG", help="the run's config (default: the only one in this folder)"
    )
    made.add_argument("--store", metavar="URL", help="the run's store, where it was given to run as well")


def add_engine(made: argparse.ArgumentParser, verb: str) -> None:
    made.add_argument(
        "--engine", choices=("local", "ray"), default="local", help=f"what to {verb} with (default: local)"
    )
    made.add_argument("--workers", type=positive, metavar="N", help="tasks at a time (default: all cores)")
    made.add_argument(
        "--memory", type=memory, metavar="SIZE",
        help="what each worker may take, such as 2GiB (default: its part of 70 %% of the machine)",
    )  # fmt: skip
    made.add_argument("--address", metavar="A", help="the Ray cluster, such as auto or ray://host:10001")


def add_log(made: argparse.ArgumentParser) -> None:
    """How stderr looks; the log in the run's folder has everything in any case."""
    made.add_argument("--plain", action="store_true", help="lines instead of the live display")
    made.add_argument(
        "--log-format", choices=("text", "json"), default="text", help="of stderr; json: one object a line"
    )
    made.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info",
        help="what stderr shows at least; debug: every task (default: info)",
    )  # fmt: skip
