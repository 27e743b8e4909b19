"""Text tables of results, and the environment that they were measured in."""

import os
import platform
import textwrap

import keras


def environment() -> dict[str, str]:
    """Return the backend and the machine, for the protocol of results."""
    return {
        "backend": f"{keras.backend.backend()}, Keras {keras.version()}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


WIDTH = 80  # characters of a table, unless its columns need more


def results_table(results: dict[str, dict]) -> str:
    """Format results as a text table with one row per name and one column per key; missing values are empty.

    The words of a heading are stacked, and long names are wrapped.
    """
    columns = list(dict.fromkeys(key for row in results.values() for key in row))
    headings = [key.split() for key in columns]
    height = max(map(len, headings), default=1)
    headings = [[""] * (height - len(words)) + words for words in headings]
    cells = [[words[i] for words in headings] for i in range(height)]
    cells += [[_format(row.get(key)) for key in columns] for row in results.values()]
    room = max(12, WIDTH - sum(2 + max(map(len, column)) for column in zip(*cells)))
    lines = []
    for name, figures in zip([""] * height + list(results), cells):
        *above, last = textwrap.wrap(shown(name), room) or [""]
        lines += [[part, *[""] * len(columns)] for part in above] + [[last, *figures]]
    widths = [max(map(len, column)) for column in zip(*lines)]
    text = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths)) for line in lines]
    return "\n".join([*text[:height], "-" * len(text[0]), *text[height:]])


def shown(name) -> str:
    """Return a name unchanged, or quoted if it has unprintable characters."""
    return str(name) if str(name).isprintable() else repr(str(name))


def _format(value) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 1000 else f"{value:.4g}"
