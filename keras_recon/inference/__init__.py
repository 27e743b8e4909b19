from keras_recon.inference.reconstruct import reconstruct

__all__ = ["reconstruct"]
