import re

from contracts import random_images
from models.test_vit import TINY

from keras_recon import metrics, models
from keras_recon.callbacks import ProgressBar, Throughput


def test_lines_fit_100_columns_and_have_no_more_than_one_looks_for(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    model = models.ViTReconstructor(**TINY)
    model.compile("adam", "mse", metrics=[metrics.PSNR(), metrics.SSIM()])
    images = random_images(8, 16, 16, 3)
    callbacks = [Throughput(4), ProgressBar()]
    model.fit(images, images, batch_size=4, validation_data=(images, images), epochs=1, callbacks=callbacks)
    lines = re.split(r"[\r\n\b]+", re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out))
    last = max(lines, key=len)
    assert len(last) <= 100
    assert re.findall(r"(\w+): ", last) == ["loss", "psnr", "val_psnr"]
