from keras_recon.utils.tables import results_table


def test_table():
    model = {"psnr": 31.2345, "seconds": 12345.6, "parameters": 1234567}
    assert results_table({"model": model, "pca": {"psnr": 30.5}}).splitlines() == [
        "        psnr  seconds  parameters",
        "---------------------------------",
        "model  31.23   12,346   1,234,567",
        "  pca   30.5                     ",
    ]
