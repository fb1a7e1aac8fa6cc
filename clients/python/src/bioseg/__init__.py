"""bioseg: segment microscopy images on a bioseg server.

    import bioseg
    client = bioseg.Client()                                  # the daemon of this account, or Client("lab-gpu:8764", tls_ca="lab.pem")
    result = client.segment(image, model="unet-nuclei")
    result.labels, result.objects["area_px"], result.warnings
    client.add_pair("corrected", image, labels, name="a", split="train")
    model = client.train(dataset="corrected", initial="unet-nuclei", model="my-nuclei").result()

`bioseg.aio.Client` is the same for asyncio.
"""
from . import errors
from ._datasets import Annotation, Dataset, Pair, pair_hashes
from ._training import Finding, Metrics, Sample, TrainingEvent, TrainingPlan, TrainingRun
from .client import Client, JobHandle, Segmentation
from .errors import BiosegError
from .results import (AliasMove, Job, KeptMaps, LineageStep, Model, ObjectTable, Parameter, Plan, Preview, Progress, Region, Result, ServerInfo,
                      ServerWarning, Training)

__version__ = "0.1.0"
__all__ = ["AliasMove", "Annotation", "BiosegError", "Client", "Dataset", "Finding", "Job", "JobHandle", "KeptMaps", "LineageStep", "Metrics", "Model",
           "ObjectTable", "Pair", "Parameter", "Plan", "Preview", "Progress", "Region", "Result", "Sample", "Segmentation", "ServerInfo", "ServerWarning",
           "Training", "TrainingEvent", "TrainingPlan", "TrainingRun", "errors", "pair_hashes"]
