"""A selective scan for PyTorch on a GPU, in Triton: the fair peer of ours, since PyTorch has none.

h[t] = exp(delta[t] * a) * h[t-1] + delta[t] * u[t] * b[t],  y[t] = sum over states of c[t] * h[t].

One program for each feature of each image. It goes over the tokens in chunks; inside a chunk the recurrence is an associative scan
over (decay, drive), and the state at a chunk's end is carried to the next. No state is kept in memory, sums are float32. Forward only.
    python3 tests/gpu/triton_scan.py     checks it against the plain loop (needs a GPU)
"""
import torch
import triton
import triton.language as tl

LOG2_E = 1.4426950408889634


@triton.jit
def followed_by(decay0, drive0, decay1, drive1):
    return decay0 * decay1, decay1 * drive0 + drive1


@triton.jit
def scan_kernel(u, delta, a, b, c, y, features, length, b_image, b_token, c_image, c_token, LOG2: tl.constexpr,
                STATES: tl.constexpr, CHUNK: tl.constexpr):
    row = tl.program_id(0)
    image = row // features
    state = tl.arange(0, STATES)
    step = tl.arange(0, CHUNK)
    rate = tl.load(a + (row % features) * STATES + state) * LOG2
    carried = tl.zeros([STATES], tl.float32)
    first = row.to(tl.int64) * length
    for start in range(0, length, CHUNK):
        token = start + step
        there = token < length
        dt = tl.load(delta + first + token, mask=there, other=0.0).to(tl.float32)
        x = tl.load(u + first + token, mask=there, other=0.0).to(tl.float32)
        bt = tl.load(b + image * b_image + token[:, None] * b_token + state[None, :], mask=there[:, None], other=0.0)
        ct = tl.load(c + image * c_image + token[:, None] * c_token + state[None, :], mask=there[:, None], other=0.0)
        decay = tl.exp2(dt[:, None] * rate[None, :])  # 1 behind the last token, which carries the state on unchanged
        drive = (dt * x)[:, None] * bt.to(tl.float32)
        decay, drive = tl.associative_scan((decay, drive), 0, followed_by)
        h = decay * carried[None, :] + drive
        out = tl.sum(h * ct.to(tl.float32), 1)
        tl.store(y + first + token, out.to(y.dtype.element_ty), mask=there)
        carried = tl.sum(tl.where(step[:, None] == CHUNK - 1, h, 0.0), 0)


def scan(u, delta, a, b, c):
    """u (N,D,L), delta (N,D,L), a (D,S) float32, b (N,S,L), c (N,S,L) with states side by side in memory -> (N,D,L)."""
    n, features, length = u.shape
    b = b if b.stride(1) == 1 else b.transpose(1, 2).contiguous().transpose(1, 2)
    c = c if c.stride(1) == 1 else c.transpose(1, 2).contiguous().transpose(1, 2)
    y = torch.empty_like(u)
    scan_kernel[(n * features,)](u, delta, a.float().contiguous(), b, c, y, features, length, b.stride(0), b.stride(2), c.stride(0),
                                 c.stride(2), LOG2=LOG2_E, STATES=a.shape[1], CHUNK=256, num_warps=4)
    return y


def check(device="cuda"):
    """Largest difference from the plain loop over the largest value, for several lengths and types; raises where it is too large."""
    from networks import looping_scan

    torch.manual_seed(1)
    worst = 0.0
    for n, d, length, dtype, most in ((1, 3, 1, torch.float32, 1e-5), (2, 5, 255, torch.float32, 1e-5), (2, 5, 256, torch.float32, 1e-5),
                                      (1, 4, 1025, torch.float32, 1e-5), (2, 3, 700, torch.float16, 2e-3), (2, 3, 700, torch.bfloat16, 1e-2)):
        u = torch.randn(n, d, length, device=device).to(dtype)
        delta = torch.nn.functional.softplus(torch.randn(n, d, length, device=device) - 3).to(dtype)
        a = -torch.exp(torch.randn(d, 16, device=device))
        # As the mixer makes them: two slices of one projection, tokens first.
        projected = torch.randn(n, length, 2 + 32, device=device).to(dtype)
        b, c = projected[..., 2:18].transpose(1, 2), projected[..., 18:].transpose(1, 2)
        want = looping_scan(u.double(), delta.double(), a.double(), b.double(), c.double())
        have = scan(u, delta, a, b, c).double()
        difference = ((have - want).abs().max() / want.abs().max()).item()
        if not difference <= most:
            raise AssertionError(f"scan of {n} x {d} x {length} {dtype}: {difference:.2g} of the largest value, allowed is {most}")
        worst = max(worst, difference)
    return worst


if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parent.parent / "bench"))
    print(f"Triton scan: within {check():.2g} of the plain loop")
