def results_table(results: dict[str, dict]) -> str:
    """Rows by name, a column a figure, as text; empty where a row lacks it. A heading's words stand on each other."""
    columns = list(dict.fromkeys(key for row in results.values() for key in row))
    headings = [key.split() for key in columns]
    height = max(map(len, headings), default=1)
    headings = [[""] * (height - len(words)) + words for words in headings]
    lines = [["", *(words[i] for words in headings)] for i in range(height)]
    lines += [[name, *(_format(row.get(key)) for key in columns)] for name, row in results.items()]
    widths = [max(map(len, column)) for column in zip(*lines)]
    text = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths)) for line in lines]
    return "\n".join([*text[:height], "-" * len(text[0]), *text[height:]])


def _format(value) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 1000 else f"{value:.4g}"
