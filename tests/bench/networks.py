"""The peers' networks for the benchmarks, in plain PyTorch: the U-Net, UNETR with SAM's image encoder and ViM-UNet.

Written from the papers and from the names and shapes of checkpoints, so that the same formula weights go into every engine; that
the arithmetic is the same shows in the column "max diff" of the benchmark. Also the formula rule for weights and images
(tests/support/formula.h) and a selective scan as native code for PyTorch (native_scan.py).
"""
import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

SEED = 1
K = np.uint64(0x9E3779B97F4A7C15)


# The formula rule.


def uniform(name, count, start=0):
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) % 2**64
    key = np.uint64(h ^ (SEED * int(K)) % 2**64)
    with np.errstate(over="ignore"):
        z = key + np.arange(start, start + count, dtype=np.uint64) + K
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float64) * 2.0**-24


def scale_and_offset(name, shape):
    *_, parent, last = [""] + name.split(".")
    if last in ("A_log", "A_b_log", "D", "D_b"):
        return (0.05, 0.0) if last.startswith("A") else (0.1, 1.0)
    if last in ("running_mean", "running_var"):
        return (0.1, 0.0) if last == "running_mean" else (0.25, 1.0)
    if last in ("pos_embed", "cls_token", "rel_pos_h", "rel_pos_w"):
        return {"pos_embed": 0.2, "cls_token": 0.5}.get(last, 0.1), 0.0
    if last == "weight" and len(shape) == 1:
        return 0.2, 1.0
    if last == "bias":
        return 0.1, 0.0
    if len(shape) == 2:
        return math.sqrt((1 if parent in ("dt_proj", "dt_proj_b") else 3) / shape[1]), 0.0
    if len(shape) == 4 and shape[2] == 2:
        return math.sqrt(3 / shape[0]), 0.0
    return math.sqrt((6 if len(shape) == 4 and shape[2] == 3 else 3) / math.prod(shape[1:])), 0.0


def formula_weights(name, shape):
    count = math.prod(shape)
    *_, parent, last = [""] + name.split(".")
    if last == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    u = uniform(name, count)
    if last == "bias" and parent in ("dt_proj", "dt_proj_b"):
        dt = np.exp(math.log(0.001) + u * (math.log(0.1) - math.log(0.001)))
        value = dt + np.log(-np.expm1(-dt))
    else:
        scale, offset = scale_and_offset(name, shape)
        value = (2 * u - 1) * scale + offset
        if last in ("A_log", "A_b_log"):
            value += np.log(np.arange(count) % shape[-1] + 1.0)
    return value.astype(np.float32).reshape(shape)


