"""bioseg: segment microscopy images on a bioseg server.

    import bioseg
    client = bioseg.Client()                                  # the daemon of this account, or Client("lab-gpu:8764", tls_ca="lab.pem")
    result = client.segment(image, model="unet-nuclei")
    result.labels, result.objects["area_px"], result.warnings

`bioseg.aio.Client` is the same for asyncio.
"""
from . import errors
from .client import Client, JobHandle, Segmentation
from .errors import BiosegError
from .results import Job, KeptMaps, Model, ObjectTable, Parameter, Plan, Preview, Progress, Region, Result, ServerInfo, ServerWarning

__version__ = "0.1.0"
__all__ = ["BiosegError", "Client", "Job", "JobHandle", "KeptMaps", "Model", "ObjectTable", "Parameter", "Plan", "Preview", "Progress", "Region", "Result",
           "Segmentation", "ServerInfo", "ServerWarning", "errors"]
