import pytest

pytest.importorskip("jax", reason="it is JAX alone")

from benchmarks import residual_gradient


def test_a_row_for_each_depth(capsys):
    sizes = ["--batch-size", "2", "--patches", "4", "--width", "8", "--heads", "2", "--repeats", "1"]
    residual_gradient.main(["--depths", "1", "2", *sizes])
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows[2:]] == ["1", "2"]
    assert all(len(row) == 5 and min(map(float, row)) >= 0 for row in rows[2:])
