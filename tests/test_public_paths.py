"""Import paths and registered names that stay as they are, wherever the code behind them moves.

The lists are those of version 0.1.0. Names that were removed on purpose are in the changelog.
"""

import importlib

import keras
import pytest

import keras_recon

PATHS = {
    "keras_recon": """
        TrainingOptions __version__ anomaly callbacks compression data degradations export_model features layers
        load_model losses metrics models ops optimizers presets reconstruct train
    """,
    "keras_recon.anomaly": """
        GOOD METHODS AnomalyDetector DefectClassifier Detection Ensemble LabeledImage NearestPatch PatchGaussian
        PositionGaussian aupro auroc error_map image_score intervals load_images save_heat_maps scores
        synthetic_defect
    """,
    "keras_recon.callbacks": """
        Diverged EndOnSignal GradualUnfreezing HaltOnDivergence Interrupted ProgressBar RunSummary
        SwapEMAWeights Throughput TrainingBackup
    """,
    "keras_recon.compression": """
        EntropyModel ImageCodec compress decompress
    """,
    "keras_recon.data": """
        Photos RandomCrops RandomPairs folder_photos grid_crops grid_pairs load load_photos middle_parts
        middle_photo photo_grids photos_of_step read_photo shard_of spread training_batches validation_batches
    """,
    "keras_recon.degradations": """
        JPEG BlockMask Compose Degradation Downsample FreeFormMask GaussianBlur GaussianNoise Grayscale GridMask
        Mask MotionBlur PatchMask PoissonGaussianNoise degrade from_string get
    """,
    "keras_recon.export": """
        FORMATS export_model
    """,
    "keras_recon.export.backbone": """
        save_backbone to_backbone
    """,
    "keras_recon.features": """
        LPIPS BackboneFeatures FeatureExtractor perceptual_distance photo_features photo_tiles
    """,
    "keras_recon.images": """
        FORMATS BadImage ImageFile encode_image open_image read_image write_error_map write_image
    """,
    "keras_recon.inference": """
        reconstruct
    """,
    "keras_recon.layers": """
        ICNR ConvDecoder ConvEncoder LinearAutoencoder LinearDecoder LocalAttention MaskToken
        MultiHeadSelfAttention PatchDiscriminator PixelRefiner PositionEmbedding ResidualBlock Transformer
        TransformerBlock TransformerDecoder Upsample
    """,
    "keras_recon.losses": """
        Charbonnier MultiScaleSSIMLoss PerceptualLoss SSIMLoss WeightedLoss from_string get
    """,
    "keras_recon.metrics": """
        MS_SSIM_MIN_SIZE PSNR SSIM SSIM_MIN_SIZE BorderRatio FrechetDistance MultiScaleSSIM PerceptualDistance
        applicable border_steps frechet_distance get multi_scale_ssim named psnr ssim
    """,
    "keras_recon.models": """
        ConvAutoencoder LinearReconstructor MaskedReconstructor PretrainedViTReconstructor Reconstructor
        RestorationUNet ViTReconstructor
    """,
    "keras_recon.ops": """
        count_visible denormalize_patches fixed_patch_mask inverse_lapped_transform lapped_transform
        normalize_patches paste_visible patchify random_patch_mask take_tokens unpatchify visible_indices
    """,
    "keras_recon.optimizers": """
        LayerwiseAdamW
    """,
    "keras_recon.presets": """
        CODECS PRESETS describe model_file
    """,
    "keras_recon.saving": """
        load_model
    """,
    "keras_recon.training.options": """
        TrainingOptions
    """,
    "keras_recon.utils.run": """
        Run
    """,
}
REGISTERED = """
    AnomalyDetector BackboneFeatures BorderRatio Charbonnier ConvAutoencoder ConvDecoder ConvEncoder
    DefectClassifier Ensemble EntropyModel FeatureExtractor FrechetDistance ICNR ImageCodec LPIPS LappedTransform
    LayerwiseAdamW LinearAutoencoder LinearDecoder LinearReconstructor LocalAttention MaskToken
    MultiHeadSelfAttention MultiScaleSSIM MultiScaleSSIMLoss NearestPatch PSNR PatchDiscriminator PatchGaussian
    PerceptualDistance PerceptualLoss PixelRefiner PositionEmbedding PositionGaussian PretrainedViTReconstructor
    ResidualBlock RestorationUNet SSIM SSIMLoss Transformer TransformerBlock TransformerDecoder Upsample
    ViTReconstructor WeightedLoss
"""


@pytest.mark.parametrize("path", PATHS)
def test_public_names_can_be_imported(path):
    module = importlib.import_module(path)
    missing = [name for name in PATHS[path].split() if not hasattr(module, name)]
    assert not missing


@pytest.mark.parametrize("name", REGISTERED.split())
def test_registered_names_are_found_in_files(name):
    registered = keras.saving.get_registered_object(f"keras_recon>{name}")
    assert registered is not None and registered.__module__.startswith(f"{keras_recon.__name__}.")
