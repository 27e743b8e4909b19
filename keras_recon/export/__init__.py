"""Export of models to files for deployment."""

from keras_recon.export.formats import FORMATS, export_model

__all__ = ["FORMATS", "export_model"]
