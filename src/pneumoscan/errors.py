"""Every error that pneumoscan raises on purpose.

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
    └── EnvironmentProblemError           6  environment
        ├── MissingDependencyError        6  environment.dependency
        │   └── CodecMissingError         6  environment.codec
        ├── DiskFullError                 6  environment.disk_full
        ├── NotWritableError              6  environment.not_writable
        ├── NoNetworkError                6  environment.network
        └── LockedError                   6  environment.locked

A message says what is wrong and where; `remedy` says what to do about it. `code` is stable and goes into prediction
rows and HTTP answers; `exit_code` is what the command line returns when the error ends it.
"""

from typing import ClassVar


class PneumoscanError(Exception):
    """Root of the tree.

    Args:
        message: What is wrong, and where (a path, a key, a value).
        remedy: What the user can do about it; may be empty.
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
    """The command or call was not meant like this."""

    code = "usage"
    exit_code = 2


class ConfigError(UsageError):
    """A setting is unknown or has an illegal value."""

    code = "config"


class FilmError(PneumoscanError):
    """One film cannot be used; the others can."""

    code = "film"
    exit_code = 3


class FilmNotFoundError(FilmError):
    """There is no such file."""

    code = "film.not_found"


class FilmUnreadableError(FilmError):
    """The file is there but cannot be opened: permissions, a folder, a device."""

    code = "film.unreadable"


class FilmEmptyError(FilmError):
    """The file has no bytes."""

    code = "film.empty"


class FilmFormatError(FilmError):
    """The bytes are not of a format that pneumoscan reads."""

    code = "film.format"


class FilmDamagedError(FilmError):
    """The format is right but the bytes do not decode."""

    code = "film.damaged"


class FilmTruncatedError(FilmError):
    """The file ends before its picture does."""

    code = "film.truncated"


class FilmAnimatedError(FilmError):
    """The file holds more than one picture, or a DICOM file says that it holds none."""

    code = "film.animated"


class FilmUniformError(FilmError):
    """Every pixel has the same value."""

    code = "film.uniform"


class FilmTooSmallError(FilmError):
    """The shorter side is below the least size that can show a chest."""

    code = "film.too_small"


class FilmTooLargeError(FilmError):
    """The header claims more pixels, or the file has more bytes, than is sane for a film."""

    code = "film.too_large"


class FilmValueError(FilmError):
    """An array, or a DICOM header's window, slope or table, has values that no film has."""

    code = "film.values"


class FilmKindError(FilmError):
    """A DICOM file that is no radiograph for viewing: another modality, a report, a document, raw data."""

    code = "film.kind"


class FilmNoPictureError(FilmError):
    """A DICOM file without pixel data."""

    code = "film.no_picture"


class FilmViewError(FilmError):
    """A DICOM header says that the film is lateral, oblique or decubitus."""

    code = "film.view"


class FilmBodyPartError(FilmError):
    """A DICOM header says that the film shows another part of the body than the chest."""

    code = "film.body_part"


class FilmIdentityError(FilmError):
    """A DICOM header lacks the UIDs by which a result is put beside its film, or they are none."""

    code = "film.identity"


class FilmCrashError(FilmError):
    """The process that read the film ended before it had an answer; films have a process of their own in the service."""

    code = "film.crash"


class FilmTimeoutError(FilmError):
    """Reading the film took longer than is allowed for one."""

    code = "film.timeout"


class NothingUsableError(PneumoscanError):
    """After refusals nothing is left to work on."""

    code = "nothing_usable"
    exit_code = 4


class LayoutError(NothingUsableError):
    """A folder or table of films has no layout that is known."""

    code = "data.layout"


class DamagedError(PneumoscanError):
    """A file that pneumoscan wrote, or was given as its own, is damaged."""

    code = "damaged"
    exit_code = 5


class DataDamagedError(DamagedError):
    """A cache or table does not match its own hash or counts."""

    code = "data.damaged"


class ArchiveError(DamagedError):
    """An archive is damaged or would do harm when unpacked."""

    code = "data.archive"


class BundleError(DamagedError):
    """A model bundle is incomplete, altered or of an unknown version."""

    code = "model.bundle"


class SelfCheckError(BundleError):
    """A bundle gives other answers than those it was exported with."""

    code = "model.self_check"


class CheckpointError(DamagedError):
    """No whole checkpoint is left to go on from."""

    code = "run.checkpoint"


class TrainingDivergedError(DamagedError):
    """The loss or a weight became infinite or NaN."""

    code = "run.diverged"


class PacsError(PneumoscanError):
    """The picture archive (PACS) does not do what it was asked."""

    code = "pacs"
    exit_code = 6


class PacsAnswerError(PacsError):
    """The PACS answers, but with a refusal or with something that cannot be understood."""

    code = "pacs.answer"


class PacsAwayError(PacsError):
    """The PACS does not answer, is overloaded, or lets nobody in: worth another try later, whatever was asked."""

    code = "pacs.away"
    exit_code = 75


class EnvironmentProblemError(PneumoscanError):
    """The machine lacks something: space, a package, a permission."""

    code = "environment"
    exit_code = 6


class MissingDependencyError(EnvironmentProblemError):
    """A package of an extra is not installed."""

    code = "environment.dependency"


class CodecMissingError(MissingDependencyError, FilmError):
    """A film is compressed in a way for which no codec is installed.

    A film's error as well, so that a batch goes on with the others.
    """

    code = "environment.codec"


class DiskFullError(EnvironmentProblemError):
    """No space is left for a file; what was there before is intact."""

    code = "environment.disk_full"


class NotWritableError(EnvironmentProblemError):
    """A folder cannot be written to."""

    code = "environment.not_writable"


class NoNetworkError(EnvironmentProblemError):
    """A download was asked for and nothing answers."""

    code = "environment.network"


class LockedError(EnvironmentProblemError):
    """Another process works on the same folder."""

    code = "environment.locked"


class Terminated(BaseException):
    """SIGTERM as an exception, beside KeyboardInterrupt: `finally` blocks get their turn, the exit code is 143."""
