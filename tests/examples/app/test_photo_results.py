import pytest
from app.photo_results import table


def result(path, **scores):
    return {"path": path, "height": 30, "width": 40, "channels": 3, "bits": 8, "seconds": 0.5, **scores}


def test_a_row_a_photo_by_name_and_the_means():
    text = table([result("b.png", psnr=30.0), result("a.png", psnr=20.0, ssim=0.5)])
    rows = [line.split() for line in text.splitlines()]
    assert ["a.png", "40x30", "0.5", "20", "0.5"] in rows and ["mean", "0.5", "25", "0.5"] in rows
    assert rows.index(["b.png", "40x30", "0.5", "30"]) == rows.index(["a.png", "40x30", "0.5", "20", "0.5"]) + 1
    assert "11x11 pixels only" in text.splitlines()[-1]
    single = table([result("a.png")])
    assert "mean" not in single and "11x11" not in single and "psnr" not in single


@pytest.mark.parametrize("count", [20, 21])
def test_of_many_photos_the_first_the_last_and_the_means_of_all(count):
    text = table([result(f"{i:03}.png", psnr=float(i)) for i in range(count)])
    names = [line.split()[0] for line in text.splitlines() if ".png" in line]
    assert names == [f"{i:03}.png" for i in range(count) if count == 20 or i < 5 or i >= 16]
    assert f"{(count - 1) / 2:g}" in next(line for line in text.splitlines() if "mean" in line).split()
    assert (" ..." in text) == (count > 20)
