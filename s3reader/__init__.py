"""Read S3 objects in parallel, straight into numpy and torch memory.

Importing this module imports neither torch, numpy nor botocore.
"""

from .checksums import ChecksumError
from .client import S3Client
from .client import open_uri as open
from .config import S3ClientConfig
from .constructor import DCPOptimizedConstructor, S3ReaderConstructor
from .dcp_optimized import DCPOptimizedS3Reader, ItemRange
from .errors import (
    AccessDeniedError,
    BucketNotFoundError,
    CertificateError,
    IncompleteDataError,
    InvalidRangeError,
    NoCredentialsError,
    ObjectChangedError,
    ObjectNotFoundError,
    S3ConnectionError,
    S3Exception,
    S3TimeoutError,
    ThrottledError,
    WrongRegionError,
)
from .fetched import FetchedObject
from .integrity import Integrity
from .protocol import DCPS3ReaderConstructorProtocol, S3ReaderConstructorProtocol
from .ranged import RangedS3Reader
from .results import HeadObjectResult, ObjectInfo, RestoreStatus
from .s3reader import S3Reader
from .sequential import SequentialS3Reader
from .shortage import ObjectTooLargeError
from .stream import GetObjectStream
from .version import __version__

__all__ = [
    "AccessDeniedError",
    "BucketNotFoundError",
    "CertificateError",
    "ChecksumError",
    "DCPOptimizedConstructor",
    "DCPOptimizedS3Reader",
    "DCPS3ReaderConstructorProtocol",
    "FetchedObject",
    "GetObjectStream",
    "HeadObjectResult",
    "IncompleteDataError",
    "Integrity",
    "InvalidRangeError",
    "ItemRange",
    "NoCredentialsError",
    "ObjectChangedError",
    "ObjectInfo",
    "ObjectNotFoundError",
    "ObjectTooLargeError",
    "RangedS3Reader",
    "RestoreStatus",
    "S3Client",
    "S3ClientConfig",
    "S3ConnectionError",
    "S3Exception",
    "S3Reader",
    "S3ReaderConstructor",
    "S3ReaderConstructorProtocol",
    "S3TimeoutError",
    "SequentialS3Reader",
    "ThrottledError",
    "WrongRegionError",
    "__version__",
    "open",
]
