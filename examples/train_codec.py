"""Train a codec, one model for all qualities that compresses photos to files.

Training starts from a transform codec, or from a trained codec with --from. The codec is saved after every epoch, for
examples/compress.py --model saved_models/codec. TensorBoard shows bits per pixel and PSNR at the middle quality. At the
end, scores at five qualities are printed and logged as a curve in TensorBoard over thousandths of a bit per pixel.
"""

from collections.abc import Iterable
from pathlib import Path

from app.parser import Parser, fail
from app.quiet import quiet_start

with quiet_start():
    import keras

    from keras_recon import data
    from keras_recon.compression import ImageCodec
    from keras_recon.metrics import PSNR, MultiScaleSSIM

QUALITIES = (0.0, 0.25, 0.5, 0.75, 1.0)
# Loss (scaled for about as many bits at each quality as mse), metrics with headings, and minimal side of the crops.
DISTORTIONS = {
    "mse": ("mse", {"psnr": "PSNR (dB)"}, 32),
    "ms-ssim": ("0.02*ms_ssim", {"psnr": "PSNR (dB)", "ms_ssim": "MS-SSIM"}, 192),
}


def main(argv: list[str] | None = None):
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--data", default="sample", help="'sample', 'tfds:NAME' or a folder of photos")
    add("--from", dest="start", metavar="MODEL", help="trained codec to start from: 'codec', a .keras file or a folder")
    text = "distortion: squared error or 1 - MS-SSIM, which is closer to perception (default: %(default)s)"
    add("--distortion", choices=DISTORTIONS, default="mse", help=text)
    add("--image-size", type=int, help="side of the crops in pixels, a multiple of 32 (default: 128, for ms-ssim 192)")
    add("--batch-size", type=int, default=8, help="images per step")
    add("--epochs", type=int, default=10)
    add("--steps-per-epoch", type=int, default=200)
    add("--learning-rate", type=float, default=1e-3, help="peak of a cosine schedule")
    add("--seed", type=int, default=0)
    add("--output", type=Path, default=Path("saved_models/codec"), help="folder of the model")
    add("--logs", type=Path, default=Path("runs/codec"), help="folder of the TensorBoard logs")
    args = parser.parse_args(argv)
    loss, headings, least = DISTORTIONS[args.distortion]
    size = max(128, least) if args.image_size is None else args.image_size
    if size % 32 or size < least:
        fail(f"--image-size must be a multiple of 32, for {args.distortion} at least {least}. Received: {size}")
    keras.utils.set_random_seed(args.seed)
    try:
        shape = (size, size, 3)
        training, validation = data.load(
            args.data, shape, args.batch_size, args.steps_per_epoch, seed=args.seed, quarter_turns=True
        )
        codec = ImageCodec.from_preset(args.start) if args.start else ImageCodec(seed=args.seed)
    except (ValueError, OSError) as error:
        fail(error)
    if not args.start:
        codec.adapt(training)
    steps = args.epochs * args.steps_per_epoch
    warmup = min(300, steps // 10)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, warmup_target=args.learning_rate, warmup_steps=warmup
    )
    optimizer = keras.optimizers.AdamW(
        rate, weight_decay=0.0, epsilon=1e-10, global_clipnorm=1.0, use_ema=True, ema_momentum=0.999
    )
    codec.compile(optimizer, loss, metrics=[PSNR(), MultiScaleSSIM()][: len(headings)])
    args.output.mkdir(parents=True, exist_ok=True)
    callbacks = [
        keras.callbacks.SwapEMAWeights(swap_on_epoch=True),  # averaged weights are validated and saved
        keras.callbacks.TensorBoard(args.logs),
        keras.callbacks.ModelCheckpoint(args.output / "model.keras"),
    ]
    codec.fit(training, epochs=args.epochs, validation_data=validation, callbacks=callbacks, verbose=2)
    print("quality  bits per pixel  " + "  ".join(headings.values()))
    curve = []
    for codec.quality in QUALITIES:
        scores = codec.evaluate(validation, verbose=0, return_dict=True)
        curve.append(scores)
        measured = "  ".join(f"{scores[name]:{len(heading)}.4g}" for name, heading in headings.items())
        print(f"{codec.quality:7.2f}  {scores['bits_per_pixel']:14.3f}  {measured}")
    log_curve(args.logs / "rate_distortion", curve, headings)


def log_curve(folder: Path, curve: list[dict], names: Iterable[str]):
    """Log the scores of these names as curves over the rate in TensorBoard."""
    import tensorflow as tf

    with tf.summary.create_file_writer(str(folder)).as_default():
        for scores in curve:
            for name in names:
                tf.summary.scalar(f"rate_distortion/{name}", scores[name], step=round(1000 * scores["bits_per_pixel"]))


if __name__ == "__main__":
    main()
