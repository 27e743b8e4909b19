"""Packages that only some scripts need, in extras of pyproject.toml."""

from importlib.util import find_spec

from app.parser import fail


def require(extra: str, *packages: str):
    """End with one sentence if a package is missing, before anything that takes seconds is imported."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        fail(f'{", ".join(missing)} must be installed first: pip install -e ".[{extra}]"')
