"""A selective scan in C++ for PyTorch on the CPU: the fair peer of ours, since PyTorch has none.

Compiled once with the C++ compiler that is there (-O3 -march=native -ffast-math, OpenMP over features), kept beside the benchmark's
models. Forward only, float32; other types are converted.
"""
import ctypes
import hashlib
import subprocess
import tempfile
from pathlib import Path

import torch

SOURCE = r"""
#include <cmath>
#include <cstddef>
static const int S = 16;
extern "C" void scan(const float *u, const float *delta, const float *a, const float *b, const float *c, float *y,
                     long n, long features, long length)
{
#pragma omp parallel for schedule(static)
    for (long row = 0; row < n * features; row++) {
        const float *A = a + row % features * S, *B = b + row / features * length * S, *C = c + row / features * length * S;
        float h[S] = {0};
        for (long t = 0; t < length; t++) {
            const float dt = delta[row * length + t], drive = dt * u[row * length + t];
            float sum = 0;
            for (int s = 0; s < S; s++) {
                h[s] = std::exp(dt * A[s]) * h[s] + drive * B[t * S + s];
                sum += h[s] * C[t * S + s];
            }
            y[row * length + t] = sum;
        }
    }
}
"""


def library():
    folder = Path(tempfile.gettempdir()) / ("bioseg-scan-" + hashlib.sha256(SOURCE.encode()).hexdigest()[:16])
    path = folder / "scan.so"
    if not path.exists():
        folder.mkdir(exist_ok=True)
        (folder / "scan.cpp").write_text(SOURCE)
        subprocess.run(["c++", "-O3", "-march=native", "-ffast-math", "-fopenmp", "-shared", "-fPIC",
                        str(folder / "scan.cpp"), "-o", str(path)], check=True)
    return ctypes.CDLL(str(path))


def native_scan():
    """scan(u (N,D,L), delta (N,D,L), a (D,16), b (N,16,L), c (N,16,L)) -> (N,D,L)."""
    code = library()

    def scan(u, delta, a, b, c):
        tensors = [x.float().contiguous() for x in (u, delta, a, b.transpose(1, 2), c.transpose(1, 2))]
        y = torch.empty_like(tensors[0])
        code.scan(*[ctypes.c_void_p(x.data_ptr()) for x in tensors + [y]], *map(ctypes.c_long, u.shape))
        return y.to(u.dtype)

    return scan
