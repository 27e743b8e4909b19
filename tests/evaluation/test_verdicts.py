import numpy as np
import pytest

from keras_recon.evaluation.comparison import AUTOENCODER, PRETRAINED, RANDOM, SCRATCH, Curve, Entry, verdicts

PCA = np.full(4, 30.0)


def entry(system, psnr, *seconds, label=None, steps=(100, 200, 300)):
    """Of equal images, with a seed for each time a validation takes; 30, 31 and 32 dB at the three validations."""
    curves = [Curve(np.array(steps), s * np.array([1, 2, 3]), np.array([30.0, 31.0, 32.0])) for s in seconds]
    return Entry(label or system, system, np.full(4, psnr), curves)


def interval(scores, reference):
    """Half a decibel to either side."""
    mean = np.mean(scores - reference)
    return mean - 0.5, mean + 0.5


def judged(*entries, interval=interval):
    return [verdict.verdict for verdict in verdicts(list(entries), PCA, interval)]


@pytest.mark.parametrize(
    "psnr, seconds, expected",
    [
        (31.0, 1, "supported"),
        (30.4, 1, "not decided"),  # the interval contains 0
        (29.0, 1, "refuted"),
        (31.0, 9, "refuted"),
        (31.0, 5, "not decided"),  # as fast
    ],
)
def test_the_autoencoder_as_a_baseline(psnr, seconds, expected):
    assert judged(entry(AUTOENCODER, psnr, seconds), entry(SCRATCH, 31.0, 5))[0] == expected


@pytest.mark.parametrize(
    "auto, vit, expected",
    [(31, 31, "supported"), (31, 31.8, "not decided"), (31, 33, "refuted"), (33, 31.8, "refuted")],
)
def test_the_best_reconstruction(auto, vit, expected):
    rows = entry(PRETRAINED, 32.0, 1), entry(AUTOENCODER, auto, 1), entry(SCRATCH, vit, 1)
    assert judged(*rows)[1] == expected


@pytest.mark.parametrize(
    "distance, expected", [(1.0, "supported"), (2.8, "not decided"), (4.0, "refuted")]
)  # of the pretrained ViT; the others have 3
def test_what_looks_best_is_judged_apart(distance, expected):
    rows = entry(PRETRAINED, 29.0, 1), entry(AUTOENCODER, 31, 1), entry(SCRATCH, 31, 1), entry(RANDOM, 31, 1)
    rows = [row._replace(perceptual=np.full(4, 3.0)) for row in rows]
    rows[0] = rows[0]._replace(perceptual=np.full(4, distance))
    found = verdicts(rows, PCA, interval)
    assert [v.verdict for v in found[1:5]] == ["refuted", expected, "refuted", expected]
    assert "[" in found[2].figures and "dB" not in found[2].figures
    assert len(verdicts([row._replace(perceptual=None) for row in rows], PCA, interval)) == len(found) - 2


@pytest.mark.parametrize(
    "seconds, steps, expected",
    [
        (1, (10, 20, 30), "supported"),
        (9, (200, 400, 600), "refuted"),
        (9, (10, 20, 30), "not decided"),  # fewer steps, more seconds
        (1, (100, 200, 300), "not decided"),  # as many steps
    ],
)
def test_convergence(seconds, steps, expected):
    assert judged(entry(PRETRAINED, 31.0, seconds, steps=steps), entry(SCRATCH, 31.0, 5)) == [expected]


@pytest.mark.parametrize("auto, pretrained, expected", [(1, 2, "supported"), (1, 9, "refuted"), (9, 9, "refuted")])
def test_the_slow_vit(auto, pretrained, expected):
    rows = entry(PRETRAINED, 31.0, pretrained), entry(AUTOENCODER, 31.0, auto), entry(SCRATCH, 31.0, 5)
    assert judged(*rows)[3] == expected


def test_seeds_must_agree():
    vit = entry(SCRATCH, 31.0, 5, 7)
    assert judged(entry(AUTOENCODER, 31.0, 1, 4), vit)[0] == "supported"
    assert judged(entry(AUTOENCODER, 31.0, 1, 6), vit)[0] == "not decided"


def test_a_claim_about_systems_that_are_not_there_has_no_verdict():
    assert verdicts([entry(AUTOENCODER, 31.0, 1)], PCA, interval) == []
    pair = verdicts([entry(PRETRAINED, 31.0, 1), entry(SCRATCH, 31.0, 5)], PCA, interval)
    assert [verdict.claim for verdict in pair] == ["The pretrained ViT converges faster than the ViT from scratch"]


def test_the_best_row_of_a_system_stands_for_it_and_the_figures_are_told():
    rows = [
        entry(SCRATCH, 31.0, 5, label="vit"),
        entry(AUTOENCODER, 29.0, 1),
        entry(AUTOENCODER, 31.5, 2, label="wide"),
    ]
    assert verdicts(rows, PCA, interval)[0].figures == (
        "wide +1.50 dB [+1.00, +2.00] over PCA; "
        "32.00 dB on the validation crops: wide after 6 s (300 steps), vit after 15 s (300 steps)"
    )


def test_the_level_is_one_that_all_reach():
    slow = Entry("slow", SCRATCH, PCA, [Curve(np.array([100, 200]), np.array([5.0, 10.0]), np.array([28.0, 30.5]))])
    figures = verdicts([slow, entry(AUTOENCODER, 32.0, 1)], PCA, interval)[0].figures
    assert "30.50 dB on the validation crops: ConvAutoencoder after 2 s (200 steps), slow after 10 s" in figures


def test_without_an_interval_nothing_is_decided():
    rows = entry(PRETRAINED, 32.0, 1), entry(AUTOENCODER, 31.0, 1), entry(SCRATCH, 31.0, 5)
    assert judged(*rows, interval=lambda scores, reference: None)[:2] == ["not decided", "not decided"]
