"""Read and write image files, and convert pixels."""

from keras_recon.images.decoding import FORMATS, SUFFIXES, BadImage, ImageFile, open_image
from keras_recon.images.reading import read_image
from keras_recon.images.writing import encode_image, write_error_map, write_image

__all__ = [
    "FORMATS",
    "SUFFIXES",
    "BadImage",
    "ImageFile",
    "encode_image",
    "open_image",
    "read_image",
    "write_error_map",
    "write_image",
]
