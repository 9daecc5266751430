"""The error taxonomy, named for what the caller does with it.

PipelineError
 +- Transient       try again later: broker or store out of reach, device out of memory
 +- InvalidMessage  dead letter, never retried: the bytes cannot be understood or break the contract
 +- JobRejected     report to the user, commit: the request or its content was refused
 +- Fatal           stop the process, commit nothing: wrong configuration, device lost
 +- GivenUp         dead letter after several tries, and the job ends: what a stage's loop makes of a record that
    +- Bug            raised an exception that is none of these, or
    +- Poison         killed the process again and again, or
    +- Exhausted      was Transient longer than it may be, while others got through

A bug is any other exception. It stops the process uncommitted, or is the record's at once where the step is pure.
"""


class PipelineError(Exception):
    """Parent of all errors that a stage answers by rule."""


class Transient(PipelineError):
    """The same input may succeed later."""


class InvalidMessage(PipelineError):
    """The record can never be processed. The message is one sentence that names the field and what would be right."""


class JobRejected(PipelineError):
    """The job is understood and refused.

    code:  machine-readable reason, e.g. ``invalid_request``, ``prompt_refused``
    field: path of the field at fault, e.g. ``shots[0].prompt``; empty when no single field is
    """

    def __init__(self, code: str, message: str, field: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field


class Fatal(PipelineError):
    """This process cannot go on; another start, or an operator, may put it right."""


class GivenUp(PipelineError):
    """A record was tried as often as it may be. The message is one sentence."""


class Bug(GivenUp):
    """Handling the record raises an exception that nobody foresaw."""


class Poison(GivenUp):
    """The process dies whenever it handles the record."""


class Exhausted(GivenUp):
    """The record stays Transient while others get through."""
