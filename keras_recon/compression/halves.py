import keras
from keras import ops

from keras_recon.models.exportable import check_backend
from keras_recon.utils.files import replacing


class Halves(keras.Model):
    """A codec in two halves, for a SavedModel: what becomes of images, and what becomes images again."""

    def compress(self, images, quality):
        """A dictionary of whole numbers, int32, and of the latents that they mean, for images at qualities (batch,).

        `symbols` (batch, height / 8, width / 8, latent_dim) and `hyper_symbols` (batch, height / 32, width / 32,
        hyper_dim) are what an entropy coder would code; `latents`, of the shape of `symbols`, are for `decompress`.
        """
        knots = self.knots(quality)
        hyper, symbols, latents, _ = self.entropy_model.code(self.analyse(images, knots), knots)
        return {
            "symbols": ops.cast(symbols, "int32"),
            "hyper_symbols": ops.cast(hyper, "int32"),
            "latents": latents,
        }

    def decompress(self, latents, quality):
        """Images (batch, height, width, 3) in [0, 1] of latents, at qualities (batch,)."""
        return self.synthesise(latents, self.knots(quality))

    def export(
        self, filepath, format: str = "tf_saved_model", verbose=None, image_size: tuple = (None, None), **kwargs
    ):
        """Write a SavedModel with the signatures `compress` and `decompress`, which are the methods of these names.

        Entropy coding, which needs integer arithmetic and constriction, stays with
        `keras_recon.compression.compress`: the SavedModel reads and writes no files.

        Args:
            filepath: the folder to write.
            format: "tf_saved_model" alone.
            image_size: height and width of the images, multiples of 32; None for any, which JAX does not take.

        Raises:
            ValueError: of the format.
            RuntimeError: the backend cannot write it.
        """
        if format != "tf_saved_model":
            raise ValueError(f"`format` must be 'tf_saved_model' for a codec. Received: format={format!r}")
        check_backend(format)
        of_latents = [side and side // self.patch_size for side in image_size]
        quality = keras.InputSpec(shape=(None,), dtype="float32", name="quality")
        archive = keras.export.ExportArchive()
        archive.track(self)
        for name, function, shape in (
            ("images", self.compress, (None, *image_size, 3)),
            ("latents", self.decompress, (None, *of_latents, self.latent_dim)),
        ):
            spec = keras.InputSpec(shape=shape, dtype="float32", name=name)
            archive.add_endpoint(function.__name__, function, [spec, quality])
        with replacing(filepath) as temporary:
            archive.write_out(str(temporary), verbose=bool(verbose), **kwargs)
