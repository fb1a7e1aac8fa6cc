"""torch_em itself, on a PyTorch without CUDA: its networks, trainer and loading functions as released.

What torch_em imports for work that no export has to do with (reading images, augmentation, watersheds, logging) is not installed:
those modules are empty here, and whatever is asked of them is a class that does nothing.
"""
import importlib.abc
import importlib.machinery
import sys
import types

ABSENT = ("bioimage_cpp", "elf", "h5py", "imageio", "kornia", "matplotlib", "mrcfile", "natsort", "nifty", "skimage", "sklearn",
          "tensorboard", "torchvision", "vigra")


class _Anything(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name, (), {})


class _Empty(types.ModuleType):
    __path__ = []

    def __getattr__(self, name):
        return getattr(_Anything("nothing", (), {}), name)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.split(".")[0] in ABSENT else None

    def create_module(self, spec):
        return _Empty(spec.name)

    def exec_module(self, module):
        pass


sys.meta_path.append(_Finder())  # the last: what is installed is itself

import torch_em  # noqa: E402
import torch_em.model  # noqa: E402
import torch_em.util  # noqa: E402

__all__ = ["torch_em"]
