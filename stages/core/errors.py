"""The project's exceptions: one root, one child for each thing a caller can act on.

Every message says where, what was found, what was expected and what to do. A command line turns
the exception into its `exit_code`: 2 and 3 stay until somebody acts, 4 another try may mend;
anything that is not a `ClozeError` is a bug (1).
"""


class ClozeError(Exception):
    """Root of every error that Cloze raises on purpose."""

    exit_code = 1


class SettingsError(ClozeError):
    """A parameter, an environment variable or a command line is wrong: fix the settings."""

    exit_code = 2


class ArtifactError(ClozeError):
    """An input artefact or source file is missing, damaged or does not fit: fix the input."""

    exit_code = 3


class StorageError(ClozeError):
    """A disk is full, read-only or unreadable: make room or repair it; nothing was replaced."""

    exit_code = 3


class LeaseError(ClozeError):
    """Another live process works on the same state: wait for it or stop it."""

    exit_code = 3


class TrackingError(ClozeError):
    """The tracking server or registry could not be used: try again when it answers."""

    exit_code = 4
