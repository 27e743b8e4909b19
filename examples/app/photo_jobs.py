"""Which photos `reconstruct.py` and `compress.py` read and where they write. Only the standard library is imported."""

import glob
import os
from collections import Counter
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

READABLE = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".avif", ".heic", ".heif")
WRITABLE = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
STREAM = "-"


@dataclass(frozen=True)
class Job:
    """A photo to reconstruct.

    Attributes:
        source: its file; None for stdin.
        name: its path inside the folder that was given, or its file name.
        target: the file to write; None for stdout.
        folder: of all results; None where only the photo is written.
        error_map: the file of its error map, if there is to be one.
        reference: the file that it is compared with, if any.
    """

    source: Path | None
    name: str
    target: Path | None
    folder: Path | None
    error_map: Path | None = None
    reference: Path | None = None


def plan(
    inputs: list[str],
    output: str,
    suffix: str = "",
    format: str | None = None,
    reference=None,
    error_maps=False,
    readable: tuple[str, ...] = READABLE,
    writable: tuple[str, ...] = WRITABLE,
) -> list[Job]:
    """The jobs that inputs (files, folders, globs, `-`) and an output (folder, file, `-`) mean, by suffixes of files.

    Raises a ValueError for inputs that are not there, for outputs that would overwrite a photo that is read, or each
    other, and for a file where a folder must be.
    """
    found = [pair for text in inputs for pair in _find(text, Path(os.path.realpath(output)), readable)]
    single = output == STREAM or (Path(output).suffix.lower() in writable and not Path(output).is_dir())
    if single and len(found) != 1:
        raise ValueError(f"--output must be a folder for {len(found)} photos. Received: output={output!r}")
    if not single and os.path.isfile(output):
        raise ValueError(f"--output must be a folder, or a file of {', '.join(writable)}. Received: output={output!r}")
    if single and error_maps:
        raise ValueError(f"--error-maps needs a folder as --output. Received: output={output!r}")
    stems = [name.with_name(name.stem + suffix) for _, name in found]
    suffixes = (name.suffix for _, name in found)
    kinds = [f".{format}" if format else kind if kind.lower() in writable else ".png" for kind in suffixes]
    of_stem, of_target = Counter(stems), Counter(f"{stem}{kind}" for stem, kind in zip(stems, kinds))
    jobs = []
    for (source, name), stem, kind in zip(found, stems, kinds):
        if of_target[f"{stem}{kind}"] > 1 and kind != name.suffix:  # a.gif beside a.png
            stem = name.with_name(name.name + suffix)
        of_map = f"{stem}{kind}" if of_stem[stem] > 1 else stem
        jobs.append(
            Job(
                source,
                name.as_posix(),
                target=None if output == STREAM else Path(output) if single else Path(output, f"{stem}{kind}"),
                folder=None if single else Path(output),
                error_map=Path(output, f"{of_map}-error.png") if error_maps else None,
                reference=reference and _reference(Path(reference, name)),
            )
        )
    # Not by Path.resolve, which raises errors for links that lead in a circle.
    read = {os.path.realpath(path) for job in jobs for path in (job.source, job.reference) if path}
    written = set()
    for path in (path for job in jobs for path in (job.target, job.error_map) if path):
        if os.path.realpath(path) in read:
            raise ValueError(f"the photo {path} would be overwritten: choose another --output, or a --suffix")
        if os.path.realpath(path) in written:
            raise ValueError(f"two photos would be written to {path}: give them to two runs, with an --output each")
        written.add(os.path.realpath(path))
    return jobs


def _reference(path):
    """A file of that name, else one of that name with another suffix."""
    others = sorted(path.parent.glob(f"{glob.escape(path.stem)}.*"))
    return path if path.exists() else next((p for p in others if p.suffix.lower() in READABLE), path)


def _find(text, output, readable):
    """(source, name) of the photos that an input means."""
    path = Path(text)
    if text == STREAM:
        return [(None, Path("stdin"))]
    if os.path.isdir(path):  # that of pathlib raises errors for paths that are too long or barred
        barred = []  # folders that cannot be searched: taken for photos, they are named as those that cannot be read
        walk = os.walk(path, onerror=lambda error: barred.append(Path(error.filename)))
        paths = (Path(root, name) for root, _, names in walk for name in names)
        paths = [p for p in paths if p.suffix.lower() in readable and (os.path.isfile(p) or not os.path.exists(p))]
        if barred == [path]:
            raise ValueError(f"INPUT must be a folder that can be searched. Received: {text!r}")
        paths = sorted([*paths, *barred])
        pairs = [(p, p.relative_to(path)) for p in paths]
        pairs = [(p, name) for p, name in pairs if not any(part.startswith(".") for part in name.parts)]
        if Path(os.path.realpath(path)) in output.parents:  # what an earlier run wrote inside the folder
            pairs = [(p, name) for p, name in pairs if output not in Path(os.path.realpath(p)).parents]
    elif os.path.isfile(path):
        pairs = [(path, Path(path.name))]
    else:
        root = Path(*takewhile(lambda part: not glob.has_magic(part), path.parts))
        paths = sorted(p for p in map(Path, glob.glob(text, recursive=True)) if os.path.isfile(p))
        pairs = [(p, p.relative_to(root)) for p in paths]
    if not pairs:
        found = "a folder without any" if os.path.isdir(path) else "where there is none"
        kinds = "photos" if readable is READABLE else ", ".join(readable)
        raise ValueError(f"INPUT must be '-', or files, folders or globs of {kinds}. Received: {text!r}, {found}")
    return pairs
