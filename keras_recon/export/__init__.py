from keras_recon.export.formats import FORMATS, export_model
from keras_recon.export.signatures import export_detector

__all__ = ["FORMATS", "export_detector", "export_model"]
