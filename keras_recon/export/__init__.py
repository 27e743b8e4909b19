from keras_recon.export.detectors import export_detector
from keras_recon.export.formats import FORMATS, export_model

__all__ = ["FORMATS", "export_detector", "export_model"]
