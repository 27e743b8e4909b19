import os
import platform
import textwrap

import keras


def environment() -> dict[str, str]:
    """What figures depend on beside the code, for their protocol."""
    return {
        "backend": f"{keras.backend.backend()}, Keras {keras.version()}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


WIDTH = 80  # of a table whose figures leave room for the names


def results_table(results: dict[str, dict]) -> str:
    """Rows by name, a column a figure, as text; empty where a row lacks it.

    A heading's words stand on each other, and so do the parts of a name that is too long.
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
    """A name as it is, or quoted if it has line breaks, control characters or bytes that are no text."""
    return str(name) if str(name).isprintable() else repr(str(name))


def _format(value) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 1000 else f"{value:.4g}"
