import argparse
import difflib
import re


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the usage, and what a misspelt flag may have meant."""

    def __init__(self, description: str, **kwargs):
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)

    def error(self, message: str):
        unknown = re.match(r"unrecognized arguments: (-[^\s=]+)", message)
        close = unknown and difflib.get_close_matches(unknown[1], self._option_string_actions, n=1)
        suggestion = f"; did you mean {close[0]}?" if close else ""
        self.exit(2, f"error: {message}{suggestion} (--help lists all)\n")
