import keras
import pytest
from filelock import Timeout

from keras_recon.utils.run import Run


def test_a_run_begins_and_is_finished_by_its_results(tmp_path):
    run = Run(tmp_path / "vit")
    assert not run.is_begun and not run.is_finished and run.name == "vit"
    run.begin({"epochs": 3})
    assert run.is_begun and not run.is_finished and run.config == {"epochs": 3}
    run.finish({"model": {"psnr": 30.0}}, {"data": "sample"})
    assert run.is_finished and Run(run.folder).results["model"]["psnr"] == 30.0 and run.protocol["data"] == "sample"
    assert {path.name for path in run.folder.iterdir()} == {"config.json", "metrics.json"}


@pytest.mark.parametrize("damaged", ["", "[1]", "{"])
def test_damaged_settings_are_named(tmp_path, damaged):
    (tmp_path / "config.json").write_text(damaged)
    with pytest.raises(ValueError, match=r"must be a JSON object\. Received: .*config\.json"):
        Run(tmp_path).config  # noqa: B018


def test_a_log_is_cut_to_whole_epochs(tmp_path):
    run = Run(tmp_path)
    run.log.write_text("epoch,seconds,val_psnr\n0,1.5,20\n1,2.5,21\n2,")
    run.cut_log(2)
    assert run.epochs() == [
        {"epoch": 0, "seconds": 1.5, "val_psnr": 20},
        {"epoch": 1, "seconds": 2.5, "val_psnr": 21},
    ]
    run.cut_log(0)
    assert run.epochs() == []
    logger = keras.callbacks.CSVLogger(run.log, append=True)
    logger.append_header = False  # as where there were rows when it began, before a rollback
    logger.on_train_begin()
    logger.set_model(keras.Sequential())
    logger.on_epoch_end(0, {"seconds": 1.5, "val_psnr": 20})
    logger.on_train_end()
    assert run.epochs() == [{"epoch": 0, "seconds": 1.5, "val_psnr": 20}]


def test_one_process_has_the_run(tmp_path):
    with Run(tmp_path / "a").lock(), pytest.raises(Timeout), Run(tmp_path / "a").lock():
        pass
    with Run(tmp_path / "a").lock():
        assert (tmp_path / "a" / "training").is_dir()