def formula_image(size, channels):
    """size: a side or (height, width)."""
    height, width = size if isinstance(size, tuple) else (size, size)
    cell = [np.arange(n) // 32 for n in (height, width)]
    part = [(np.arange(n) % 32) / 32.0 for n in (height, width)]
    sy, sx = ((f * f) * (3 - 2 * f) for f in part)
    gy, gx = cell
    planes = []
    for c in range(channels):
        lattice = np.stack([uniform(f"image.lattice.{c}", width // 32 + 2, j * 65536) for j in range(height // 32 + 2)])
        v = lattice[gy][:, gx], lattice[gy][:, gx + 1], lattice[gy + 1][:, gx], lattice[gy + 1][:, gx + 1]
        a = v[0] + sx[None, :] * (v[1] - v[0])
        b = v[2] + sx[None, :] * (v[3] - v[2])
        noise = uniform(f"image.noise.{c}", height * width).reshape(height, width)
        planes.append(4 * (a + sy[:, None] * (b - a)) - 2 + 0.5 * (2 * noise - 1))
    return np.stack(planes).astype(np.float32)[None]


def formula_state(net):
    return {k: torch.from_numpy(formula_weights(k, tuple(v.shape))) for k, v in net.state_dict().items()}


# Pieces that the decoders share.


def two_convolutions(cin, cout):
    return nn.ModuleDict({"block": nn.Sequential(
        nn.InstanceNorm2d(cin), nn.Conv2d(cin, cout, 3, padding=1), nn.ReLU(inplace=True),
        nn.InstanceNorm2d(cout), nn.Conv2d(cout, cout, 3, padding=1), nn.ReLU(inplace=True))})


class Sampler(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, 1)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))


class UNet(nn.Module):
    channels = 1

    def __init__(self, features=64, depth=4, outputs=2):
        super().__init__()
        width = [features * 2**i for i in range(depth + 1)]
        up = list(zip(width[::-1], width[::-1][1:]))
        self.encoder = nn.ModuleDict(
            {"blocks": nn.ModuleList([two_convolutions(a, b) for a, b in zip([1] + width, width[:depth])])})
        self.base = two_convolutions(width[-2], width[-1])
        self.decoder = nn.ModuleDict({"blocks": nn.ModuleList([two_convolutions(a, b) for a, b in up]),
                                      "samplers": nn.ModuleList([Sampler(a, b) for a, b in up])})
        self.out_conv = nn.Conv2d(features, outputs, 1)

    def forward(self, x):
        skips = []
        for level in self.encoder["blocks"]:
            x = level["block"](x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.base["block"](x)
        for sampler, level in zip(self.decoder["samplers"], self.decoder["blocks"]):
            x = level["block"](torch.cat([sampler(x), skips.pop()], 1))
        return torch.sigmoid(self.out_conv(x))


class Deconv(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        conv = nn.Module()
        conv.block = nn.Conv2d(cout, cout, 3, padding=1)
        self.block = nn.Sequential(Sampler(cin, cout), conv, nn.BatchNorm2d(cout), nn.ReLU(inplace=True))

    def forward(self, x):
        x = self.block[1].block(self.block[0](x))
        return self.block[3](self.block[2](x))


class TransformerUNet(nn.Module):
    """Encoder of tokens, decoder of convolutions, no skip connections."""

    channels = 3

    def __init__(self, encoder, width, outputs=3, features=64):
        super().__init__()
        level = [features * 2**i for i in (3, 2, 1, 0)]
        self.encoder = encoder
        self.decoder = nn.ModuleDict(
            {"blocks": nn.ModuleList([two_convolutions(a, b) for a, b in zip(level, level[1:])]),
             "samplers": nn.ModuleList([Sampler(a, b) for a, b in zip(level, level[1:])])})
        self.deconv1 = Deconv(width, level[0])
        self.deconv2 = Deconv(level[0], level[1])
        self.deconv3 = Deconv(level[1], level[2])
        self.deconv4 = Deconv(level[2], level[3])
        self.base = two_convolutions(width, level[0])
        self.out_conv = nn.Conv2d(features, outputs, 1)
        self.deconv_out = Sampler(features, features)
        self.decoder_head = two_convolutions(2 * features, features)

    def forward(self, x):
        z = self.encoder(x)
        skip = [self.deconv1(z)]
        for deconv in (self.deconv2, self.deconv3, self.deconv4):
            skip.append(deconv(skip[-1]))
        x = self.base["block"](z)
        for sampler, block, s in zip(self.decoder["samplers"], self.decoder["blocks"], skip):
            up, s = sampler(x), s
            first = (s.shape[1] - up.shape[1]) // 2
            x = block["block"](torch.cat([up, s[:, first:first + up.shape[1]]], 1))
        x = self.decoder_head["block"](torch.cat([self.deconv_out(x), skip[3]], 1))
        return torch.sigmoid(self.out_conv(x))


class PatchEmbedding(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.proj = nn.Conv2d(3, width, 16, stride=16)

    def forward(self, x):
        return self.proj(x)


# SAM's image encoder (Kirillov et al. 2023; ViTDet, Li et al. 2022).


def relative(table, side):
    index = torch.arange(side)
    return table[index[:, None] - index[None, :] + side - 1]


class Attention(nn.Module):
    def __init__(self, width, heads, side):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, width // heads))

    def forward(self, x):
        n, h, w, c = map(int, x.shape)  # numbers, so that an exported graph has fixed shapes
        d = c // self.heads
        q, k, v = self.qkv(x).reshape(n, h * w, 3, self.heads, d).permute(2, 0, 3, 1, 4)
        grid = q.reshape(n, self.heads, h, w, d)
        rows = torch.einsum("nahwd,hkd->nahwk", grid, relative(self.rel_pos_h, h))
        columns = torch.einsum("nahwd,wkd->nahwk", grid, relative(self.rel_pos_w, w))
        bias = (rows[..., :, None] + columns[..., None, :]).reshape(n, self.heads, h * w, h * w)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(x.transpose(1, 2).reshape(n, h, w, c))


class SamBlock(nn.Module):
    def __init__(self, width, heads, window, grid):
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, window or grid)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.ModuleDict({"lin1": nn.Linear(width, 4 * width), "lin2": nn.Linear(4 * width, width)})

    def windows(self, x):
        n, h, w, c = map(int, x.shape)  # numbers, so that an exported graph has fixed shapes
        s = self.window
        x = F.pad(x, (0, 0, 0, -w % s, 0, -h % s))
        rows, columns = -(-h // s), -(-w // s)
        x = x.reshape(n, rows, s, columns, s, c).transpose(2, 3).reshape(n * rows * columns, s, s, c)
        x = self.attn(x).reshape(n, rows, columns, s, s, c).transpose(2, 3)
        return x.reshape(n, rows * s, columns * s, c)[:, :h, :w]

    def forward(self, x):
        y = self.norm1(x)
        x = x + (self.windows(y) if self.window else self.attn(y))
        return x + self.mlp["lin2"](F.gelu(self.mlp["lin1"](self.norm2(x))))


class SamEncoder(nn.Module):
    def __init__(self, size=1024, width=768, depth=12, heads=12, whole=(2, 5, 8, 11)):
        super().__init__()
        grid = size // 16
        self.patch_embed = PatchEmbedding(width)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, width))
        self.blocks = nn.ModuleList([SamBlock(width, heads, 0 if i in whole else 14, grid) for i in range(depth)])

    def forward(self, x):
        x = self.patch_embed(x).permute(0, 2, 3, 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return x.permute(0, 3, 1, 2)


# Vision Mamba (Zhu et al. 2024) as ViM-UNet has it.


def looping_scan(u, delta, a, b, c):
    """Step by step in Python over tensors that hold every state: what runs without a compiled extension."""
    decay = torch.exp(torch.einsum("ndl,ds->ndls", delta, a))
    drive = torch.einsum("ndl,nsl,ndl->ndls", delta, b, u)
    h = torch.zeros_like(decay[:, :, 0])
    y = []
    for t in range(u.shape[2]):
        h = decay[:, :, t] * h + drive[:, :, t]
        y.append(torch.einsum("nds,ns->nd", h, c[:, :, t]))
    return torch.stack(y, 2)


class Mixer(nn.Module):
    def __init__(self, width, scan):
        super().__init__()
        self.scan, inner, self.rank = scan, 2 * width, math.ceil(width / 16)
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.out_proj = nn.Linear(inner, width, bias=False)
        for end in ("", "_b"):
            setattr(self, "conv1d" + end, nn.Conv1d(inner, inner, 4, groups=inner, padding=3))
            setattr(self, "x_proj" + end, nn.Linear(inner, self.rank + 32, bias=False))
            setattr(self, "dt_proj" + end, nn.Linear(self.rank, inner))
            setattr(self, "A_b_log" if end else "A_log", nn.Parameter(torch.zeros(inner, 16)))
            setattr(self, "D" + end, nn.Parameter(torch.ones(inner)))

    def direction(self, x, z, end):
        length = x.shape[2]
        u = F.silu(getattr(self, "conv1d" + end)(x)[:, :, :length])
        p = getattr(self, "x_proj" + end)(u.transpose(1, 2))
        step, b, c = p.split([self.rank, 16, 16], 2)
        delta = F.softplus(getattr(self, "dt_proj" + end)(step)).transpose(1, 2)
        a = -torch.exp(self.A_b_log if end else self.A_log)
        y = self.scan(u.contiguous(), delta.contiguous(), a, b.transpose(1, 2), c.transpose(1, 2))
        return (y + u * getattr(self, "D" + end)[:, None]) * F.silu(z)

    def forward(self, x):
        x, z = self.in_proj(x).transpose(1, 2).chunk(2, 1)
        y = self.direction(x, z, "") + self.direction(x.flip(2), z.flip(2), "_b").flip(2)
        return self.out_proj(y.transpose(1, 2) / 2)


class RMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * self.weight


class VimBlock(nn.Module):
    def __init__(self, width, scan):
        super().__init__()
        self.mixer = Mixer(width, scan)
        self.norm = RMSNorm(width)


class VimEncoder(nn.Module):
    def __init__(self, scan, size=1024, width=192, depth=24):
        super().__init__()
        self.grid = size // 16
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, self.grid**2 + 1, width))
        self.patch_embed = PatchEmbedding(width)
        self.layers = nn.ModuleList([VimBlock(width, scan) for _ in range(depth)])
        self.norm_f = RMSNorm(width)

    def forward(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        middle = x.shape[1] // 2
        x = torch.cat([x[:, :middle], self.cls_token.expand(len(x), -1, -1), x[:, middle:]], 1) + self.pos_embed
        residual = torch.zeros_like(x)
        for layer in self.layers:
            residual = residual + x
            x = layer.mixer(layer.norm(residual))
        x = self.norm_f(residual + x)[:, 1:]
        return x.transpose(1, 2).reshape(len(x), -1, self.grid, self.grid)


SAM = {  # width, depth, heads, blocks that attend to the whole image
    "unetr_b": (768, 12, 12, (2, 5, 8, 11)),
    "unetr_l": (1024, 24, 16, (5, 11, 17, 23)),
    "unetr_h": (1280, 32, 16, (7, 15, 23, 31)),
}


def make(name, scan=looping_scan, state=None):
    """unet, unetr_b, unetr_l, unetr_h, vimunet_t or vimunet_s, with formula weights unless others are given."""
    if name == "unet":
        net = UNet()
    elif name in SAM:
        width, depth, heads, whole = SAM[name]
        net = TransformerUNet(SamEncoder(1024, width, depth, heads, whole), width)
    elif name in ("vimunet_t", "vimunet_s"):
        width = 192 if name == "vimunet_t" else 384
        net = TransformerUNet(VimEncoder(scan, width=width), width)
    else:
        raise ValueError(f"no network {name}")
    net.load_state_dict(state or formula_state(net), assign=True)
    return net.eval()
