"""The models of keras_recon in plain PyTorch, as a user would write them."""

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention


class Block(nn.Module):
    """A pre-norm transformer block, as timm's: one projection for queries, keys and values, and SDPA."""

    def __init__(self, hidden_dim, num_heads, mlp_dim):
        super().__init__()
        self.heads = (3, num_heads, hidden_dim // num_heads)
        self.norm1, self.norm2 = (nn.LayerNorm(hidden_dim, eps=1e-6) for _ in range(2))
        self.qkv, self.projection = nn.Linear(hidden_dim, 3 * hidden_dim), nn.Linear(hidden_dim, hidden_dim)
        self.mlp = nn.Sequential(nn.Linear(hidden_dim, mlp_dim), nn.GELU(), nn.Linear(mlp_dim, hidden_dim))

    def forward(self, x):  # (batch, tokens, hidden_dim)
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, self.heads).permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(q, k, v)  # (batch, heads, tokens, head_dim)
        x = x + self.projection(attended.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


def blocks(num_layers, **sizes):
    return nn.Sequential(*(Block(**sizes) for _ in range(num_layers)))


class ViT(nn.Module):
    """`ViTReconstructor` without linear path; with a `mask_ratio`, a masked autoencoder and its loss."""

    def __init__(self, image_size, patch_size, latent_dim, encoder, decoder, mask_ratio=0.0):
        super().__init__()
        width, decoder_width = encoder["hidden_dim"], decoder["hidden_dim"]
        self.patch_size, self.grid = patch_size, image_size // patch_size
        tokens, values = self.grid**2, patch_size**2 * 3
        self.visible = tokens - round(mask_ratio * tokens)
        self.embedding = nn.Linear(values, width)
        self.positions = nn.Parameter(torch.randn(1, tokens, width) * 0.02)
        self.blocks = blocks(**encoder)
        self.norm, self.latent_head = nn.LayerNorm(width), nn.Linear(width, latent_dim)
        if mask_ratio:
            self.mask_token = nn.Parameter(torch.zeros(1, 1, latent_dim))
        self.decoder_embedding = nn.Linear(latent_dim, decoder_width)
        self.decoder_positions = nn.Parameter(torch.randn(1, tokens, decoder_width) * 0.02)
        self.decoder = nn.Sequential(blocks(**decoder), nn.LayerNorm(decoder_width), nn.Linear(decoder_width, values))

    def patches(self, images):  # (batch, height, width, 3) to (batch, tokens, values)
        side, grid = self.patch_size, self.grid
        x = images.reshape(-1, grid, side, grid, side, 3).transpose(2, 3)
        return x.reshape(-1, grid * grid, side * side * 3)

    def forward(self, images):
        """The mean squared error."""
        patches = self.patches(images)
        x = self.embedding(patches) + self.positions
        batch, tokens, _ = x.shape
        hidden = self.visible < tokens
        if hidden:
            order = torch.rand(batch, tokens, device=x.device).argsort(1)
            restore = order.argsort(1)
            x = torch.gather(x, 1, order[:, : self.visible, None].expand(-1, -1, x.shape[-1]))
        x = self.latent_head(self.norm(self.blocks(x)))
        if hidden:
            x = torch.cat([x, self.mask_token.to(x.dtype).expand(batch, tokens - self.visible, -1)], 1)
            x = torch.gather(x, 1, restore[:, :, None].expand(-1, -1, x.shape[-1]))
        x = self.decoder(self.decoder_embedding(x) + self.decoder_positions)
        error = (x.float() + 0.5 - patches).square().mean(-1)
        return error[restore >= self.visible].mean() if hidden else error.mean()


class ResidualBlock(nn.Module):
    def __init__(self, filters):
        super().__init__()
        layers = [nn.BatchNorm2d(filters), nn.ReLU(), nn.Conv2d(filters, filters, 3, padding=1)]
        self.branch = nn.Sequential(
            *layers, nn.BatchNorm2d(filters), nn.ReLU(), nn.Conv2d(filters, filters, 3, padding=1)
        )

    def forward(self, x):
        return x + self.branch(x)


class ConvAutoencoder(nn.Module):
    """`ConvAutoencoder` without linear path and skips, with batch normalisation and pixel shuffle."""

    def __init__(self, filters, num_blocks, latent_dim):
        super().__init__()
        encoder, decoder, width = [], [nn.Conv2d(latent_dim, filters[-1], 3, padding=1)], 3
        for new in filters:
            encoder += [nn.Conv2d(width, new, 3, 2, 1), *(ResidualBlock(new) for _ in range(num_blocks))]
            width = new
        encoder += [nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, latent_dim, 1)]
        for i, new in reversed(list(enumerate((3, *filters[:-1])))):
            decoder += [ResidualBlock(width) for _ in range(num_blocks)]
            decoder += [] if i else [nn.BatchNorm2d(width), nn.ReLU()]
            decoder += [nn.Conv2d(width, 4 * new, 3, padding=1), nn.PixelShuffle(2)]
            width = new
        self.network = nn.Sequential(*encoder, *decoder)

    def forward(self, images):
        """The mean squared error of images (batch, height, width, 3)."""
        x = images.permute(0, 3, 1, 2)  # channels_last in memory
        return (self.network(4 * x - 2).float() + 0.5 - x).square().mean()
