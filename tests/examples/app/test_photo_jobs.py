import os
from pathlib import Path

import pytest
from app import photo_jobs
from app.photo_jobs import plan

from keras_recon import images


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("in/b.png", "in/deep/a.JPG", "in/deep/c.gif", "in/.hidden/d.png", "in/e.txt", "other/b.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    return tmp_path


def targets(*args, **kwargs):
    return [str(job.target) for job in plan(*args, **kwargs)]


def test_suffixes_are_those_of_the_package():
    assert set(photo_jobs.READABLE) == set(images.SUFFIXES)
    assert set(photo_jobs.WRITABLE) == set(images.FORMATS)


def test_folders_are_mirrored(folder):
    assert targets(["in"], "out") == ["out/b.png", "out/deep/a.JPG", "out/deep/c.png"]
    jobs = plan(["in"], "out", "-x", "webp", Path("originals"), error_maps=True)
    assert [str(job.target) for job in jobs] == ["out/b-x.webp", "out/deep/a-x.webp", "out/deep/c-x.webp"]
    assert jobs[1].reference == Path("originals/deep/a.JPG") and jobs[1].error_map == Path("out/deep/a-x-error.png")
    assert jobs[0].folder == Path("out")


def test_originals_may_have_another_suffix(folder):
    for name in ("originals/deep/a.PNG", "originals/deep/a.txt", "originals/b.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    references = [job.reference for job in plan(["in"], "out", reference=Path("originals"))]
    assert references == [Path("originals", name) for name in ("b.png", "deep/a.PNG", "deep/c.gif")]


def test_files_globs_and_streams(folder):
    assert targets(["in/b.png", "in/deep/a.JPG"], "out") == ["out/b.png", "out/a.JPG"]
    assert targets(["in/**/*.gif", "other/*"], "out") == ["out/deep/c.png", "out/b.png"]
    assert targets(["in/b.png"], "new.tiff") == ["new.tiff"]
    (job,) = plan(["-"], "-")
    assert job.source is job.target is job.folder is None and job.name == "stdin"
    assert targets(["-"], "out", format="webp") == ["out/stdin.webp"]


def test_photos_that_differ_in_their_type_alone_get_names_of_their_own(folder):
    for name in ("a.gif", "a.png", "a.jpg"):
        Path("other", name).touch()
    assert targets(["other"], "out") == ["out/a.gif.png", "out/a.jpg", "out/a.png", "out/b.png"]
    assert targets(["other"], "out", "-x", "webp")[:3] == ["out/a.gif-x.webp", "out/a.jpg-x.webp", "out/a.png-x.webp"]
    assert targets(["other"], "out", format="jpg")[:3] == ["out/a.gif.jpg", "out/a.jpg", "out/a.png.jpg"]
    maps = [job.error_map.name for job in plan(["other"], "out", error_maps=True)]
    assert maps == ["a.gif-error.png", "a.jpg-error.png", "a.png-error.png", "b-error.png"]


def test_what_cannot_be_read_is_no_less_a_job(folder):
    Path("in/circle.png").symlink_to("circle.png")
    Path("in/nowhere.png").symlink_to("gone.png")
    Path("in/barred").mkdir(mode=0)
    Path("in/folder.png").mkdir()
    os.mkfifo("in/pipe.png")  # to read it would wait for its writer
    for path in (folder, *list(folder.parents)[:3]):  # pytest's own folders
        path.chmod(0o755)
    me = os.geteuid()
    os.seteuid(65534 if me == 0 else me)  # to root nothing is barred
    try:
        names = [job.name for job in plan(["in"], "out")]
        with pytest.raises(ValueError, match=r"can be searched\. Received: 'in/barred'"):
            plan(["in/barred"], "out")
    finally:
        os.seteuid(me)
    assert names == ["b.png", "barred", "circle.png", "deep/a.JPG", "deep/c.gif", "nowhere.png"]


def test_outputs_inside_the_input_folder_are_no_inputs(folder):
    first = targets(["in"], "in/out")
    for name in first:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    assert targets(["in"], "in/out") == first


@pytest.mark.parametrize(
    "inputs, output, options, message",
    [
        (["nowhere"], "out", {}, "Received: 'nowhere'"),
        (["in/.hidden"], "in/.hidden", {}, "would be overwritten"),
        (["in"], "in", {}, "the photo in/b.png would be overwritten"),
        (["in/b.png"], "in/b.png", {}, "the photo in/b.png would be overwritten"),
        (["other"], "in", {"reference": Path("in")}, "the photo in/b.png would be overwritten"),
        (["in", "other"], "out", {}, "two photos would be written to out/b.png"),
        (["in"], "-", {}, "--output must be a folder for 3 photos"),
        (["in"], "all.png", {}, "--output must be a folder for 3 photos"),
        (["in"], "in/e.txt", {}, r"must be a folder, or a file of \.png, .*Received: output='in/e.txt'"),
        (["in/b.png"], "in/b.png", {"writable": (".krc",)}, r"must be a folder, or a file of \.krc\. Received"),
        (["in/b.png"], "new.png", {"error_maps": True}, "--error-maps needs a folder"),
    ],
)
def test_mistakes_are_refused(folder, inputs, output, options, message):
    with pytest.raises(ValueError, match=message):
        plan(inputs, output, **options)
