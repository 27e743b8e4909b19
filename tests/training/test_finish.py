import pytest
from models.test_vit import TINY

from keras_recon import data, models
from keras_recon.evaluation.scores import evaluate
from keras_recon.utils.run import Run

pytest.importorskip("tensorflow", reason="the data pipeline and the logs need TensorFlow")


@pytest.mark.slow
def test_the_baseline_is_not_weaker_than_what_the_model_began_with(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    from keras_recon.training.finish import finish_run
    from keras_recon.training.options import TrainingOptions
    from keras_recon.training.train import train

    photos = data.load_photos("sample")
    sizes = {**TINY, "image_shape": (32, 32, 3), "patch_size": 8, "latent_dim": 12}
    model = models.ViTReconstructor(**sizes, linear_path=True)  # PCA, and no more
    options = TrainingOptions(batch_size=4, epochs=1, steps_per_epoch=6)
    train(model, *photos, Run(tmp_path), options, finish=False)
    results = finish_run(model, *photos, Run(tmp_path), options)
    began = models.LinearReconstructor(model.image_shape, 8, 12)  # the network's last layers were zero
    began.linear.set_weights(model.linear.get_weights())
    validation = data.validation_batches(photos[1], model.image_shape, 64)
    assert results["pca"]["psnr"] >= evaluate(began, validation)["psnr"] - 1e-3
    events = EventAccumulator(str(tmp_path / "logs")).Reload()
    for tag, row in {"final/psnr": "model", "psnr/pca": "pca"}.items():
        assert make_ndarray(events.Tensors(tag)[-1].tensor_proto) == pytest.approx(results[row]["psnr"])
