"""JAX on a CPU: XLA adds up the gradient of the residual stream anew in every block of a transformer.

Before the product that gives a weight's gradient, XLA transposes the stream's gradient, and fuses into that copy the
sums over all later blocks that made it, so that they are computed again in every block. A product with the identity in
the backward pass of each block, which no fusion crosses, ends the chain. This is JAX alone, without Keras.
"""

import time
from functools import partial

from arguments import Parser, positive


def main(argv: list[str] | None = None):
    parser = Parser(__doc__)
    parser.add_argument("--depths", type=positive, nargs="+", default=[3, 6, 12])
    parser.add_argument("--batch-size", type=positive, default=32)
    parser.add_argument("--patches", type=positive, default=64)
    parser.add_argument("--width", type=positive, default=192)
    parser.add_argument("--heads", type=positive, default=3)
    parser.add_argument("--repeats", type=positive, default=5)
    args = parser.parse_args(argv)
    import jax
    from jax import numpy as jnp

    @jax.custom_vjp
    def barrier(x):
        return x

    barrier.defvjp(lambda x: (x, None), lambda _, gradient: (gradient @ jnp.eye(args.width),))

    def normalized(x):
        return (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-6)

    def block(x, weights):
        qkv, out, up, down = weights
        query, key, value = (
            part.reshape(*x.shape[:2], args.heads, -1) for part in jnp.split(normalized(x) @ qkv, 3, axis=-1)
        )
        x += jax.nn.dot_product_attention(query, key, value).reshape(x.shape) @ out
        return x + jax.nn.gelu(normalized(x) @ up) @ down

    def loss(weights, x, end):
        for of_block in weights:
            x = block(end(x), of_block)
        return jnp.square(x).mean()

    shapes = [(1, 3), (1, 1), (1, 4), (4, 1)]  # of a block's weights, in widths
    print("| blocks | milliseconds a step | of a block | with the identity | of a block |\n|---|---|---|---|---|")
    for depth in args.depths:
        keys = iter(jax.random.split(jax.random.key(0), 4 * depth + 1))
        weights = [
            [
                0.02 * jax.random.normal(next(keys), (rows * args.width, columns * args.width))
                for rows, columns in shapes
            ]
            for _ in range(depth)
        ]
        x = jax.random.normal(next(keys), (args.batch_size, args.patches, args.width))
        cells = []
        for end in (lambda x: x, barrier):
            step = jax.jit(jax.grad(partial(loss, end=end)))
            jax.block_until_ready(step(weights, x))
            seconds = []
            for _ in range(args.repeats):
                start = time.perf_counter()
                jax.block_until_ready(step(weights, x))
                seconds.append(time.perf_counter() - start)
            cells += [f"{1000 * min(seconds):.0f}", f"{1000 * min(seconds) / depth:.1f}"]
        print(f"| {depth} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
