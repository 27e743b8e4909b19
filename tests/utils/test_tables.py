from keras_recon.utils.tables import results_table


def test_table():
    model = {"psnr": 31.2345, "seconds": 12345.6, "parameters": 1234567}
    assert results_table({"model": model, "pca": {"psnr": 30.5}}).splitlines() == [
        "        psnr  seconds  parameters",
        "---------------------------------",
        "model  31.23   12,346   1,234,567",
        "  pca   30.5                     ",
    ]


def test_a_long_name_stands_in_parts_and_the_table_fits_80_columns():
    name = "vit-num-layers-1-decoder-num-layers-1-latent-dim-48"
    figures = {f"figure {i}": 10.0 + i for i in range(6)}
    lines = results_table({name: figures, "pca": figures}).splitlines()
    assert max(map(len, lines)) <= 80
    assert "".join(line.split()[0] for line in lines[3:-1]) == name  # below two lines of heading and the rule
    assert lines[-2].split()[1:] == lines[-1].split()[1:] == ["10", "11", "12", "13", "14", "15"]
