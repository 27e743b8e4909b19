"""Writes each guide's notebook beside it, without outputs: `python examples/guides/make_notebooks.py`."""

from pathlib import Path

import jupytext
import nbformat

GUIDES = sorted(path for path in Path(__file__).parent.glob("*.py") if path.name != Path(__file__).name)
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def notebook(guide: Path) -> nbformat.NotebookNode:
    """The notebook of a script in jupytext's percent format; the same at every call."""
    made = jupytext.read(guide, fmt="py:percent")
    made.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    for index, cell in enumerate(made.cells):
        cell.id = f"cell-{index}"  # nbformat draws them
    return made


if __name__ == "__main__":
    for guide in GUIDES:
        nbformat.write(notebook(guide), guide.with_suffix(".ipynb"))
