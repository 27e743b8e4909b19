import argparse
import difflib
import os
import re
import sys
from pathlib import Path
from typing import NoReturn


class Paragraphs(argparse.HelpFormatter):
    """Fits a description to the terminal paragraph by paragraph, except for what is indented."""

    def _fill_text(self, text, width, indent):
        fill = super()._fill_text
        parts = text.strip("\n").split("\n\n")
        return "\n\n".join(part if part.startswith(" ") else fill(part, width, indent) for part in parts)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the usage, and what a misspelt flag may have meant."""

    def __init__(self, description: str, **kwargs):
        super().__init__(description=description, formatter_class=Paragraphs, allow_abbrev=False, **kwargs)
        self._given = []

    def parse_known_args(self, args=None, namespace=None):
        self._given = sys.argv[1:] if args is None else [*args]
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        # A misspelt flag may show in what is missing: argparse tells of that first.
        if re.match("unrecognized arguments|the following arguments are required", message):
            message += next(filter(None, map(self._meant, self._given)), " (--help lists all)")
        fail(message)

    def _meant(self, argument: str) -> str | None:
        """What a flag that there is not may have meant."""
        flag = argument.partition("=")[0]
        if not flag.startswith("--") or flag in self._option_string_actions:
            return None
        names = [known[2:] for known in self._option_string_actions if known.startswith("--")]
        close = difflib.get_close_matches(flag[2:], names, n=1)
        return f"; did you mean --{close[0]}? (there is no {flag})" if close else None


def check_model_path(name: str, path: Path):
    """End if there is no such file or folder, and it cannot be a preset's name, which `load_model` looks up later."""
    if not os.path.exists(path) and (path.suffix or path.name != str(path)):
        fail(f"{name} must be a preset, a .keras file or the folder of a run. Received: {path}")


def fail(message: object) -> NoReturn:
    """End with status 2 and one sentence."""
    print(f"error: {printable(message)}", file=sys.stderr)
    sys.exit(2)


def printable(text: object) -> str:
    """Text in which a file's or a model's name is nothing that a terminal obeys, or cannot show."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
